import Foundation
import Testing

@testable import Images

/// A folder of its own per test, removed at the end.
final class Scratch {
    let folder: String

    init() {
        folder = NSTemporaryDirectory() + "images-test-" + UUID().uuidString
        try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func path(_ name: String) -> String { folder + "/" + name }
}

/// SplitMix64: small, seeded, the same everywhere.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

struct ToolResult {
    var status: Int32
    var output: String
}

/// Runs a program of Debian's and returns its exit code and everything it printed.
@discardableResult
func run(_ arguments: [String], in folder: String? = nil) throws -> ToolResult {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = arguments
    if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return ToolResult(status: process.terminationStatus, output: String(decoding: data, as: UTF8.self))
}

extension BlockDevice {
    func bytes(at offset: UInt64, count: Int) throws -> [UInt8] {
        let buffer = HeapBuffer(count, zeroed: false)
        try read(into: buffer.bytes.part(0, count), at: offset)
        return [UInt8](buffer.readable.part(0, count))
    }

    func put(_ bytes: [UInt8], at offset: UInt64) throws {
        try bytes.withUnsafeBytes { try write(from: $0, at: offset) }
    }
}

func open(_ path: String, format: String? = nil, readOnly: Bool = false) throws -> any BlockDevice {
    try DiskImage.open(path, options: OpenOptions(format: format, readOnly: readOnly))
}

/// A disk kept as plain bytes, to which an image must stay equal.
struct DiskModel {
    var bytes: [UInt8]

    /// One random request, applied to the image and to the model.
    mutating func step(_ device: any BlockDevice, _ random: inout SeededRandom, longest: Int) throws {
        let offset = Int.random(in: 0..<bytes.count, using: &random)
        var count = min(Int.random(in: 1...longest, using: &random), bytes.count - offset)
        var start = offset
        if Bool.random(using: &random) {
            start = offset & ~4095
            count = min((count + 4095) & ~4095, bytes.count - start)
        }
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<5:
            let data = random.bytes(count)
            try device.put(data, at: UInt64(start))
            bytes.replaceSubrange(start..<start + count, with: data)
        case 5, 6:
            try device.writeZeroes(at: UInt64(start), count: UInt64(count), mayUnmap: Bool.random(using: &random))
            bytes.replaceSubrange(start..<start + count, with: repeatElement(0, count: count))
        case 7:
            // A discard leaves zeros or the old bytes, so the model asks.
            try device.discard(at: UInt64(start), count: UInt64(count))
            let now = try device.bytes(at: UInt64(start), count: count)
            for index in 0..<count { #expect(now[index] == 0 || now[index] == bytes[start + index]) }
            bytes.replaceSubrange(start..<start + count, with: now)
        case 8: try device.flush()
        default:
            let read = try device.bytes(at: UInt64(start), count: count)
            #expect(read == Array(bytes[start..<start + count]))
        }
    }

    func check(_ device: any BlockDevice) throws {
        let all = try device.bytes(at: 0, count: bytes.count)
        let firstDifference = zip(all, bytes).enumerated().first { $1.0 != $1.1 }?.offset
        #expect(firstDifference == nil, "the disk differs from the model at byte \(firstDifference ?? -1)")
    }
}
