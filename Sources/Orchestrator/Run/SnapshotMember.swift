import Glibc
import Images
import LabSpec
import VMProtocol

/// One VM while a snapshot is made of it (labvm's `Checkpoint` is the other side).
final class SnapshotMember {
    let vm: VMFolder
    let record: VMRecord
    private let run: VMRecord.Run
    private let client: QMPClient?
    /// Held for a VM that is off.
    private let lock: FileLock?
    private let disks: [FrozenDisk]
    private let statePath: String
    private var state: Descriptor?
    /// Slots whose fresh overlays have their names.
    private var switched: [DiskSlot] = []

    private struct FrozenDisk {
        let slot: DiskSlot
        let overlay: String
        let next: String
        let layer: String
    }

    /// A machine with gigabytes in use is written to a slow disk.
    private static let saveMilliseconds: UInt64 = 600_000

    /// - Parameter statePath: where its state goes.
    /// - Returns: nil for a VM that was never brought up.
    init?(_ vm: VMFolder, layers: Layers, number: UInt64, statePath: String) throws(OrchestratorError) {
        guard let record = try vm.recordReading.required(), let run = record.run else { return nil }
        self.vm = vm
        self.record = record
        self.run = run
        self.statePath = statePath
        if vm.isRunning {
            client = try QMPClient(vm, limitMilliseconds: Self.saveMilliseconds)
            lock = nil
        } else {
            client = nil
            lock = try withHostErrors { () throws(HostError) in try FileLock.tryLock(vm.file(.lock)) }
            guard lock != nil else { throw OrchestratorError(.vm, "\(vm.name) was started by somebody else just now") }
        }
        if let direct = run.description.disks.first(where: { !$0.readOnly && !$0.path.hasPrefix(vm.path + "/") }) {
            throw OrchestratorError(
                .unsupported,
                "\(vm.name) writes to \(direct.path) itself ('mode: direct'), which a snapshot cannot keep; name the "
                    + "VMs that it is to be made of, or make the disk an overlay with 'base'")
        }
        let used = Set(run.description.disks.map(\.path))
        disks = DiskSlot.allCases.filter { used.contains(vm.overlay($0)) && Folder.exists(vm.overlay($0)) }.map {
            slot in
            let overlay = vm.overlay(slot)
            return FrozenDisk(
                slot: slot, overlay: overlay, next: vm.nextOverlay(slot),
                layer: layers.path(of: slot, vm.name, number: number))
        }
    }

    var isRunning: Bool { client != nil }

    /// What the record of the snapshot says about it.
    func saved(state place: String) -> SavedVM {
        var description = run.description
        description.savedState = nil
        return SavedVM(
            layers: Dictionary(uniqueKeysWithValues: disks.map { ($0.slot.rawValue, $0.layer) }),
            overlays: record.overlays, state: isRunning ? place : nil, description: description,
            definition: run.definition, wasReady: run.readyAt != nil, instanceID: record.instanceID)
    }

    // MARK: While the guest runs

    /// Makes what the guest need not wait for.
    func prepare() throws(OrchestratorError) {
        for disk in disks {
            let golden = Set(record.overlays[disk.slot.rawValue].map { [$0.basePath] } ?? [])
            guard try Layers.below(disk.overlay, until: golden).count < Layers.most else {
                throw OrchestratorError(
                    .image,
                    "\(vm.name) stands on \(Layers.most) snapshots already; 'labctl commit' makes an image of its disk, "
                        + "'labctl reset' starts over")
            }
            HostCall.unlink(disk.next)
            try withImageErrors { () throws(ImageError) in
                var options = OpenOptions(format: "qcow2", lock: .none, openBacking: false, forCheck: true)
                options.metadataOnly = true
                let image = try DiskImage.open(disk.overlay, options: options)
                let size = image.size
                try image.close()
                try DiskImage.createOverlay(disk.next, backing: disk.layer, backingFormat: "qcow2", size: size)
            }
        }
        guard isRunning else { return }
        let file = try withHostErrors { () throws(HostError) in
            try Descriptor.open(statePath, O_RDWR | O_CREAT | O_EXCL)
        }
        state = file
    }

    // MARK: While it stands

    func askToStop() throws(OrchestratorError) { try client?.ask("x-snapshot-begin") }
    func awaitStop() throws(OrchestratorError) { try client?.result(of: "x-snapshot-begin") }

    func askToSave() throws(OrchestratorError) {
        guard let client, let state else { return }
        var files: [JSONValue] = []
        for disk in disks {
            let (overlay, frozen) = try withHostErrors { () throws(HostError) in
                (try Descriptor.open(disk.next, O_RDWR), try Descriptor.open(disk.overlay, O_RDONLY))
            }
            files.append([
                "slot": .string(disk.slot.rawValue),
                "overlay": .string(QMPClient.name(ofFile: try hand(over: overlay))),
                "frozen": .string(QMPClient.name(ofFile: try hand(over: frozen))),
            ])
        }
        let number = try hand(over: state)
        try client.ask(
            "x-snapshot-save", ["state": .string(QMPClient.name(ofFile: number)), "disks": .array(files)])
    }

    func awaitSave() throws(OrchestratorError) {
        guard let client else { return }
        try client.result(of: "x-snapshot-save")
    }

    private var handed: [Int64] = []

    private func hand(over file: Descriptor) throws(OrchestratorError) -> Int64 {
        guard let client else { return 0 }
        let number = try client.hand(over: file)
        handed.append(number)
        return number
    }

    /// Gives the frozen overlays and the fresh ones their names. From then on the VM stands on the snapshot.
    func switchDisks() throws(OrchestratorError) {
        for disk in disks {
            guard link(disk.overlay, disk.layer) == 0 else { throw OrchestratorError(HostError("make", disk.layer)) }
            guard HostCall.rename(disk.next, to: disk.overlay) else {
                throw OrchestratorError(HostError("make", disk.overlay))
            }
            switched.append(disk.slot)
        }
    }

    /// Lets the guest go on: on the fresh overlays that have their names, else as before.
    func goOn() throws(OrchestratorError) {
        for disk in disks where !switched.contains(disk.slot) { HostCall.unlink(disk.next) }
        guard let client else { return }
        try client.execute("x-snapshot-end", ["keep": .array(switched.map { .string($0.rawValue) })])
        for number in handed { try client.execute("remove-fd", ["fdset-id": .int(number)]) }
        handed = []
    }

    // MARK: Afterwards

    /// Waits until its state is on the host's disk.
    func sync() throws(OrchestratorError) {
        guard let state else { return }
        guard HostCall.sync(state.raw) else { throw OrchestratorError(HostError("write", statePath)) }
    }
}

extension VMFolder {
    /// The overlay that takes the place of one that is being frozen.
    func nextOverlay(_ slot: DiskSlot) -> String { "\(overlay(slot)).next" }
}
