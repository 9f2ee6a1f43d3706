import Foundation
import Testing

@testable import Images

/// Where `convert` puts its result.
@Suite struct ResultPlaceTests {
    private func convert(_ scratch: Scratch, to target: String) throws {
        let source = scratch.path("in.raw")
        try DiskImage.create(source, format: "raw", size: 1 << 20)
        let device = try open(source, format: "raw", readOnly: true)
        defer { try? device.close() }
        try DiskImage.convert(ConvertRequest(sources: [device], targetPath: target, targetFormat: "qcow2"))
    }

    @Test func theLongestNamesAreTaken() throws {
        let scratch = Scratch()
        let long = String(repeating: "n", count: 250), longest = String(repeating: "n", count: 255)
        for name in [long, longest, long] { try convert(scratch, to: scratch.path(name)) }
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: scratch.folder).sorted() == ["in.raw", long, longest])
    }

    @Test func aLinkStaysALinkAndItsFileIsMade() throws {
        let scratch = Scratch()
        try FileManager.default.createDirectory(atPath: scratch.path("sub"), withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(
            atPath: scratch.path("link"), withDestinationPath: "sub/second")
        try FileManager.default.createSymbolicLink(
            atPath: scratch.path("sub/second"), withDestinationPath: "../file.qcow2")
        for _ in 0..<2 {
            try convert(scratch, to: scratch.path("link"))
            #expect(try FileManager.default.destinationOfSymbolicLink(atPath: scratch.path("link")) == "sub/second")
            #expect(try DiskImage.probe(scratch.path("file.qcow2")) == "qcow2")
        }
    }

    @Test func linksWithoutEndAreRefused() throws {
        let scratch = Scratch()
        try FileManager.default.createSymbolicLink(atPath: scratch.path("loop"), withDestinationPath: "loop")
        #expect(throws: ImageError.self) { try convert(scratch, to: scratch.path("loop")) }
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: scratch.path("loop")) == "loop")
    }

    @Test func aFailedCreateThroughALinkLeavesTheLink() throws {
        let scratch = Scratch()
        try FileManager.default.createSymbolicLink(atPath: scratch.path("link"), withDestinationPath: "file")
        #expect(throws: ImageError.self) {
            try DiskImage.create(scratch.path("link"), format: "qcow2", size: 1 << 20, options: ["cluster_size": "3"])
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.folder) == ["link"])
    }

    @Test func aReplacedFileKeepsOwnerAndMode() throws {
        let scratch = Scratch()
        let target = scratch.path("target")
        #expect(FileManager.default.createFile(atPath: target, contents: nil))
        // Only root can give files away; others see that theirs stay theirs.
        let owner: uid_t = geteuid() == 0 ? 12345 : geteuid()
        #expect(chown(target, owner, getegid()) == 0 && chmod(target, 0o640) == 0)
        try convert(scratch, to: target)
        var status = stat()
        #expect(stat(target, &status) == 0 && status.st_uid == owner && status.st_mode & 0o7777 == 0o640)
    }
}
