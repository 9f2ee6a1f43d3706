import Foundation
import Testing

/// Messages, exit codes and small promises of the command line.
@Suite(.serialized) struct MannersTests {
    private static let file = """
        lab: manners
        images: { golden: { path: golden.img, format: raw } }
        vms:
          v:
            replicas: 3
            memory: 16M
            disks: { hda: { base: golden } }
        """

    @Test(
        arguments: [
            (["stauts"], 64, "did you mean 'status'?"), (["help", "nosuch"], 64, "there is no verb 'nosuch'"),
            (["down", "--timeout", "5"], 64, "the unit is missing; did you mean '5s'?"),
            (["status", "v-1"], 1, "did you mean 'v-01'?"), (["status", "--nosuch"], 64, "error: Unknown option"),
            (["screenshot", "v-01", "-o", "x.jpg"], 64, ".png or .ppm"), (["init", "notes.txt"], 64, "ends in .yaml"),
            (["init", "--name", "a b", "new.yaml"], 64, "the name 'a b'"), (["exec", "v-01"], 64, "give the command"),
            (["wait", "v-01", "--regex", "[a"], 64, "not a regular expression"),
        ] as [([String], Int32, String)])
    func whatIsWrongIsSaidWithAWayOut(arguments: [String], status: Int32, message: String) throws {
        let lab = try LabFixture(Self.file)
        let result = try lab.run(arguments)
        #expect(result.status == status, "\(result.errors)")
        #expect(result.errors.contains(message), "\(result.errors)")
        #expect(!result.errors.contains("Error:"))
        #expect(!FileManager.default.fileExists(atPath: lab.labFolder + "/new.yaml"))
    }

    @Test func helpOfExecIsHelp() throws {
        let lab = try LabFixture(Self.file)
        #expect(try lab.succeed("exec", "--help").contains("apt-get install"))
        #expect(try lab.succeed("help", "status").contains("Shows the VMs"))
    }

    @Test func dataThatDoesNotArriveIsAFailure() throws {
        let lab = try LabFixture(Self.file)
        let (process, _, errors) = try lab.start(["status"], output: FileHandle(forWritingAtPath: "/dev/full"))
        process.waitUntilExit()
        let said = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        #expect(process.terminationStatus == 1)
        #expect(said.contains("cannot write standard output: No space left"), "\(said)")
    }

    @Test func downOfNothingSaysSo() throws {
        let lab = try LabFixture(Self.file)
        #expect(try lab.run(["down"]).errors.contains("nothing to do: no VM ran"))
    }

    @Test func aVerbCanWaitForALockedLab() throws {
        let lab = try LabFixture(
            Self.file.replacingOccurrences(of: "memory:", with: "ready: { console: never, timeout: 3s }\n    memory:"))
        let (first, _, _) = try lab.start(["up", "--progress", "quiet"])
        while try lab.allStates() != ["running"] { usleep(10_000) }
        let second = try lab.run(["down", "--wait", "--timeout", "0s"])
        first.waitUntilExit()
        #expect(second.status == 0, "\(second.errors)")
        #expect(second.errors.contains("waiting: the lab is locked"))
        #expect(try lab.allStates() == ["stopped"])
    }

    @Test func validateRefusesWhatUpRefuses() throws {
        let digest = String(repeating: "0", count: 64)
        for (change, message) in [
            ("networks: [ lan ]\n    memory:", "'networks' is not supported"),
            ("cpus: 2\n    cpu: { accel: verify }\n    memory:", "2 CPUs with `accel: verify` are not supported"),
        ] {
            let text = Self.file.replacingOccurrences(of: "memory:", with: change)
            let lab = try LabFixture(text.replacingOccurrences(of: "vms:", with: "networks: { lan: {} }\nvms:"))
            for verb in ["validate", "up", "plan"] {
                let result = try lab.run([verb])
                #expect(result.status == 4, "\(verb): \(result.errors)")
                #expect((result.output + result.errors).contains(message), "\(result.output)")
            }
            #expect(try lab.run(["down"]).status == 0, "what is there can be stopped")
        }
        let lab = try LabFixture(
            Self.file.replacingOccurrences(of: "format: raw", with: "format: raw, sha256: \"\(digest)\""))
        let validate = try lab.run(["validate"])
        #expect(validate.status == 4)
        #expect(validate.output.contains(digest), "\(validate.output)")
        #expect(try lab.run(["validate", "--skip-files"]).status == 0)
    }

    @Test func oneImageThatFailsStopsOnlyWhatNeedsIt() throws {
        let lab = try LabFixture(
            """
            lab: images
            images:
              golden: { path: golden.img, format: raw }
              broken: { path: broken.qcow2 }
              made: { convert: { from: broken } }
            vms:
              good: { memory: 16M, disks: { hda: { base: golden } } }
              bad: { memory: 16M, disks: { hda: { base: broken } } }
              worse: { memory: 16M, disks: { hda: { base: made } } }
            """)
        // A header that is recognised and leads nowhere.
        try lab.succeed("image", "create", "-f", "qcow2", "broken.qcow2", "1M")
        let path = lab.labFolder + "/broken.qcow2"
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        bytes.replaceSubrange(40..<48, with: [0, 0, 0, 0, 0xFF, 0, 0, 0])
        try bytes.write(to: URL(fileURLWithPath: path))
        let up = try lab.run(["up"])
        #expect(up.status == 3, "\(up.errors)")
        #expect(try lab.states()["good"] == "ready")
        #expect(up.errors.contains("broken.qcow2"), "\(up.errors)")
        #expect(up.errors.contains("worse: "), "\(up.errors)")
    }
}
