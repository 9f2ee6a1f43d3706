import Foundation
import Testing

/// Images that a VM makes.
@Suite(.serialized) struct BuildTests {
    private static func file(_ steps: String, timeout: String = "60s", extra: String = "") -> String {
        """
        lab: building
        images:
          golden: { path: golden.img, format: raw }
          built:
            build:
              from: golden
              memory: 16M
              timeout: \(timeout)
              \(extra)
              steps:
        \(steps.split(separator: "\n").map { "        - " + $0 }.joined(separator: "\n"))
        vms:
          alpha:
            memory: 16M
            disks: { hda: { base: built } }
            ready: { console: "login: ", timeout: 60s }
          other:
            memory: 16M
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
        """
    }

    private static let good = #"""
        { wait: "login: ", timeout: 30s }
        { send: "wbuilt\n" }
        { wait: "# " }
        { send: "q\n" }
        """#

    private func names(_ lab: LabFixture, _ folder: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: "\(lab.folder)/\(folder)")) ?? []).sorted()
    }

    private func vms(_ lab: LabFixture) -> [String] {
        let labs = names(lab, "home/labs")
        return labs.flatMap { names(lab, "home/labs/\($0)/vms") }
    }

    @Test func aBuiltImageHasWhatTheStepsMadeOfItAndIsBuiltOnce() throws {
        let lab = try LabFixture(Self.file(Self.good))
        let golden = try lab.digestOfGolden()
        #expect(try lab.succeed("plan").contains("built on golden"))
        let up = try lab.run(["up"])
        #expect(up.status == 0, "\(up.errors)")
        #expect(up.errors.contains("building, step 2 of 4, send: wbuilt"), "\(up.errors)")
        #expect(try lab.type("r", on: "alpha").contains("disk: built"))
        #expect(try lab.digestOfGolden() == golden)
        #expect(vms(lab) == ["alpha", "other"], "the VM of the build is gone")
        let made = names(lab, "cache/labctl/images")
        #expect(made.count == 1)
        let info = try lab.succeed(
            "image", "info", "--output=json", "\(lab.folder)/cache/labctl/images/\(made.first ?? "")")
        #expect(!info.contains("backing"), "it stands alone: \(info)")
        // Again, from another lab file too: nothing is built.
        try lab.write(Self.file(Self.good).replacingOccurrences(of: "lab: building", with: "lab: again"))
        let again = try lab.run(["build", "built", "--format", "json"])
        #expect(again.output.filter { $0 != " " }.contains(#""wasThere":true"#), "\(again)")
        #expect(!again.errors.contains("image built: building"), "\(again.errors)")
    }

    @Test func aChangedStepBuildsAnotherImage() throws {
        let lab = try LabFixture(Self.file(Self.good))
        try lab.succeed("build")
        try lab.write(Self.file(Self.good.replacingOccurrences(of: "wbuilt", with: "wother")))
        #expect(try lab.succeed("plan").contains("make-image"))
        try lab.succeed("build")
        #expect(names(lab, "cache/labctl/images").count == 2)
    }

    @Test func anEmptyDiskAndACDAreBuiltOnToo() throws {
        // The CD is the guest: it boots from it and writes to the disk that is there.
        let lab = try LabFixture(
            Self.file(Self.good).replacingOccurrences(of: "from: golden", with: "disk: 2M\n      kernel: nothing"))
        let refused = try lab.run(["build"])
        #expect(refused.status == 4)
        #expect(refused.errors.contains("there is no file 'nothing'"), "\(refused.errors)")
    }

    @Test func aStepThatFailsIsShownWithItsConsoleAndLeavesNothingHalfBuilt() throws {
        let lab = try LabFixture(Self.file("{ wait: \"login: \" }\n{ wait: \"never said\", timeout: 1s }"))
        let up = try lab.run(["up"])
        #expect(up.status == 3, "the other VM is up: \(up.errors)")
        #expect(up.errors.contains("image 'built': step 2 (wait: 'never said') failed"), "\(up.errors)")
        #expect(up.errors.contains("  | login: "), "\(up.errors)")
        #expect(try lab.states()["other"] == "ready")
        #expect(vms(lab) == ["other"])
        #expect(names(lab, "cache/labctl/images").isEmpty)
        let kept = names(lab, "cache/labctl/failed-builds")
        #expect(kept.count == 2, "\(kept)")
        for name in kept { #expect(up.errors.contains(name), "\(up.errors)") }
        #expect(try lab.run(["prune"]).output.contains("failed-builds"))
    }

    @Test func aGuestThatDoesNotPowerOffRunsIntoTheTimeout() throws {
        let lab = try LabFixture(Self.file(#"{ wait: "login: " }"#, timeout: "8s"))
        let built = try lab.run(["build"])
        #expect(built.status == 1)
        #expect(built.errors.contains("did not power off within 8s"), "\(built.errors)")
        #expect(vms(lab).isEmpty)
    }

    @Test func keptForALookAFailedBuildsVMWorksWithTheOtherVerbs() throws {
        let lab = try LabFixture(Self.file("{ wait: \"login: \" }\n{ keys: nosuchkey }"))
        let built = try lab.run(["build", "built", "--keep"])
        #expect(built.status == 1)
        #expect(built.errors.contains("unknown key: 'nosuchkey'"), "\(built.errors)")
        #expect(built.errors.contains("labctl console build:built"), "\(built.errors)")
        #expect(try lab.type("r", on: "build:built").contains("disk: "))
        try lab.succeed("destroy", "--yes", "build:built")
        #expect(vms(lab).isEmpty)
    }

    @Test func anInterruptedOrKilledBuildLeavesNoVM() throws {
        let lab = try LabFixture(Self.file(#"{ wait: "never said" }"#))
        func untilItRuns(_ process: Process) throws {
            while vms(lab).isEmpty, process.isRunning { usleep(20_000) }
            usleep(300_000)
        }
        let (interrupted, _, errors) = try lab.start(["build", "--progress", "quiet"])
        try untilItRuns(interrupted)
        kill(interrupted.processIdentifier, SIGINT)
        interrupted.waitUntilExit()
        let said = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        #expect(interrupted.terminationStatus == 130, "\(said)")
        #expect(vms(lab).isEmpty)

        let (killed, _, _) = try lab.start(["build", "--progress", "quiet"])
        try untilItRuns(killed)
        kill(killed.processIdentifier, SIGKILL)
        killed.waitUntilExit()
        #expect(vms(lab) == ["build:built"])
        try lab.write(Self.file(Self.good))
        let again = try lab.run(["build"])
        #expect(again.status == 0, "\(again.errors)")
        #expect(again.errors.contains("left from an earlier build"), "\(again.errors)")
        #expect(vms(lab).isEmpty)
    }

    @Test func aPictureOfTheScreenIsSaved() throws {
        let lab = try LabFixture(Self.file("{ wait: \"login: \" }\n{ screenshot: shot.png }\n{ send: \"q\\n\" }"))
        try lab.succeed("build")
        let bytes = FileManager.default.contents(atPath: lab.labFolder + "/shot.png") ?? Data()
        #expect(bytes.starts(with: [0x89, 0x50, 0x4E, 0x47]))
    }
}
