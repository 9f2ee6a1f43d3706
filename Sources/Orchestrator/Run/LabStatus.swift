import LabSpec
import VMProtocol

/// One VM as `status` shows it; field names are stable.
public struct VMStatus: Sendable, Equatable, Encodable {
    /// A disk of a VM that runs, or would.
    public struct Disk: Sendable, Equatable, Encodable {
        public var slot: String
        public var path: String
        /// The golden image below an overlay.
        public var base: String?
        /// Host bytes that the overlay or image takes.
        public var allocatedBytes: UInt64
    }

    public var name: String
    public var state: VMPhase
    public var memoryBytes: UInt64
    /// Seconds since 1970: since when it runs, or when it ended.
    public var since: Double?
    /// From its start until it was ready.
    public var readyAfterSeconds: Double?
    /// Only for people: a lock says whether the VM runs.
    public var processID: Int32?
    /// What is to be known about it: why it failed, or that its golden image changed.
    public var note: String?
    public var disks: [Disk]
    /// How often the guest has restarted since the VM started.
    public var resets: Int
    /// How often it was started again by itself since it was brought up (`restart`).
    public var restarts: Int
    public var stateFolder: String
    public var consoleSocket: String?
    public var monitorSocket: String?
    /// Whether the lab file has it.
    public var isInLabFile: Bool
    /// What of the sandbox holds for a running VM, in words; only where statistics were asked for.
    public var sandbox: String?
    /// What it takes of the host; only where that was measured.
    public var usage: VMUsage?
}

/// A lab as `ls` shows it.
public struct LabSummary: Sendable, Equatable, Encodable {
    public var name: String
    public var file: String
    /// Which of several copies of the lab it is (`--project`).
    public var project: String?
    /// Whether the lab file is still there.
    public var fileExists: Bool
    public var vms: Int
    public var running: Int
    /// Host bytes of overlays, logs and records.
    public var allocatedBytes: UInt64
    public var stateFolder: String
    /// What is to be known about it: that its record cannot be read.
    public var note: String?
}

extension LabOrchestrator {
    /// The lab's VMs as they are now. Takes no lock and changes nothing.
    /// - Parameter withStatistics: asks running VMs for what only they know.
    public func status(_ names: [String], withStatistics: Bool = false) throws(OrchestratorError) -> [VMStatus] {
        var statuses = try plainStatus(names)
        guard withStatistics else { return statuses }
        for index in statuses.indices where statuses[index].processID != nil {
            statuses[index].sandbox = SandboxReport.words(folder.vm(statuses[index].name))
        }
        return statuses
    }

    private func plainStatus(_ names: [String]) throws(OrchestratorError) -> [VMStatus] {
        var statuses: [VMStatus] = []
        for instance in try instances(names) {
            statuses.append(
                try status(folder.vm(instance.name), memoryBytes: instance.spec.memory.bytes, isInFile: true))
        }
        guard names.isEmpty else { return statuses }
        for orphan in orphans() { statuses.append(try status(orphan, memoryBytes: nil, isInFile: false)) }
        return statuses
    }

    private func status(_ vm: VMFolder, memoryBytes: UInt64?, isInFile: Bool) throws(OrchestratorError) -> VMStatus {
        let found = try observe(vm, checksGolden: false)
        let run = found.record?.run
        let phase = found.phase
        let disks = (run?.description.disks ?? []).map { disk in
            VMStatus.Disk(
                slot: disk.slot.rawValue, path: disk.path,
                base: found.record?.overlays[disk.slot.rawValue]?.basePath,
                allocatedBytes: Folder.allocatedBytes(disk.path))
        }
        var since = run?.startedAt
        if !found.isRunning, let ended = found.exit?.endedAt, phase != .killed { since = ended }
        return VMStatus(
            name: vm.name, state: phase, memoryBytes: memoryBytes ?? run?.description.memoryBytes ?? 0, since: since,
            readyAfterSeconds: run.flatMap { run in run.readyAt.map { $0 - run.startedAt } },
            processID: found.isRunning ? run?.processID : nil, note: note(found, phase, isInFile), disks: disks,
            resets: found.condition?.resets ?? 0, restarts: found.restarts?.count ?? 0, stateFolder: vm.path,
            consoleSocket: found.isRunning ? vm.consoleSocket : nil,
            monitorSocket: found.isRunning ? vm.qmpSocket : nil, isInLabFile: isInFile)
    }

    private func note(_ found: VMObservation, _ phase: VMPhase, _ isInFile: Bool) -> String? {
        var notes: [String] = []
        if let fault = found.fault {
            notes.append("\(fault.sentence); its overlays are kept, 'up' says how to go on")
        } else if !found.strays.isEmpty {
            notes.append("its record does not know all of its overlays; they are kept, 'up' says how to go on")
        }
        switch phase {
        case .killed: notes.append("its process was killed or the host went down; 'up' starts it again")
        case .failed: notes.append(found.exit?.message ?? "no reason given")
        case .stopped: if let exit = found.exit { notes.append(exit.reason.words) }
        case .absent, .ready, .running, .paused, .restarting, .unknown: break
        }
        if let restarts = found.restarts {
            if restarts.count > 0 {
                notes.append("started again \(restarts.count) time\(restarts.count == 1 ? "" : "s")")
            }
            notes.append("\(restarts.nextAt == nil ? "before that" : "it ended"): \(restarts.reason)")
        }
        if let condition = found.condition {
            notes += condition.sentences(isReady: found.record?.run?.readyAt != nil)
        }
        notes += found.drift.values.sorted()
        if !isInFile { notes.append("no longer in the lab file; 'labctl destroy' with its name removes it") }
        return notes.isEmpty ? nil : notes.joined(separator: "; ")
    }
}

extension StateDirectory {
    /// All labs of this user that were brought up and not destroyed.
    public func summaries() -> [LabSummary] {
        allLabs().compactMap { folder in
            let reading = folder.recordReading
            let vms = folder.vmNames.map { folder.vm($0) }
            // A lab without record and VMs was never brought up.
            if case .absent = reading, vms.isEmpty { return nil }
            let note = reading.known == nil ? reading.fault?.sentence ?? "\(folder.recordPath) is gone" : nil
            let file = reading.known?.file ?? ""
            return LabSummary(
                name: reading.known?.name ?? folder.nameInPath, file: file,
                project: reading.known?.project, fileExists: !file.isEmpty && Folder.exists(file), vms: vms.count,
                running: vms.filter(\.isRunning).count, allocatedBytes: Folder.allocatedBytes(folder.path),
                stateFolder: folder.path, note: note)
        }
    }
}

extension LabOrchestrator {
    /// What happened to the lab and its VMs, oldest first.
    public func events(_ names: [String]) throws(OrchestratorError) -> [LifecycleEvent] {
        let chosen = try instances(names).map(\.name)
        let paths = [folder.eventsPath] + chosen.map { folder.vm($0).file(.events) }
        var events: [LifecycleEvent] = []
        for path in paths {
            let text = try withHostErrors { () throws(HostError) in try StateFile.read(path) } ?? []
            // A line that a full disk cut short is not an event.
            events += text.split(separator: UInt8(ascii: "\n")).compactMap {
                JSONCoding.decode(LifecycleEvent.self, from: Array($0))
            }
        }
        if !names.isEmpty { events.removeAll { event in event.vm.map { !chosen.contains($0) } ?? true } }
        return events.sorted { $0.time < $1.time }
    }
}
