import Glibc
import LabSpec
import VMProtocol

/// What `snapshot` did.
public struct SnapshotReport: Sendable, Equatable, Encodable {
    public var name: String
    public var vms: [String]
    /// VMs that were never brought up and are not in it.
    public var skipped: [String]
    /// How long the guests stood still.
    public var stoodMilliseconds: Double
    public var allocatedBytes: UInt64
}

/// A snapshot as `snapshots` shows it.
public struct SnapshotSummary: Sendable, Equatable, Encodable {
    public var name: String
    /// Seconds since 1970; nil where its record cannot be read.
    public var madeAt: Double?
    public var vms: [String]
    /// Of them, with their memory.
    public var running: Int
    public var allocatedBytes: UInt64
    /// What is wrong with it.
    public var fault: String?
}

extension LabOrchestrator {
    /// Names that mean something else.
    private static let reservedNames = ["warm", "ls", "snapshots", "rm", "check", "help"]

    /// Keeps VMs as they are at one instant, with their memory: all stop before the first is written, and go on.
    public func snapshot(_ names: [String], as name: String) throws(OrchestratorError) -> SnapshotReport {
        try checkSnapshotName(name)
        let chosen = try instances(names)
        let lock = try lock("snapshot")
        defer { withExtendedLifetime(lock) {} }
        let final = folder.snapshotFolder(name)
        guard !Folder.exists(final) else {
            throw OrchestratorError(
                .vm, "there is a snapshot '\(name)' already; 'labctl snapshot rm \(name)' removes it")
        }
        let draft = final + LabFolder.unfinishedSuffix
        let layers = Layers(folder: folder)
        if let error = Folder.remove(draft) ?? Folder.make(draft) ?? Folder.make(folder.layersFolder) {
            throw OrchestratorError(error)
        }
        var members: [SnapshotMember] = []
        do throws(OrchestratorError) {
            let number = UInt64(WallClock.now * 1e6)
            for instance in chosen {
                let member = try SnapshotMember(
                    folder.vm(instance.name), layers: layers, number: number,
                    statePath: "\(draft)/\(instance.name).state")
                if let member { members.append(member) }
            }
            guard !members.isEmpty else {
                throw OrchestratorError(.vm, "none of these VMs was ever brought up: there is nothing to keep")
            }
            for member in members { try member.prepare() }
            let stood = try keep(members)
            var record = SnapshotRecord(name: name, madeAt: WallClock.now, vms: [:])
            for member in members {
                try member.sync()
                record.vms[member.vm.name] = member.saved(state: "\(final)/\(member.vm.name).state")
            }
            try withHostErrors { () throws(HostError) in try RecordFile.write(record, to: "\(draft)/snapshot.json") }
            guard HostCall.rename(draft, to: final) else { throw OrchestratorError(HostError("make", final)) }
            folder.record("snapshot", detail: name)
            let kept = members.map(\.vm.name)
            return SnapshotReport(
                name: name, vms: kept, skipped: chosen.map(\.name).filter { !kept.contains($0) },
                stoodMilliseconds: stood, allocatedBytes: record.vms.values.reduce(0) { $0 + $1.allocatedBytes })
        } catch {
            for member in members { try? member.goOn() }
            Folder.remove(draft)
            layers.collect()
            throw error
        }
    }

    /// The part for which the guests stand still.
    /// - Returns: how long, in milliseconds.
    private func keep(_ members: [SnapshotMember]) throws(OrchestratorError) -> Double {
        let start = WallClock.monotonicNanoseconds
        for member in members { try member.askToStop() }
        for member in members { try member.awaitStop() }
        for member in members { try member.askToSave() }
        for member in members { try member.awaitSave() }
        for member in members { try member.switchDisks() }
        for member in members { try member.goOn() }
        return Double(WallClock.monotonicNanoseconds - start) / 1e6
    }

    private func checkSnapshotName(_ name: String) throws(OrchestratorError) {
        let isPlain = name.utf8.allSatisfy { byte in
            Character(Unicode.Scalar(byte)).isASCII
                && (Character(Unicode.Scalar(byte)).isLetter || Character(Unicode.Scalar(byte)).isNumber
                    || [UInt8(ascii: "-"), UInt8(ascii: "_")].contains(byte))
        }
        guard isPlain, !name.isEmpty, name.utf8.count <= 48, !name.hasPrefix("-") else {
            throw OrchestratorError(
                .vm, "'\(name)' is no name for a snapshot: it has letters, digits, '-' and '_', at most 48 of them")
        }
        guard !Self.reservedNames.contains(name) else {
            throw OrchestratorError(.vm, "a snapshot cannot be called '\(name)': that means something else")
        }
        guard lab.instances(named: name).isEmpty else {
            throw OrchestratorError(
                .vm, "'\(name)' is a VM of this lab; write a name for the snapshot behind it: snapshot \(name) NAME")
        }
    }

    // MARK: Looking and removing

    /// The lab's snapshots, the oldest first.
    public func snapshots() -> [SnapshotSummary] {
        folder.snapshotNames.map { name in
            let reading = folder.snapshotReading(name)
            let vms = reading.known?.vms ?? [:]
            return SnapshotSummary(
                name: name, madeAt: reading.known?.madeAt, vms: vms.keys.sorted(),
                running: vms.values.count { $0.state != nil },
                allocatedBytes: vms.values.reduce(0) { $0 + $1.allocatedBytes },
                fault: reading.known == nil ? reading.fault?.sentence ?? "its record is gone" : nil)
        }.sorted { ($0.madeAt ?? 0, $0.name) < ($1.madeAt ?? 0, $1.name) }
    }

    /// Forgets a snapshot. Frozen disks on which VMs or other snapshots stand stay as long as they do.
    public func removeSnapshot(_ name: String) throws(OrchestratorError) {
        let lock = try lock("snapshot rm")
        defer { withExtendedLifetime(lock) {} }
        guard folder.snapshotNames.contains(name) else { _ = try folder.snapshot(name); return }
        // Out of sight first: what is half removed is no snapshot.
        let place = folder.snapshotFolder(name)
        guard HostCall.rename(place, to: place + LabFolder.unfinishedSuffix) else {
            throw OrchestratorError(HostError("remove", place))
        }
        if let error = Folder.remove(place + LabFolder.unfinishedSuffix) { throw OrchestratorError(error) }
        Layers(folder: folder).collect()
        folder.record("snapshot-removed", detail: name)
    }

    /// Reads all states of a snapshot and compares their checksums.
    /// - Returns: what is wrong with it, in sentences.
    public func checkSnapshot(_ name: String) throws(OrchestratorError) -> [String] {
        let record = try folder.snapshot(name)
        let executable = try VMExecutable.find()
        var faults: [String] = []
        for (vm, saved) in record.vms.sorted(by: { $0.key < $1.key }) {
            for layer in saved.layers.values.sorted() where !Folder.exists(layer) {
                faults.append("\(vm): \(layer) is gone")
            }
            for overlay in saved.overlays.values {
                if let drift = try images.drift(overlay, mayRead: true) { faults.append("\(vm): \(drift)") }
            }
            guard let state = saved.state else { continue }
            if let fault = try StateCheck(executable).fault(of: state) { faults.append("\(vm): \(fault)") }
        }
        return faults
    }

    // MARK: What a killed labctl left

    /// Lets VMs go on that stand still for a snapshot that nobody finishes, and removes what there is of it. The caller holds
    /// the lab's lock.
    func recoverSnapshots() {
        let left = Folder.names(in: folder.snapshotsFolder).filter { $0.hasSuffix(LabFolder.unfinishedSuffix) }
        guard !left.isEmpty else { return }
        for vm in folder.vmNames.map({ folder.vm($0) }) {
            let unnamed = DiskSlot.allCases.filter { Folder.exists(vm.nextOverlay($0)) }
            if vm.isRunning {
                // An overlay that has got its name is where the VM goes on; the others were never written to.
                let named = DiskSlot.allCases.filter { !unnamed.contains($0) }
                do throws(OrchestratorError) {
                    try QMPClient(vm).execute(
                        "x-snapshot-end", ["keep": .array(named.map { .string($0.rawValue) })])
                } catch {
                    progress(.warning("a snapshot was not finished, and \(vm.name) may stand still: \(error.message)"))
                    return
                }
            }
            for slot in unnamed { HostCall.unlink(vm.nextOverlay(slot)) }
        }
        for name in left { Folder.remove("\(folder.snapshotsFolder)/\(name)") }
        Layers(folder: folder).collect()
        let names = left.map { $0.dropLast(LabFolder.unfinishedSuffix.count) }.joined(separator: ", ")
        progress(.warning("the snapshot \(names) was not finished and is gone; the VMs go on"))
    }
}

/// Has labvm, which knows the format, read a saved state.
struct StateCheck {
    private let executable: String

    init(_ executable: String) { self.executable = executable }

    /// - Returns: what is wrong with the state; nil when all checksums are right.
    func fault(of path: String) throws(OrchestratorError) -> String? {
        let (reading, pid) = try withHostErrors { () throws(HostError) in
            let null = try Descriptor.open("/dev/null", O_RDWR)
            let (reading, writing) = try Descriptor.pipe()
            let pid = try SpawnRequest(
                executable: executable, arguments: ["labvm", "--check-state", path],
                descriptors: [(null, 0), (null, 1), (writing, 2)], flags: 0
            ).run()
            return (reading, pid)
        }
        var said: [UInt8] = []
        while case .bytes(let bytes) = reading.read() { said += bytes }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        guard status != 0 else { return nil }
        let text = String(decoding: said, as: UTF8.self).split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
        let prefix = "labvm: "
        return text.isEmpty
            ? "\(path) could not be read" : text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : text
    }
}
