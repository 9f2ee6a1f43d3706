import Foundation
import Testing
import VMProtocol

/// Snapshots of a lab: machines and disks of one instant, and back.
@Suite(.serialized) struct LabSnapshotTests {
    private static let pair = """
        lab: pair
        images:
          golden: { path: golden.img, format: raw }
        vms:
          left:
            memory: 16M
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
          right:
            memory: 16M
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
        """

    private static func clones(_ origin: String) -> String {
        """
        lab: clones
        images:
          golden: { path: golden.img, format: raw }
        vms:
          student:
            replicas: 3
            memory: 16M
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
        \(origin)
        """
    }

    /// Types without Enter: what is in the guest's memory and not on its disk.
    private func begin(_ text: String, on vm: String, _ lab: LabFixture) throws {
        try lab.succeed("send", vm, text)
        try lab.succeed("wait", vm, text, "--timeout", "20s")
    }

    private func layers(_ lab: LabFixture) throws -> [String] {
        let labs = lab.folder + "/home/labs"
        let name = try #require(FileManager.default.contentsOfDirectory(atPath: labs).first)
        return (try? FileManager.default.contentsOfDirectory(atPath: "\(labs)/\(name)/layers")) ?? []
    }

    @Test func memoryAndDisksComeBackAlsoWhenTheVMsAreDown() throws {
        let lab = try LabFixture(Self.pair)
        try lab.succeed("up")
        try lab.type("wone", on: "left")
        try lab.type("wright", on: "right")
        try begin("wtwo", on: "left", lab)
        try lab.succeed("snapshot", "base")
        #expect(try lab.allStates().isSubset(of: ["ready", "running"]))
        // They run on, and what they write is not the snapshot's.
        try lab.type("", on: "left")
        #expect(try lab.type("r", on: "left").contains("disk: two"))
        try lab.type("wlater", on: "right")
        try lab.succeed("down")
        try lab.succeed("up")
        #expect(try lab.type("r", on: "right").contains("disk: later"))
        try lab.succeed("down", "right")
        try lab.succeed("restore", "base")
        #expect(try lab.type("r", on: "right").contains("disk: right"))
        // The line that was begun is in its memory still.
        try lab.type("", on: "left")
        #expect(try lab.type("r", on: "left").contains("disk: two"))
        try lab.type("wthree", on: "left")
        try lab.succeed("reset", "left", "--to", "base")
        try lab.type("X", on: "left")
        #expect(try lab.type("r", on: "left").contains("disk: twoX"))

        #expect(try lab.succeed("snapshots").contains("base"))
        try lab.succeed("snapshot", "check")
        try lab.succeed("snapshot", "rm", "base")
        #expect(try lab.run(["restore", "base"]).errors.contains("no snapshot 'base'"))
        // The VMs stand on what it froze.
        #expect(try layers(lab).count == 2)
        #expect(try lab.type("r", on: "left").contains("disk: twoX"))
        try lab.succeed("reset")
        #expect(try layers(lab).isEmpty)
        #expect(try !lab.type("r", on: "left").contains("two"))
    }

    @Test func whatCannotBeKeptIsSaidAndChangesNothing() throws {
        let lab = try LabFixture(Self.pair)
        #expect(try lab.run(["snapshot", "base"]).errors.contains("nothing to keep"))
        try lab.succeed("up", "left")
        #expect(try lab.run(["snapshot", "left"]).errors.contains("is a VM of this lab"))
        #expect(try lab.run(["snapshot", "a/b"]).errors.contains("no name for a snapshot"))
        let made = try lab.run(["snapshot", "base"])
        #expect(made.status == 0)
        #expect(made.errors.contains("never brought up, so not in it: right"))
        #expect(try lab.run(["snapshot", "base"]).errors.contains("already"))
        #expect(try lab.run(["restore", "right", "base"]).errors.contains("has no VM 'right'"))
        let labs = lab.folder + "/home/labs"
        let name = try #require(FileManager.default.contentsOfDirectory(atPath: labs).first)
        let state = "\(labs)/\(name)/snapshots/base/left.state"
        // A byte of its memory: the restore does not look, the check does.
        let handle = try #require(FileHandle(forUpdatingAtPath: state))
        try handle.seek(toOffset: (2 << 20) + 0x7C00)
        try handle.write(contentsOf: Data([0xEE]))
        try handle.close()
        let check = try lab.run(["snapshot", "check", "base"])
        #expect(check.status == 1)
        #expect(check.errors.contains("left") && check.errors.contains("is damaged"), "\(check.errors)")
    }

    @Test func aKilledLabctlLeavesTheOldStateAndVMsThatGoOn() throws {
        let lab = try LabFixture(Self.pair)
        try lab.succeed("up")
        try lab.type("wone", on: "left")
        for delay in [5_000, 20_000, 60_000, 120_000, 250_000] as [UInt32] {
            let (process, _, _) = try lab.start(["snapshot", "s\(delay)", "--progress", "quiet"])
            usleep(delay)
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            // The next verb finishes or undoes it.
            try lab.succeed("up")
            try lab.type("w\(delay)", on: "left")
            #expect(try lab.type("r", on: "left").contains("disk: \(delay)"))
        }
        try lab.succeed("down")
        try lab.succeed("up")
        #expect(try lab.type("r", on: "left").contains("disk: 250000"))
        for line in try lab.succeed("snapshots").split(separator: "\n").dropFirst() {
            let name = line.split(separator: " ").first.map(String.init) ?? ""
            try lab.succeed("restore", name)
        }
    }

    @Test func aClassBeginsAsOneWarmMachineAndResetGoesBackThere() throws {
        let lab = try LabFixture(
            Self.clones(
                "    warm: { steps: [ send: \"wwarm\\n\", wait: \"# \", send: \"whalf\", wait: whalf ] }"))
        try lab.succeed("up")
        #expect(try lab.allStates() == ["ready"])
        for (vm, word) in [("student-01", "a"), ("student-03", "c")] {
            try lab.type(word, on: vm)
            #expect(try lab.type("r", on: vm).contains("disk: half\(word)"))
        }
        // A VM that was switched off is switched on; a reset one begins as the warm machine again.
        try lab.succeed("down", "student-01")
        try lab.succeed("up", "student-01")
        #expect(try lab.type("r", on: "student-01").contains("disk: halfa"))
        try lab.succeed("reset", "student-01")
        try lab.type("z", on: "student-01")
        #expect(try lab.type("r", on: "student-01").contains("disk: halfz"))
        try lab.succeed("down", "student-03")
        try lab.succeed("reset", "student-03")
        try lab.succeed("up", "student-03")
        try lab.type("y", on: "student-03")
        #expect(try lab.type("r", on: "student-03").contains("disk: halfy"))
        #expect(try !lab.succeed("prune").contains("warm"))
        try lab.succeed("destroy", "--yes")
        #expect(try lab.succeed("prune").contains("warm"))
    }

    @Test func aClassBeginsAsASnapshotOfOneOfThem() throws {
        let lab = try LabFixture(Self.clones(""))
        try lab.succeed("up", "student-02")
        try lab.type("wbase", on: "student-02")
        try begin("wmore", on: "student-02", lab)
        try lab.succeed("snapshot", "student-02", "lesson")
        try lab.write(Self.clones("    from_snapshot: lesson"))
        try lab.succeed("up")
        try lab.type("x", on: "student-01")
        #expect(try lab.type("r", on: "student-01").contains("disk: morex"))
        // The one that was there goes on as it was.
        try lab.type("y", on: "student-02")
        #expect(try lab.type("r", on: "student-02").contains("disk: morey"))
    }
}
