import Foundation
import Testing
import VMProtocol

/// The built labctl and labvm on a small lab whose guests are one boot sector each.
@Suite(.serialized) struct EndToEndTests {
    private static let classroom = """
        lab: class
        images:
          golden: { path: golden.img, format: raw }
          scratch: { create: { format: qcow2, size: 16M } }
        vms:
          teacher:
            memory: 16M
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
          student:
            replicas: 2
            memory: 16M
            disks: { hda: { base: golden }, hdb: { base: scratch } }
            ready: { console: "login: ", timeout: 60s }
            depends_on: [ teacher ]
        """

    private static func single(_ extra: String = "", ready: String = "login: ", timeout: String = "60s") -> String {
        """
        lab: one
        images: { golden: { path: golden.img, format: raw } }
        vms:
          alpha:
            memory: 16M
            disks: { hda: { base: golden } }
            ready: { console: "\(ready)", timeout: \(timeout) }
        \(extra)
        """
    }

    @Test func aLabComesUpWorksAndGoesDown() throws {
        let lab = try LabFixture(Self.classroom)
        let golden = try lab.digestOfGolden()
        #expect(try lab.run(["plan", "--exit-code"]).status == 2)
        try lab.succeed("up")
        #expect(try lab.states() == ["teacher": "ready", "student-01": "ready", "student-02": "ready"])
        #expect(try lab.run(["plan", "--exit-code"]).status == 0)

        // Again: nothing changes, the processes are the same.
        let before: Int = try lab.value("processID", of: "student-01")
        try lab.succeed("up")
        #expect(try lab.value("processID", of: "student-01") == before)

        // What one writes is its own.
        try lab.type("wmine", on: "student-01")
        #expect(try lab.type("r", on: "student-01").contains("disk: mine"))
        #expect(try !lab.type("r", on: "student-02").contains("mine"))
        #expect(try lab.digestOfGolden() == golden)

        // Down and up: overlays stay. The guests power off by themselves.
        let down = try lab.run(["down"])
        #expect(down.status == 0)
        #expect(!down.errors.contains("force"), "\(down.errors)")
        #expect(try lab.allStates() == ["stopped"])
        try lab.succeed("up")
        #expect(try lab.type("r", on: "student-01").contains("disk: mine"))

        // Reset: that one is fresh and back, the others were not touched.
        let other: Int = try lab.value("processID", of: "student-02")
        try lab.succeed("reset", "student-01")
        #expect(try lab.states()["student-01"] == "ready")
        #expect(try !lab.type("r", on: "student-01").contains("mine"))
        #expect(try lab.value("processID", of: "student-02") == other)

        try lab.succeed("destroy", "--yes")
        #expect(try lab.allStates() == ["absent"])
        #expect(FileManager.default.contents(atPath: lab.golden) == golden)
        #expect(try FileManager.default.contentsOfDirectory(atPath: lab.folder + "/home/labs").isEmpty)
    }

    @Test func aChangedDefinitionRestartsOnlyThatVM() throws {
        let lab = try LabFixture(Self.classroom)
        try lab.succeed("up")
        let teacher: Int = try lab.value("processID", of: "teacher")
        let student: Int = try lab.value("processID", of: "student-01")
        try lab.type("wkept", on: "student-01")
        try lab.write(
            Self.classroom.replacingOccurrences(
                of: "replicas: 2\n    memory: 16M", with: "replicas: 2\n    memory: 24M"))
        #expect(try lab.succeed("plan").contains("memory 16M → 24M"))
        try lab.succeed("up")
        #expect(try lab.value("processID", of: "teacher") == teacher)
        #expect(try lab.value("processID", of: "student-01") != student)
        #expect(try lab.type("r", on: "student-01").contains("disk: kept"))
    }

    @Test func aKilledLabctlNeedsNoCleaning() throws {
        let lab = try LabFixture(Self.classroom)
        // Killed at several moments of an `up`; whatever is there, the next one makes it whole.
        for delay in [20_000, 150_000, 600_000] as [UInt32] {
            let (process, _, _) = try lab.start(["up", "--progress", "quiet"])
            usleep(delay)
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            _ = try lab.states()
        }
        try lab.succeed("up")
        #expect(try lab.allStates() == ["ready"])
        #expect(try lab.run(["plan", "--exit-code"]).status == 0)
    }

    @Test func aKilledVMIsFoundAndStartedAgainWithItsDisk() throws {
        let lab = try LabFixture(Self.single())
        try lab.succeed("up")
        try lab.type("wkept", on: "alpha")
        // The firmware never flushes; the VM process does so every two seconds, on a busy host somewhat later.
        sleep(8)
        let process: Int = try lab.value("processID", of: "alpha")
        kill(pid_t(process), SIGKILL)
        while try lab.states()["alpha"] == "ready" { usleep(10_000) }
        #expect(try lab.states()["alpha"] == "killed")
        let up = try lab.run(["up"])
        #expect(up.status == 0)
        #expect(up.errors.contains("was not stopped in order"))
        #expect(try lab.type("r", on: "alpha").contains("disk: kept"))
    }

    @Test func aVMWhoseSocketsAreGoneIsStillStopped() throws {
        let lab = try LabFixture(Self.single())
        try lab.succeed("up")
        try FileManager.default.removeItem(atPath: lab.folder + "/run/labctl")
        #expect(try lab.states()["alpha"] == "ready")
        try lab.succeed("down")
        #expect(try lab.states()["alpha"] == "stopped")
    }

    @Test func twoUpsAtOnceDoNotMix() throws {
        // The first one holds the lab for as long as it waits for what its guest never says.
        let lab = try LabFixture(Self.single(ready: "never said", timeout: "4s"))
        let (first, _, _) = try lab.start(["up", "--progress", "quiet"])
        while try lab.states()["alpha"] != "running" { usleep(10_000) }
        let second = try lab.run(["up"])
        first.waitUntilExit()
        #expect(first.terminationStatus == 6)
        #expect(second.status == 5, "\(second.errors)")
        #expect(second.errors.contains("locked by another labctl (up, process \(first.processIdentifier))"))
    }

    @Test func theLabFolderMayBeReadOnly() throws {
        let lab = try LabFixture(Self.single())
        chmod(lab.golden, 0o444)
        chmod(lab.labFolder, 0o555)
        try lab.succeed("up")
        try lab.type("wmine", on: "alpha")
        try lab.succeed("down")
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: lab.labFolder).sorted() == ["golden.img", "lab.yaml"])
    }

    @Test func aGoldenImageThatChangedIsRefusedUntilReset() throws {
        let lab = try LabFixture(Self.single())
        try lab.succeed("up")
        try lab.succeed("down")
        // Another time, the same content: nothing is wrong.
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSince1970: 1)], ofItemAtPath: lab.golden)
        try lab.succeed("up")
        try lab.succeed("down")
        var changed = BootSectorGuest.image
        changed[1000] = 1
        try Data(changed).write(to: URL(fileURLWithPath: lab.golden))
        let refused = try lab.run(["up"])
        #expect(refused.status == 1)
        #expect(refused.errors.contains("labctl reset alpha"))
        #expect(try lab.states()["alpha"] == "stopped")
        try lab.succeed("reset", "alpha")
        try lab.succeed("up")
    }

    @Test func aDigestThatDiffersIsRefusedBeforeAnythingStarts() throws {
        let digest = String(repeating: "0", count: 64)
        let lab = try LabFixture(
            Self.single().replacingOccurrences(of: "format: raw", with: "format: raw, sha256: \"\(digest)\""))
        let refused = try lab.run(["up"])
        #expect(refused.status == 1)
        #expect(refused.errors.contains(digest))
        #expect(try lab.states()["alpha"] == "absent")
    }

    @Test func aVMThatDoesNotBecomeReadyIsShownWithItsLastWords() throws {
        let lab = try LabFixture(Self.single(ready: "no such text", timeout: "6s"))
        let up = try lab.run(["up"])
        #expect(up.status == 6)
        #expect(up.errors.contains("'no such text' did not appear"))
        #expect(up.errors.contains("| login:"), "\(up.errors)")
        // It runs, and the next `up` waits for it again.
        #expect(try lab.states()["alpha"] == "running")
    }

    @Test func oneFailureIsNotTheEndOfTheOthers() throws {
        let lab = try LabFixture(
            Self.single(
                """
                  beta:
                    memory: 16M
                    kernel: no-kernel
                """))
        try Data("text".utf8).write(to: URL(fileURLWithPath: lab.labFolder + "/no-kernel"))
        let up = try lab.run(["up"])
        #expect(up.status == 3, "\(up.errors)")
        #expect(up.errors.contains("beta"))
        #expect(try lab.states()["alpha"] == "ready")
    }

    @Test func ctrlCStopsWhatIsHalfDone() throws {
        let lab = try LabFixture(Self.single(ready: "no such text", timeout: "60s"))
        let (process, _, errors) = try lab.start(["up", "--progress", "plain"])
        while try lab.states()["alpha"] != "running" { usleep(20_000) }
        usleep(200_000)
        kill(process.processIdentifier, SIGINT)
        process.waitUntilExit()
        #expect(process.terminationStatus == 130)
        let said = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        #expect(said.contains("stopped again before it was ready"), "\(said)")
        #expect(try lab.states()["alpha"] == "stopped")
    }

    @Test func eventsTellTheStory() throws {
        let lab = try LabFixture(Self.single())
        try lab.succeed("up")
        try lab.succeed("down")
        let events = try lab.succeed("events").split(separator: "\n").compactMap { line -> String? in
            (try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])?["event"] as? String
        }
        for event in ["started", "ready", "powerdown", "exited", "stopped"] { #expect(events.contains(event)) }
        #expect(try lab.succeed("ls").contains("one"))
    }
}
