import Foundation
import Testing

@testable import Images

/// Whatever is wrong with a file, the sentence names the file, not only the image it is reached through.
@Suite struct ErrorNamingTests {
    @Test(arguments: FormatRegistry.formats.map(\.name).filter { $0 != "raw" })
    func everyFormatNamesTheFileThatIsNotOne(format: String) throws {
        let scratch = Scratch()
        var random = SeededRandom(71)
        try Data(random.bytes(200_000)).write(to: URL(fileURLWithPath: scratch.path("noise")))
        let error = #expect(throws: ImageError.self) {
            _ = try open(scratch.path("noise"), format: format, readOnly: true)
        }
        #expect(error?.sentence.contains(scratch.path("noise")) == true, "\(error?.sentence ?? "")")
    }

    @Test func aFaultInABackingFileNamesThatFile() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("base"), format: "qcow2", size: 4 << 20)
        try DiskImage.createOverlay(scratch.path("middle"), backing: "base", backingFormat: "qcow2")
        try DiskImage.createOverlay(scratch.path("top"), backing: "middle", backingFormat: "qcow2")
        let base = try open(scratch.path("base"))
        try base.put([UInt8](repeating: 3, count: 65536), at: 0)
        try base.close()
        var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: scratch.path("base"))))
        // The first entry of the L1 table (its place is at byte 40 of the header) leads between two clusters.
        let table = Int(bytes.be64(40))
        bytes.replaceSubrange(table..<table + 8, with: [0x80, 0, 0, 0, 0, 5, 2, 0])
        try Data(bytes).write(to: URL(fileURLWithPath: scratch.path("base")))
        let error = #expect(throws: ImageError.self) {
            let top = try open(scratch.path("top"), readOnly: true)
            defer { try? top.close() }
            try DiskImage.convert(
                ConvertRequest(sources: [top], targetPath: scratch.path("out"), targetFormat: "raw"))
        }
        #expect(error?.naming(scratch.path("out")).contains(scratch.path("base")) == true, "\(error?.sentence ?? "")")
        // And where it cannot be opened at all.
        try Data([UInt8](repeating: 7, count: 1000)).write(to: URL(fileURLWithPath: scratch.path("base")))
        let closed = #expect(throws: ImageError.self) { _ = try open(scratch.path("top"), readOnly: true) }
        #expect(closed?.sentence.contains(scratch.path("base")) == true, "\(closed?.sentence ?? "")")
    }

    @Test func aSentenceThatNamesItsFileStaysAsItIs() {
        let named = ImageError(.corrupt, "'d.img' is damaged", path: "d.img")
        #expect(named.naming("b") == "'d.img' is damaged")
        #expect(ImageError(.corrupt, "is damaged", path: "d.img").naming("b") == "d.img: is damaged")
        #expect(ImageError(.corrupt, "is damaged").naming("b") == "b: is damaged")
        // A refused request is about the request.
        #expect(ImageError(.invalidArgument, "wrong number", path: "d.img").naming("b") == "wrong number")
    }
}
