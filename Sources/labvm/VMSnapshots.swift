import Emulator
import Images

/// `savevm`, `loadvm` and `delvm`: a whole VM in the internal snapshots of its disks, as QEMU keeps it. All disks that can be
/// written take part; the state of the machine lies in the first one's snapshot.
///
/// Everything here runs while the machine stands still: on its own thread, or before that runs.
struct VMSnapshots: @unchecked Sendable {
    // Unchecked: made for one use on the machine's thread while the I/O thread waits for it.
    private let disks: [(name: String, image: any VMStateCapable)]

    /// The disks that a client of QMP names: the one that holds the machine, and all that take part.
    /// - Throws: when these are not the disks that the guest can write.
    init(_ drives: [Drive], carrier: String, devices: [String]) throws(QMPError) {
        let all = try VMSnapshots(drives).disks
        let known = all.map(\.name)
        for name in [carrier] + devices where !known.contains(name) {
            throw .generic(
                "No block device node '\(name)' that a guest can write; there are \(known.joined(separator: ", "))")
        }
        if let missing = known.first(where: { !devices.contains($0) }) {
            throw .generic("Device '\(missing)' is writable and has to be one of 'devices'")
        }
        // The state lies in the first one's snapshot.
        disks = all.filter { $0.name == carrier } + all.filter { $0.name != carrier }
    }

    /// - Throws: when a disk that the guest can write keeps no snapshots, or there is none.
    init(_ drives: [Drive]) throws(QMPError) {
        var disks: [(name: String, image: any VMStateCapable)] = []
        for drive in drives where drive.removable == nil {
            guard let image = drive.medium?.image, !image.isReadOnly else { continue }
            guard let capable = image as? any VMStateCapable else {
                throw .generic("Device '\(drive.name)' is writable but does not support snapshots")
            }
            disks.append((drive.name, capable))
        }
        guard !disks.isEmpty else { throw .generic("No block device can accept snapshots") }
        self.disks = disks
    }

    /// What `info snapshots` shows: the snapshots with a machine.
    var list: [SnapshotInfo] { disks.flatMap { $0.image.summary.snapshots }.filter { $0.vmStateSize > 0 } }

    /// - Returns: what went wrong; nil when the snapshot is kept. One of the same name is replaced by it, once it is whole.
    func save(_ machine: Machine, as name: String) -> String? {
        let carrier = disks[0].image
        do {
            for disk in disks { try disk.image.flush() }
            try carrier.beginVMState(maximumBytes: machine.largestStateBytes)
            let bytes: UInt64
            do {
                bytes = try machine.save(to: ImageStateSink(carrier))
            } catch {
                try carrier.discardVMState()
                throw error
            }
            try carrier.createSnapshot(
                named: name, vmState: VMStateInfo(byteCount: bytes, clockNanoseconds: machine.guestNanoseconds))
            for disk in disks.dropFirst() { try disk.image.createSnapshot(named: name) }
            // The older one of two is found first.
            for disk in disks where disk.image.summary.snapshots.count(where: { $0.name == name }) > 1 {
                try disk.image.deleteSnapshot(name)
            }
            return nil
        } catch let error as ImageError {
            return error.sentence
        } catch {
            return "\(error)"
        }
    }

    /// - Returns: what went wrong. Nothing has changed then, unless the text says so.
    func load(_ machine: Machine, _ name: String) -> String? {
        do {
            for disk in disks {
                guard let info = disk.image.summary.snapshots.first(where: { $0.name == name || $0.id == name }) else {
                    return "Device '\(disk.name)' does not have the requested snapshot '\(name)'"
                }
                guard info.diskSize == disk.image.size else {
                    return "Device '\(disk.name)' had \(info.diskSize) bytes in snapshot '\(name)', now it has "
                        + "\(disk.image.size)"
                }
            }
            let state = try disks[0].image.openVMState(ofSnapshot: name)
            machine.goOnAsAnother(savedAt: try machine.restore(from: ImageStateSource(state)))
        } catch let error as ImageError {
            return error.sentence
        } catch {
            return "snapshot '\(name)': \(error)"
        }
        for disk in disks {
            do {
                try disk.image.applySnapshot(name)
            } catch {
                return "the machine is that of snapshot '\(name)', but not device '\(disk.name)', and must not go on: "
                    + error.sentence
            }
        }
        return nil
    }

    func delete(_ name: String) -> String? {
        var wasThere = false
        for disk in disks where disk.image.summary.snapshots.contains(where: { $0.name == name }) {
            wasThere = true
            do { try disk.image.deleteSnapshot(name) } catch { return error.sentence }
        }
        return wasThere ? nil : "there is no snapshot '\(name)'"
    }
}
