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
        /// A machine that VMs would begin as, and none does any more.
        case warm
        /// A remembered digest of a file that is gone or has changed.
        case digest
        /// What a killed labctl left half made, what has come of a download, what is kept of a build that failed.
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
            used.formUnion(imagesInUse(by: folder) ?? Set(record.builtImages))
            for name in folder.snapshotNames {
                for saved in folder.snapshotReading(name).known?.vms.values.map({ $0 }) ?? [] {
                    used.formUnion(saved.overlays.values.flatMap { [$0.basePath] + $0.golden.map(\.stamp.path) })
                    let run = saved.description
                    used.formUnion(run.disks.map(\.path) + [run.cdrom, run.floppy].compactMap { $0 })
                }
            }
            for vm in vms {
                let known = vm.recordReading.known
                used.formUnion(
                    (known?.overlays.values).map { $0.flatMap { [$0.basePath] + $0.golden.map(\.stamp.path) } } ?? [])
                guard vm.isRunning, let run = known?.run?.description else { continue }
                used.formUnion(run.disks.map(\.path) + [run.cdrom, run.floppy].compactMap { $0 })
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
        found += unusedMachines()
        for name in Folder.names(in: downloadsFolder) where name.hasSuffix(".part") {
            let path = "\(downloadsFolder)/\(name)"
            if !FileLock.isHeld(path + ".lock") { add(.leftover, path) }
        }
        for name in Folder.names(in: failedBuildsFolder) { add(.leftover, "\(failedBuildsFolder)/\(name)") }
        for name in Folder.names(in: "\(cache)/digests") {
            let path = "\(cache)/digests/\(name)"
            let record = RecordFile.read(GoldenFile.self, from: path).known
            let stamp = record.flatMap { (try? FileStamp.of($0.stamp.path)) ?? nil }
            if record == nil || stamp != record?.stamp { add(.digest, path) }
        }
        return found
    }

    /// Machines in the cache on which no VM of any lab stands.
    private func unusedMachines() -> [Prunable] {
        let names = Folder.names(in: warmFolder).filter { !$0.hasSuffix(".lock") }
        guard !names.isEmpty else { return [] }
        var used: Set<String> = []
        for folder in allLabs() {
            for vm in folder.vmNames.map({ folder.vm($0) }) {
                let run = vm.recordReading.known?.run?.description
                used.formUnion([run?.savedState].compactMap { $0 } + (run?.imageRules?.files ?? []))
            }
        }
        return names.compactMap { name in
            let path = "\(warmFolder)/\(name)"
            if name.hasSuffix(LabFolder.unfinishedSuffix) {
                let isBeingMade = FileLock.isHeld(path.dropLast(LabFolder.unfinishedSuffix.count) + ".lock")
                return isBeingMade
                    ? nil : Prunable(kind: .leftover, path: path, allocatedBytes: Folder.allocatedBytes(path))
            }
            guard !used.contains(where: { $0.hasPrefix(path + "/") }) else { return nil }
            return Prunable(kind: .warm, path: path, allocatedBytes: Folder.allocatedBytes(path))
        }
    }

    /// Made images that a lab as it was last brought up asks for, also those that no VM of it uses yet. Nothing is read
    /// for it: nil where a digest is not known without.
    private func imagesInUse(by folder: LabFolder) -> Set<String>? {
        guard let lab = folder.keptFile.known?.load(checksFiles: false).lab else { return nil }
        let references = lab.images.map { ImageReference.named($0.name) } + lab.imageReferences(of: lab.instances())
        guard let graph = try? ImageGraph(lab: lab, needing: references) else { return nil }
        func digest(_ path: String) throws(OrchestratorError) -> String {
            guard let stamp = (try? FileStamp.of(path)) ?? nil, let known = digests.known(stamp) else {
                throw OrchestratorError(.image, "the digest of \(path) is not known")
            }
            return known
        }
        let needDigest = Set(graph.nodes.flatMap(\.inputs))
        var contents: [ImageReference: String] = [:]
        var paths: Set<String> = []
        for node in graph.nodes {
            do throws(OrchestratorError) {
                if case .file(let path, _, _) = node.recipe {
                    if needDigest.contains(node.reference) { contents[node.reference] = try digest(path) }
                    continue
                }
                var inputs = node.inputs.compactMap { contents[$0] }
                for file in node.files { inputs.append(try FileTree(file).digest(digest)) }
                guard let name = node.contentName(inputDigests: inputs) else { continue }
                contents[node.reference] = name
                paths.insert("\(imagesFolder)/\(name)")
            } catch {
                return nil
            }
        }
        return paths
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
