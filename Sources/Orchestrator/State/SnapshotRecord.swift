import Glibc
import VMProtocol

/// A machine that can be gone back to: what it was, what its disks held and, where it ran, its state.
public struct SavedVM: Codable, Sendable, Equatable {
    /// The frozen overlay of each slot (`hda`): never written again, overlays of later stand on it.
    public var layers: [String: String]
    /// What is known of the golden images below them.
    public var overlays: [String: VMRecord.Overlay]
    /// The file with memory, devices and processor; nil for a VM that was off.
    public var state: String?
    /// How it was started, and the digest of its definition then.
    public var description: VMDescription
    public var definition: String
    /// Whether it had been seen ready.
    public var wasReady: Bool
    /// What cloud-init in the guest goes by.
    public var instanceID: String?

    /// Bytes on the host's disk: of its state, and of the frozen disks.
    var allocatedBytes: UInt64 {
        (layers.values.sorted() + [state].compactMap { $0 }).reduce(0) { $0 + Folder.allocatedBytes($1) }
    }
}

/// A snapshot of a lab: `snapshot.json` in its folder.
///
/// | in the lab's folder | holds |
/// | --- | --- |
/// | `snapshots/NAME/snapshot.json` | this record |
/// | `snapshots/NAME/VM.state` | the machine (docs/STATE.md) |
/// | `snapshots/NAME.new` | a snapshot that is being made, or that a killed labctl did not finish |
/// | `layers/VM.SLOT.N.qcow2` | frozen overlays, of snapshots that are or were; kept as long as something stands on them |
/// | `vms/VM/SLOT.qcow2.next` | the overlay that takes the place of one that is being frozen |
public struct SnapshotRecord: Codable, Sendable, Equatable {
    public var name: String
    /// Seconds since 1970.
    public var madeAt: Double
    /// By the name of the VM.
    public var vms: [String: SavedVM]
}

extension LabFolder {
    var snapshotsFolder: String { "\(path)/snapshots" }
    var layersFolder: String { "\(path)/layers" }
    /// What a snapshot that is not whole yet ends in.
    static let unfinishedSuffix = ".new"

    func snapshotFolder(_ name: String) -> String { "\(snapshotsFolder)/\(name)" }

    /// Snapshots that are whole, by name.
    public var snapshotNames: [String] {
        Folder.names(in: snapshotsFolder).filter { !$0.hasSuffix(Self.unfinishedSuffix) }
    }

    /// The record of a snapshot.
    func snapshotReading(_ name: String) -> RecordReading<SnapshotRecord> {
        RecordFile.read(SnapshotRecord.self, from: "\(snapshotFolder(name))/snapshot.json")
    }

    /// A snapshot.
    /// - Throws: where there is none, or its record cannot be read.
    func snapshot(_ name: String) throws(OrchestratorError) -> SnapshotRecord {
        if let record = try snapshotReading(name).required() { return record }
        let names = snapshotNames
        let known = names.isEmpty ? "it has none" : "it has \(names.joined(separator: ", "))"
        throw OrchestratorError(.vm, "the lab has no snapshot '\(name)'; \(known)")
    }
}
