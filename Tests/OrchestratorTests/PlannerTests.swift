import LabSpec
import Testing
import VMProtocol

@testable import Orchestrator

/// What `up` decides, from what is asked for and what is there.
@Suite struct PlannerTests {
    private let folder = LabFolder(path: "/state/lab-0", runtime: "/run/labctl")

    private func vm(_ change: (inout VM) -> Void = { _ in }) -> VMInstance {
        var spec = VM(name: "alpha")
        spec.disks[.hda] = Disk(image: .named("golden"))
        change(&spec)
        return Lab(name: "lab", vms: [spec]).instances()[0]
    }

    private func definition(_ instance: VMInstance) throws -> VMDefinition {
        try VMDefinition(instance, folder: folder.vm(instance.name)) { _ in ("/images/golden.qcow2", "qcow2") }
    }

    private func decide(_ instance: VMInstance, _ observation: VMObservation, base: String = "/images/golden.qcow2")
        throws
        -> VMPlan
    {
        let plan = Planner.plan(
            instances: [instance], missingImages: [], definitions: [instance.name: try definition(instance)],
            bases: [instance.name: [.hda: base]], observations: [instance.name: observation])
        return try #require(plan.vms.first)
    }

    private func record(_ instance: VMInstance, isReady: Bool = true) throws -> VMRecord {
        let definition = try definition(instance)
        var run = VMRecord.Run(
            description: definition.description, definition: definition.digest, startedAt: 100, consoleStart: 0)
        run.readyAt = isReady ? 110 : nil
        let overlay = VMRecord.Overlay(basePath: "/images/golden.qcow2", baseFormat: "qcow2", golden: [])
        return VMRecord(overlays: ["hda": overlay], run: run)
    }

    @Test func aNewVMGetsOverlaysAndStarts() throws {
        let plan = try decide(vm(), VMObservation())
        #expect(plan.decision == .start(reason: "new"))
        #expect(plan.missingOverlays == [.hda])
    }

    @Test func aRunningVMWithTheSameDefinitionIsLeftAlone() throws {
        let instance = vm()
        let found = VMObservation(isRunning: true, record: try record(instance), overlays: [.hda])
        #expect(try decide(instance, found).decision == .leave)
    }

    @Test func aRunningVMThatWasNeverSeenReadyIsWaitedFor() throws {
        let instance = vm { $0.ready = Readiness(console: "login: ") }
        let found = VMObservation(isRunning: true, record: try record(instance, isReady: false), overlays: [.hda])
        #expect(try decide(instance, found).decision == .awaitReady)
    }

    @Test func aChangedDefinitionRestartsARunningVMAndNamesTheChange() throws {
        let found = VMObservation(isRunning: true, record: try record(vm()), overlays: [.hda])
        let changed = vm { $0.memory = .mebibytes(512) }
        #expect(try decide(changed, found).decision == .restart(reason: "memory 256M → 512M changed"))
    }

    @Test func whatSaysThatAVMIsReadyIsNotPartOfItsDefinition() throws {
        let changed = vm { $0.ready = Readiness(console: "other", timeout: .seconds(1)) }
        let same = try definition(vm()).digest
        let digest = try definition(changed).digest
        #expect(digest == same)
    }

    private func refusal(_ instance: VMInstance, _ found: VMObservation) throws -> String {
        let plan = try decide(instance, found)
        #expect(plan.missingOverlays.isEmpty)
        guard case .refuse(let reason) = plan.decision else {
            Issue.record("expected a refusal, got \(plan.decision)")
            return ""
        }
        return reason
    }

    @Test func anOverlayThatNoRecordKnowsIsKept() throws {
        let reason = try refusal(vm(), VMObservation(overlays: [.hda]))
        #expect(reason.contains("does not know hda.qcow2"))
        #expect(reason.contains("labctl up --adopt alpha"))
        #expect(reason.contains("labctl reset alpha"))
    }

    @Test(arguments: [false, true])
    func aRecordThatCannotBeReadStopsNothingAndOverwritesNothing(isRunning: Bool) throws {
        for overlays in [[.hda], []] as [Set<DiskSlot>] {
            let fault = RecordFault(path: "/state/vm.json", kind: .damaged, reason: "it is empty")
            let reason = try refusal(vm(), VMObservation(isRunning: isRunning, fault: fault, overlays: overlays))
            #expect(reason.contains("/state/vm.json cannot be used: it is empty"))
            #expect(reason.contains("overlays are kept"))
        }
    }

    @Test func aRecordOfANewerLabctlIsLeftToIt() throws {
        let fault = RecordFault(path: "/state/vm.json", kind: .newer, reason: "it has format version 9")
        let reason = try refusal(vm(), VMObservation(fault: fault, overlays: [.hda]))
        #expect(reason.contains("format version 9"))
        #expect(!reason.contains("reset"))
    }

    @Test func aVMThatRunsWithoutARecordIsNotStopped() throws {
        let reason = try refusal(vm { $0.disks = [:] }, VMObservation(isRunning: true))
        #expect(reason.contains("labctl down alpha"))
    }

    @Test func aChangedGoldenImageRefusesTheVMAndShowsTheWayOut() throws {
        let instance = vm()
        let found = VMObservation(record: try record(instance), overlays: [.hda], drift: [.hda: "golden.qcow2 changed"])
        let plan = try decide(instance, found)
        guard case .refuse(let reason) = plan.decision else {
            Issue.record("expected a refusal, got \(plan.decision)")
            return
        }
        #expect(reason.contains("golden.qcow2 changed"))
        #expect(reason.contains("labctl reset alpha"))
    }

    @Test func anotherBaseInTheLabFileRefusesTheVM() throws {
        let instance = vm()
        let found = VMObservation(record: try record(instance), overlays: [.hda])
        guard case .refuse(let reason) = try decide(instance, found, base: "/images/other.qcow2").decision else {
            Issue.record("expected a refusal")
            return
        }
        #expect(reason.contains("/images/golden.qcow2"))
        #expect(reason.contains("/images/other.qcow2"))
    }

    @Test func aRunningVMWhoseImageIsAnotherOneNowIsReported() throws {
        let instance = vm()
        let found = VMObservation(isRunning: true, record: try record(instance), overlays: [.hda])
        guard case .refuse(let reason) = try decide(instance, found, base: "/images/other.qcow2").decision else {
            Issue.record("expected a refusal")
            return
        }
        #expect(reason.contains("it runs on"))
        #expect(reason.contains("/images/other.qcow2"))
    }

    @Test func aGoldenImageThatChangesUnderARunningVMIsAWarning() throws {
        let instance = vm()
        let found = VMObservation(
            isRunning: true, record: try record(instance), overlays: [.hda], drift: [.hda: "golden.qcow2 changed"])
        let plan = Planner.plan(
            instances: [instance], missingImages: [], definitions: ["alpha": try definition(instance)],
            bases: ["alpha": [.hda: "/images/golden.qcow2"]], observations: ["alpha": found])
        #expect(plan.vms.first?.decision == .leave)
        #expect(plan.warnings == ["alpha runs on, but golden.qcow2 changed"])
        #expect(!plan.hasChanges)
    }

    /// How a run that began at second 100 ended, and what that makes the VM.
    struct Ending: Sendable {
        var exit: ExitRecord?
        var stopRequested = false
        var phase: VMPhase
    }

    @Test(arguments: [
        Ending(exit: ExitRecord(reason: .guestPowerOff, endedAt: 200), phase: .stopped),
        Ending(exit: ExitRecord(reason: .failed, message: "no firmware", endedAt: 200), phase: .failed),
        Ending(exit: nil, phase: .killed),
        Ending(exit: nil, stopRequested: true, phase: .stopped),
        // A record of an earlier run says nothing about this one.
        Ending(exit: ExitRecord(reason: .guestPowerOff, endedAt: 50), phase: .killed),
    ])
    func howARunEndedDecidesItsPhase(ending: Ending) throws {
        var record = try record(vm())
        record.run?.stopRequested = ending.stopRequested
        #expect(VMObservation(record: record, exit: ending.exit).phase == ending.phase)
    }
}
