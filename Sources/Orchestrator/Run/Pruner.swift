import Glibc
import LabSpec
import VMProtocol

/// Something that nobody needs any more.
public struct Prunable: Sendable, Equatable, Encodable {
    public enum Kind: String, Sendable, Encodable {
        /// A made image in the cache that no lab uses.
        case image
        /// The state of a lab whose file is gone and whose VMs do not run.
        case lab
        /// A remembered digest of a file that is gone or has changed.
        case digest
        /// What a killed labctl left half made.
        case leftover
    }

    public var kind: Kind
    public var path: String
    public var allocatedBytes: UInt64
}

extension StateDirectory {
    /// What `prune` would remove.
    public func prunable() -> [Prunable] {
        var found: [Prunable] = []
        func add(_ kind: Prunable.Kind, _ path: String) {
            found.append(Prunable(kind: kind, path: path, allocatedBytes: Folder.allocatedBytes(path)))
        }
        var used: Set<String> = []
        // What a record that cannot be read may need is not known: then no image goes.
        let mayRemoveImages = pruneHindrances().isEmpty
        for folder in allLabs() {
            guard let record = folder.recordReading.known else { continue }
            let vms = folder.vmNames.map { folder.vm($0) }
            // A record that cannot be read is a reason to look, not to remove.
            let isWhole = vms.allSatisfy { $0.recordReading.fault == nil }
            if !Folder.exists(record.file), isWhole, !vms.contains(where: \.isRunning) {
                add(.lab, folder.path)
                continue
            }
            used.formUnion(record.builtImages)
            for vm in vms {
                used.formUnion((vm.recordReading.known?.overlays.values).map { $0.map(\.basePath) } ?? [])
            }
        }
        for name in Folder.names(in: imagesFolder) {
            let path = "\(imagesFolder)/\(name)"
            if name.hasSuffix(".tmp") {
                if !isBeingMade(path) { add(.leftover, path) }
            } else if !name.hasSuffix(".lock"), mayRemoveImages, !used.contains(path) {
                add(.image, path)
            }
        }
        for name in Folder.names(in: "\(cache)/digests") {
            let path = "\(cache)/digests/\(name)"
            let record = RecordFile.read(GoldenFile.self, from: path).known
            let stamp = record.flatMap { (try? FileStamp.of($0.stamp.path)) ?? nil }
            if record == nil || stamp != record?.stamp { add(.digest, path) }
        }
        return found
    }

    /// Why no made image can be removed, in sentences: records that cannot be read, which may need any of them.
    public func pruneHindrances() -> [String] {
        allLabs().flatMap { folder in
            let vms = folder.vmNames.map { folder.vm($0) }
            var faults = ([folder.recordReading.fault] + vms.map(\.recordReading.fault)).compactMap { $0?.sentence }
            if case .absent = folder.recordReading, !vms.isEmpty { faults.append("\(folder.recordPath) is gone") }
            for vm in vms {
                let known = vm.recordReading.known?.overlays ?? [:]
                for slot in DiskSlot.allCases
                where Folder.exists(vm.overlay(slot)) && known[slot.rawValue] == nil && vm.recordReading.fault == nil {
                    faults.append("\(vm.overlay(slot)) is in no record")
                }
            }
            return faults
        }
    }

    /// `NAME.qcow2.PID.tmp` belongs to a maker that holds `NAME.qcow2.lock`.
    private func isBeingMade(_ path: String) -> Bool {
        let name = path.split(separator: ".").dropLast(2).joined(separator: ".")
        return FileLock.isHeld("/\(name.drop { $0 == "/" }).lock")
    }

    /// Removes what `prunable` found.
    public func prune(_ found: [Prunable]) throws(OrchestratorError) {
        for item in found {
            if item.kind == .lab {
                let folder = LabFolder(path: item.path, runtime: runtime)
                let lock = try LabLock.take(folder, verb: "prune")
                defer { withExtendedLifetime(lock) {} }
                for name in folder.vmNames { Folder.remove(folder.vm(name).runtime) }
                if let error = Folder.remove(item.path) { throw OrchestratorError(error) }
            } else if let error = Folder.remove(item.path) {
                throw OrchestratorError(error)
            }
        }
    }
}
