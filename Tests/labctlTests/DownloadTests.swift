import Foundation
import Orchestrator
import Testing

/// Images that come from an address.
@Suite(.serialized) struct DownloadTests {
    private static func file(_ url: String, _ sha256: String, _ extra: String = "") -> String {
        """
        lab: downloads
        images: { golden: { url: "\(url)", format: raw, sha256: \(sha256)\(extra) } }
        vms:
          alpha:
            memory: 16M
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
        """
    }

    private static let digest = SHA256Digest.of(BootSectorGuest.image)

    private func images(_ lab: LabFixture) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: lab.folder + "/cache/labctl/images")) ?? []).sorted()
    }

    private func pack(_ lab: LabFixture, with program: [String], into name: String) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = program + [lab.golden]
        let path = lab.labFolder + "/" + name
        try Data().write(to: URL(fileURLWithPath: path))
        let handle = try #require(FileHandle(forWritingAtPath: path))
        process.standardOutput = handle
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        return path
    }

    @Test(arguments: [["gzip", "-c"], ["xz", "-c"], ["zstd", "-c", "-q"], ["cat"]])
    func aFileIsVerifiedUnpackedAndBooted(program: [String]) throws {
        let ending = ["gzip": ".gz", "xz": ".xz", "zstd": ".zst"][program[0]] ?? ""
        let lab = try LabFixture("")
        let path = try pack(lab, with: program, into: "my disk.img" + ending)
        let digest = SHA256Digest.of([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
        let url = "file://" + path.replacingOccurrences(of: " ", with: "%20")
        try lab.write(Self.file(url, digest))
        try lab.succeed("up")
        #expect(try lab.states() == ["alpha": "ready"])
        let made = images(lab)
        #expect(made.count == 1, "\(made)")
        let content = FileManager.default.contents(atPath: lab.folder + "/cache/labctl/images/\(made.first ?? "")")
        #expect(content == Data(BootSectorGuest.image))
    }

    @Test func whatIsUnpackedIsTheImageInTheFormatThatItHas() throws {
        let lab = try LabFixture("")
        try lab.succeed("image", "convert", "-f", "raw", "-O", "qcow2", lab.golden, "disk.qcow2")
        try FileManager.default.removeItem(atPath: lab.golden)
        try FileManager.default.moveItem(atPath: lab.labFolder + "/disk.qcow2", toPath: lab.golden)
        let path = try pack(lab, with: ["xz", "-c"], into: "disk.qcow2.xz")
        let digest = SHA256Digest.of([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
        try lab.write(Self.file("file://" + path, digest).replacingOccurrences(of: "format: raw, ", with: ""))
        try lab.succeed("up")
        #expect(try lab.states() == ["alpha": "ready"])
        let made = try #require(images(lab).first)
        #expect(made.hasSuffix(".qcow2"))
        let content = FileManager.default.contents(atPath: lab.folder + "/cache/labctl/images/" + made)
        #expect(content == FileManager.default.contents(atPath: lab.golden))
    }

    @Test func aDownloadThatBreaksOffGoesOnWhereItWas() throws {
        let server = try HTTPServer(BootSectorGuest.image, HTTPServer.Manners(cuts: [400_000, 300_000]))
        defer { server.stop() }
        let lab = try LabFixture(Self.file(server.url("disk.img"), Self.digest))
        let built = try lab.run(["build", "--progress", "json"])
        #expect(built.status == 0, "\(built.errors)")
        #expect(server.requests == ["all", "400000-", "700000-"])
        #expect(built.errors.contains("\"downloading\""))
        #expect(built.errors.contains("\"totalBytes\":1048576"), "\(built.errors)")
        // It is there now, for every lab.
        try lab.succeed("build")
        #expect(server.requests.count == 3)
    }

    @Test func aServerWithoutRangesIsAskedForAllAgain() throws {
        let server = try HTTPServer(
            BootSectorGuest.image, HTTPServer.Manners(cuts: [400_000], knowsRanges: false))
        defer { server.stop() }
        let lab = try LabFixture(Self.file(server.url("disk.img"), Self.digest))
        let built = try lab.run(["build"])
        #expect(built.status == 0, "\(built.errors)")
        #expect(server.requests.last == "all")
    }

    @Test func anotherFileThanAskedForIsRefusedAndNothingIsLeft() throws {
        let server = try HTTPServer(Array("not what you want".utf8))
        defer { server.stop() }
        let lab = try LabFixture(Self.file(server.url("disk.img"), Self.digest))
        let up = try lab.run(["up"])
        #expect(up.status == 3 || up.status == 1)
        #expect(up.errors.contains("image 'golden'"), "\(up.errors)")
        #expect(up.errors.contains(Self.digest) && up.errors.contains(server.url("disk.img")), "\(up.errors)")
        #expect(images(lab).isEmpty)
        let parts = try FileManager.default.contentsOfDirectory(atPath: lab.folder + "/cache/labctl/downloads")
        #expect(parts.isEmpty, "\(parts)")
    }

    @Test func anErrorOfTheServerIsSaidWithTheAddress() throws {
        let server = try HTTPServer([], HTTPServer.Manners(status: "404 Not Found"))
        defer { server.stop() }
        let lab = try LabFixture(Self.file(server.url("disk.img"), Self.digest))
        let built = try lab.run(["build"])
        #expect(built.status == 1)
        #expect(built.errors.contains("404") && built.errors.contains(server.url("disk.img")), "\(built.errors)")
    }

    @Test func aDownloadThatNamesAFileOfTheHostIsRefused() throws {
        let lab = try LabFixture("")
        try lab.succeed("image", "create", "-f", "qcow2", "-b", lab.golden, "-F", "raw", "evil.qcow2")
        let path = lab.labFolder + "/evil.qcow2"
        let digest = SHA256Digest.of([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
        try lab.write(
            Self.file("file://" + path, digest).replacingOccurrences(of: "format: raw", with: "format: qcow2"))
        let up = try lab.run(["up"])
        #expect(up.status != 0)
        #expect(up.errors.contains("cannot be used"), "\(up.errors)")
        #expect(images(lab).isEmpty)
    }

    @Test func whatNoLabAsksForAnyMoreIsPrunedAndWhatOneDoesStays() throws {
        let lab = try LabFixture("")
        func write(_ size: String) throws {
            try lab.write(
                """
                lab: pruning
                images: { scratch: { create: { size: \(size) } } }
                vms: { alpha: { memory: 16M, disks: { hda: { base: scratch } } } }
                """)
        }
        try write("1M")
        try lab.succeed("build")
        let first = images(lab)
        #expect(first.count == 1)
        #expect(try lab.run(["prune"]).errors.contains("nothing to remove"))
        try write("2M")
        try lab.succeed("build")
        #expect(images(lab).count == 2)
        let shown = try lab.run(["prune"])
        #expect(shown.output.contains(first[0]) && shown.errors.contains("can be freed"), "\(shown)")
        try lab.succeed("prune", "--yes")
        #expect(images(lab).count == 1)
        #expect(images(lab) != first)
    }
}
