import Foundation
import Seeded
import Testing

@testable import Emulator

/// Golden rows: `bytes | text`, agreed with another disassembler when they were made. A row that changes is a decoder that
/// changed.
@Suite struct DecodeTests {
    @Test(arguments: [("decode16", UInt32(0)), ("decode32", 13), ("decode64", 15)])
    func instructionsDecodeAsTheirGoldenRowsSay(file: String, modeKey: UInt32) throws {
        let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Golden/\(file).txt")
        let rows = try String(contentsOf: url, encoding: .utf8).split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(rows.count > 200)
        let disassembler = Disassembler(mode: Decoder.Mode(key: modeKey))
        for row in rows {
            let columns = row.split(separator: "|", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
            let bytes = columns[0].split(separator: " ").compactMap { UInt8($0, radix: 16) }
            let line = bytes.withUnsafeBufferPointer { disassembler.line($0, at: 0) }
            #expect(line.text == columns[1], "\(columns[0])")
            #expect(line.length == bytes.count, "\(columns[0])")
        }
    }

    @Test func everyPrefixOfAnInstructionIsTruncated() {
        let bytes: [UInt8] = [0x66, 0x42, 0x81, 0x84, 0x88, 1, 2, 3, 4, 5, 6]
        for count in 1..<bytes.count {
            bytes.withUnsafeBufferPointer { buffer in
                var decoder = Decoder(bytes: buffer.baseAddress!, available: count, mode: Decoder.Mode(key: 15))
                if case .truncated = decoder.decode() {} else { Issue.record("\(count) bytes were enough") }
            }
        }
    }

    @Test func sixteenBytesAreTooLong() {
        let bytes = [UInt8](repeating: 0x66, count: 15) + [0x90]
        bytes.withUnsafeBufferPointer { buffer in
            var decoder = Decoder(bytes: buffer.baseAddress!, available: 16, mode: Decoder.Mode(key: 15))
            if case .tooLong = decoder.decode() {} else { Issue.record("decoded") }
        }
    }

    @Test func randomBytesNeverReadBeyondWhatIsThere() {
        var random = SeededRandom(7)
        for _ in 0..<200_000 {
            let count = Int.random(in: 1...15, using: &random)
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            let key: UInt32 = [0, 13, 15].randomElement(using: &random)!
            bytes.withUnsafeBufferPointer { buffer in
                var decoder = Decoder(bytes: buffer.baseAddress!, available: count, mode: Decoder.Mode(key: key))
                if case .decoded = decoder.decode() { #expect(Int(decoder.op.length) <= count) }
            }
        }
    }
}
