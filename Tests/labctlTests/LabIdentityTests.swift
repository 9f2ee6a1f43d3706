import Foundation
import Testing

/// A lab whose file was deleted, renamed, moved or changed is still that lab.
@Suite(.serialized) struct LabIdentityTests {
    private static let file = """
        # a class
        lab: class
        images: { golden: { path: golden.img, format: raw } }
        vms:
          alpha:
            memory: ${SIZE}
            disks: { hda: { base: golden } }
        """

    private func running() throws -> LabFixture {
        let lab = try LabFixture(Self.file)
        lab.environment["SIZE"] = "16M"
        try lab.succeed("up")
        return lab
    }

    private func labs(_ lab: LabFixture) throws -> [[String: Any]] {
        let json = try lab.succeed("ls", "--format", "json")
        return try #require(JSONSerialization.jsonObject(with: Data(json.utf8)) as? [[String: Any]])
    }

    private func move(_ lab: LabFixture, to name: String) throws {
        try FileManager.default.moveItem(atPath: lab.labFolder + "/lab.yaml", toPath: lab.labFolder + "/" + name)
    }

    @Test func aLabWhoseFileIsDeletedIsStoppedByItsName() throws {
        let lab = try running()
        try FileManager.default.removeItem(atPath: lab.labFolder + "/lab.yaml")
        lab.environment["SIZE"] = nil
        let status = try lab.run(["status", "--lab", "class"])
        #expect(status.status == 0)
        #expect(status.output.contains("alpha"))
        #expect(status.errors.contains("lab.yaml is gone"), "\(status.errors)")
        try lab.succeed("down", "--lab", "class", "--timeout", "0s")
        // Here, the only lab whose file is gone is meant without being named.
        #expect(try lab.succeed("status").contains("stopped"))
        #expect(try lab.run(["status", "lab.yaml"]).output.contains("stopped"))
        try lab.succeed("up", "--lab", "class")
        try lab.succeed("destroy", "--yes", "--lab", "class")
        #expect(try labs(lab).isEmpty)
    }

    @Test func aRenamedFileIsTheSameLab() throws {
        let lab = try running()
        let before: Int = try lab.value("processID", of: "alpha")
        try move(lab, to: "other.lab.yaml")
        let up = try lab.run(["up"])
        #expect(up.status == 0)
        #expect(up.errors.contains("other.lab.yaml now"), "\(up.errors)")
        #expect(try lab.value("processID", of: "alpha") == before)
        #expect(try labs(lab).count == 1)
        // And that is remembered.
        #expect(try !lab.run(["status"]).errors.contains("now"))
    }

    @Test func aRenamedLabIsTheSameLab() throws {
        let lab = try running()
        let before: Int = try lab.value("processID", of: "alpha")
        try lab.write(Self.file.replacingOccurrences(of: "lab: class", with: "lab: course"))
        let up = try lab.run(["up"])
        #expect(up.errors.contains("is called 'course' now"), "\(up.errors)")
        #expect(try lab.value("processID", of: "alpha") == before)
        #expect(try labs(lab).count == 1)
        try lab.succeed("down", "--lab", "course", "--timeout", "0s")
    }

    @Test func aCopyOfALabIsAnotherLab() throws {
        let lab = try running()
        try FileManager.default.copyItem(
            atPath: lab.labFolder + "/lab.yaml", toPath: lab.labFolder + "/copy.lab.yaml")
        #expect(try lab.succeed("status", "copy.lab.yaml").contains("absent"))
        #expect(try lab.succeed("status", "lab.yaml").contains("ready"))
    }

    @Test func anotherLabInThePlaceOfAGoneOneIsNew() throws {
        let lab = try running()
        try lab.write("lab: else\nvms: { beta: { memory: 16M, cdrom: golden.img } }")
        #expect(try lab.states() == ["beta": "absent"])
        try lab.succeed("down", "--lab", "class", "--timeout", "0s")
    }

    @Test func aBrokenFileSaysHowToWorkOn() throws {
        let lab = try running()
        try lab.write("lab: [")
        let down = try lab.run(["down"])
        #expect(down.status == 4)
        #expect(down.errors.contains("--lab class-"), "\(down.errors)")
        try lab.succeed("down", "--lab", "class", "--timeout", "0s")
    }

    @Test func anUnknownNameIsRefusedWithTheNearest() throws {
        let lab = try running()
        let wrong = try lab.run(["down", "--lab", "clas"])
        #expect(wrong.status == 1)
        #expect(wrong.errors.contains("did you mean 'class'?"), "\(wrong.errors)")
    }

    @Test func pruneKeepsTheOverlaysOfALabWhoseFileIsGone() throws {
        let lab = try running()
        try lab.succeed("down", "--timeout", "0s")
        try move(lab, to: "away")
        try lab.succeed("prune", "--yes")
        try move2(lab, from: "away")
        #expect(try lab.states() == ["alpha": "stopped"])
        try move(lab, to: "away")
        try lab.succeed("prune", "--yes", "--labs")
        #expect(try labs(lab).isEmpty)
    }

    private func move2(_ lab: LabFixture, from name: String) throws {
        try FileManager.default.moveItem(atPath: lab.labFolder + "/" + name, toPath: lab.labFolder + "/lab.yaml")
    }
}

/// Many VMs restarted or reset: side by side, and never more of them down than asked for.
@Suite(.serialized) struct RollingTests {
    private static func file(memory: String, count: Int = 6) -> String {
        """
        lab: rolling
        images: { golden: { path: golden.img, format: raw } }
        vms:
          pc:
            replicas: \(count)
            memory: \(memory)
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
        """
    }

    @Test func resetTakesDownNoMoreAtOnceThanAskedFor() throws {
        let lab = try LabFixture(Self.file(memory: "16M"))
        try lab.succeed("up")
        let (process, _, errors) = try lab.start(["reset", "--parallel", "2", "--progress", "quiet"])
        var most = 0
        while process.isRunning {
            let down = try lab.states().values.filter { $0 != "ready" }.count
            most = max(most, down)
        }
        process.waitUntilExit()
        let said = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        #expect(process.terminationStatus == 0, "\(said)")
        #expect(most <= 2, "\(most) were down at once")
        #expect(try lab.allStates() == ["ready"])
    }

    @Test func anInterruptedResetLeavesRunningWhatItHasNotBegun() throws {
        let lab = try LabFixture(Self.file(memory: "16M"))
        try lab.succeed("up")
        // Nothing of this says it is ready: the first one keeps the others waiting.
        try lab.write(Self.file(memory: "16M").replacingOccurrences(of: "login: ", with: "never said"))
        let (process, _, errors) = try lab.start(["reset", "--parallel", "1", "--progress", "quiet"])
        while try lab.states().values.filter({ $0 == "ready" }).count == 6 { usleep(10_000) }
        usleep(300_000)
        kill(process.processIdentifier, SIGINT)
        process.waitUntilExit()
        let said = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        #expect(process.terminationStatus == 130)
        #expect(said.contains("it runs as it was"), "\(said)")
        #expect(try lab.states().values.filter { $0 == "ready" }.count == 5)
        let states = try lab.states()
        #expect(states.values.allSatisfy { ["ready", "running"].contains($0) }, "\(states)")
    }

    @Test func changedVMsAreRestartedSideBySide() throws {
        let lab = try LabFixture(Self.file(memory: "16M", count: 3))
        try lab.succeed("up")
        try lab.write(Self.file(memory: "24M", count: 3))
        let (process, _, errors) = try lab.start(["up", "--progress", "plain"])
        process.waitUntilExit()
        let lines = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            .split(separator: "\n")
        #expect(process.terminationStatus == 0)
        let stopping = lines.indices.filter { lines[$0].contains("stopping") }
        let starting = lines.indices.filter { lines[$0].contains("starting") }
        #expect(stopping.count == 3 && starting.count == 3, "\(lines)")
        // All were asked before the first was gone.
        #expect((stopping.last ?? 9) < (starting.first ?? 0), "\(lines)")
    }
}
