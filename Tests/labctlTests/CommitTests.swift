import Foundation
import LabSpec
import Testing

/// Golden images of VMs that were prepared by hand, and labs to begin with.
@Suite(.serialized) struct CommitTests {
    private static let file = """
        lab: preparing
        images: { golden: { path: golden.img, format: raw } }
        vms:
          alpha:
            memory: 16M
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
        """

    @Test func aPreparedDiskBecomesAnImageThatStandsAlone() throws {
        let lab = try LabFixture(Self.file)
        try lab.succeed("up")
        try lab.type("wprepared", on: "alpha")
        let running = try lab.run(["commit", "alpha", "prepared"])
        #expect(running.status == 1)
        #expect(running.errors.contains("labctl down alpha"), "\(running.errors)")
        try lab.succeed("down")
        let entry = try lab.succeed("commit", "alpha", "prepared")
        let path = lab.labFolder + "/prepared.qcow2"
        #expect(entry.contains("prepared:\n    path: ") && entry.contains("sha256: "), "\(entry)")
        #expect(try !lab.succeed("image", "info", "--output=json", path).contains("backing"))
        // What is printed is an entry of `images`.
        let other = """
            lab: prepared
            images:
            \(entry)
            vms:
              beta:
                memory: 16M
                disks: { hda: { base: prepared } }
                ready: { console: "login: ", timeout: 60s }
            """
        try other.write(toFile: lab.labFolder + "/other.yaml", atomically: true, encoding: .utf8)
        try lab.succeed("up", "other.yaml")
        try lab.succeed("send", "other.yaml", "beta", #"r\n"#)
        #expect(try lab.succeed("wait", "other.yaml", "beta", "# ", "--show").contains("disk: prepared"))
        // It is golden now: nobody replaces what a disk stands on.
        #expect(try lab.run(["commit", "alpha", "prepared"]).errors.contains("--force"))
        let refused = try lab.run(["commit", "--force", "alpha", "prepared"])
        #expect(refused.status == 1)
        #expect(refused.errors.contains("golden image below the disk of beta"), "\(refused.errors)")
        try lab.succeed("destroy", "other.yaml", "--yes")
        try lab.succeed("commit", "--force", "alpha", "prepared")
    }

    @Test func aVMWithoutADiskOfItsOwnIsRefused() throws {
        let lab = try LabFixture(Self.file)
        let refused = try lab.run(["commit", "alpha", "prepared"])
        #expect(refused.status == 1)
        #expect(refused.errors.contains("no overlay hda"), "\(refused.errors)")
        #expect(try lab.run(["commit", "alpha", "prepared", "--slot", "sda"]).status == 64)
    }

    @Test func whatInitWritesForADebianIsValidOnceItsScriptHasRun() throws {
        let lab = try LabFixture("")
        let said = try lab.succeed("init", "--debian", "--name", "mine", "deb.yaml")
        #expect(said.contains("make-debian-image"))
        #expect(FileManager.default.isExecutableFile(atPath: lab.labFolder + "/make-debian-image"))
        let before = try lab.run(["validate", "deb.yaml"])
        #expect(before.status == 4)
        #expect(before.errors.contains("debian.qcow2") || before.output.contains("debian.qcow2"))
        let images = lab.labFolder + "/images"
        try FileManager.default.createDirectory(atPath: images, withIntermediateDirectories: false)
        for name in ["vmlinuz", "initrd.img"] { try Data().write(to: URL(fileURLWithPath: "\(images)/\(name)")) }
        try lab.succeed("image", "create", "-f", "qcow2", "\(images)/debian.qcow2", "1M")
        try lab.succeed("validate", "deb.yaml")
        // The script is one that a shell can read.
        let shell = Process()
        shell.executableURL = URL(fileURLWithPath: "/bin/bash")
        shell.arguments = ["-n", lab.labFolder + "/make-debian-image"]
        try shell.run()
        shell.waitUntilExit()
        #expect(shell.terminationStatus == 0)
        #expect(try lab.run(["init", "--debian", "deb.yaml"]).status == 1, "nothing is overwritten")
    }

    @Test func whatInitWritesForADownloadIsValid() throws {
        let lab = try LabFixture("")
        let digest = String(repeating: "ab", count: 32)
        try lab.succeed("init", "--url", "https://example.org/a.qcow2.xz", "--sha256", digest, "cloud.yaml")
        try lab.succeed("validate", "cloud.yaml")
        #expect(try lab.run(["init", "--url", "https://example.org/a.qcow2", "b.yaml"]).status == 64)
        #expect(try lab.run(["init", "--url", "ftp://a/b.qcow2", "--sha256", digest, "b.yaml"]).status == 64)
    }
}
