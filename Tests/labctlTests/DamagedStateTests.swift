import Foundation
import Testing
import VMProtocol

/// Damage to what labctl knows of a lab never costs an overlay: with the built programs.
@Suite(.serialized) struct DamagedStateTests {
    private static let lab = """
        lab: kept
        images: { golden: { path: golden.img, format: raw } }
        vms:
          alpha:
            memory: 16M
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
        """

    /// A lab whose VM has written to its overlay and is down.
    private func usedLab() throws -> (LabFixture, state: String) {
        let lab = try LabFixture(Self.lab)
        try lab.succeed("up")
        try lab.type("wkept", on: "alpha")
        try lab.succeed("down")
        return (lab, try lab.value("stateFolder", of: "alpha"))
    }

    private func overlay(_ state: String) throws -> Data {
        try Data(contentsOf: URL(fileURLWithPath: state + "/hda.qcow2"))
    }

    @Test(arguments: ["", "{", "[]", "{}", "null", "\u{0}\u{0}\u{0}\u{0}"])
    func anUnreadableRecordKeepsTheOverlayAndShowsTheWayOn(text: String) throws {
        let (lab, state) = try usedLab()
        let before = try overlay(state)
        try Data(text.utf8).write(to: URL(fileURLWithPath: state + "/vm.json"))
        for verb in [["plan"], ["up"], ["status"], ["down"], ["prune", "--yes"], ["ls"], ["up", "--no-wait"]] {
            let result = try lab.run(verb)
            #expect(result.status == (verb[0] == "up" ? 1 : 0), "\(verb): \(result.errors)")
            if verb[0] == "up" {
                #expect(result.errors.contains("vm.json cannot be used"), "\(result.errors)")
                #expect(result.errors.contains("up --adopt alpha"), "\(result.errors)")
            }
            #expect(try overlay(state) == before, "\(verb) changed the overlay")
        }
        try lab.succeed("up", "--adopt")
        #expect(try lab.type("r", on: "alpha").contains("disk: kept"))
        #expect(FileManager.default.fileExists(atPath: state + "/vm.json.damaged-1"))
        // Known again: nothing is left to say.
        try lab.succeed("down")
        try lab.succeed("up")
    }

    @Test func aLostRecordKeepsTheOverlay() throws {
        let (lab, state) = try usedLab()
        let before = try overlay(state)
        try FileManager.default.removeItem(atPath: state + "/vm.json")
        let up = try lab.run(["up"])
        #expect(up.status == 1)
        #expect(up.errors.contains("does not know hda.qcow2"), "\(up.errors)")
        #expect(try overlay(state) == before)
        try lab.succeed("up", "--adopt")
        #expect(try lab.type("r", on: "alpha").contains("disk: kept"))
    }

    @Test func aVMThatRunsIsNotStoppedForItsDamagedRecord() throws {
        let lab = try LabFixture(Self.lab)
        try lab.succeed("up")
        let state: String = try lab.value("stateFolder", of: "alpha")
        try Data().write(to: URL(fileURLWithPath: state + "/vm.json"))
        #expect(try lab.run(["up"]).status == 1)
        #expect(try lab.states()["alpha"] == "running")
        // It can be talked to and stopped.
        #expect(try lab.type("wkept", on: "alpha").contains("#"))
        try lab.succeed("down")
        #expect(try lab.states()["alpha"] == "unknown")
        try lab.succeed("up", "--adopt")
        #expect(try lab.type("r", on: "alpha").contains("disk: kept"))
    }

    @Test func resetIsAWayOutOfADamagedRecord() throws {
        let (lab, state) = try usedLab()
        try Data("x".utf8).write(to: URL(fileURLWithPath: state + "/vm.json"))
        try lab.succeed("reset")
        try lab.succeed("up")
        #expect(try !lab.type("r", on: "alpha").contains("kept"))
    }

    @Test func aNewerRecordIsRefusedByEveryVerbThatChanges() throws {
        let (lab, state) = try usedLab()
        let before = try overlay(state)
        let file = URL(fileURLWithPath: state + "/vm.json")
        let text = try String(contentsOf: file, encoding: .utf8)
        try text.replacingOccurrences(of: "\"formatVersion\" : 1", with: "\"formatVersion\" : 2")
            .write(to: file, atomically: true, encoding: .utf8)
        for verb in [["up"], ["up", "--adopt"], ["reset"], ["destroy", "--yes"]] {
            let result = try lab.run(verb)
            #expect(result.status == 1, "\(verb)")
            #expect(result.errors.contains("format version 2"), "\(verb): \(result.errors)")
            #expect(try overlay(state) == before)
        }
        try text.write(to: file, atomically: true, encoding: .utf8)
        try lab.succeed("up")
    }

    @Test func aDamagedLabRecordIsWrittenAnewAndKept() throws {
        let (lab, state) = try usedLab()
        let folder = URL(fileURLWithPath: state).deletingLastPathComponent().deletingLastPathComponent().path
        try Data("nonsense".utf8).write(to: URL(fileURLWithPath: folder + "/lab.json"))
        #expect(try lab.succeed("ls").contains("kept"))
        try FileManager.default.moveItem(atPath: lab.labFolder + "/lab.yaml", toPath: lab.labFolder + "/lab.away")
        try lab.succeed("prune", "--yes")
        try FileManager.default.moveItem(atPath: lab.labFolder + "/lab.away", toPath: lab.labFolder + "/lab.yaml")
        try lab.succeed("up")
        #expect(try lab.type("r", on: "alpha").contains("disk: kept"))
        #expect(FileManager.default.fileExists(atPath: folder + "/lab.json.damaged-1"))
    }

    @Test func upWithoutWaitingCallsNothingReadyThatWasNotSeenReady() throws {
        let lab = try LabFixture(
            Self.lab.replacingOccurrences(of: "login: ", with: "never said").replacingOccurrences(
                of: "60s", with: "3s"))
        try lab.succeed("up", "--no-wait")
        #expect(try lab.states()["alpha"] == "running")
        let second = try lab.run(["up"])
        #expect(second.status == 6, "\(second.errors)")
        #expect(try lab.states()["alpha"] == "running")
    }

    @Test func oneStartIsOneEvent() throws {
        let (lab, _) = try usedLab()
        let started = try lab.succeed("events").split(separator: "\n").filter { $0.contains("\"started\"") }
        #expect(started.count == 1, "\(started)")
    }
}
