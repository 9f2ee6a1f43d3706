import Glibc
import Images
import LabSpec
import VMProtocol

/// A golden image that was made of a VM's disk.
public struct CommittedImage: Sendable, Equatable, Encodable {
    public var path: String
    public var sha256: String
    /// Bytes on the host's disk.
    public var allocatedBytes: UInt64
}

extension LabOrchestrator {
    /// Makes a golden image of a VM's disk: without what lies below it, without what its guest does not use.
    /// - Parameters:
    ///   - path: the new file, absolute.
    ///   - replaces: whether a file of that name may go; never one that overlays stand on.
    public func commit(
        _ name: String, slot: DiskSlot, to path: String, compress: Bool, replaces: Bool
    ) throws(OrchestratorError) -> CommittedImage {
        let chosen = try instances([name])
        guard chosen.count == 1, let instance = chosen.first else {
            throw OrchestratorError(
                .vm, "'\(name)' means \(chosen.count) VMs; give one of them, such as '\(chosen.first?.name ?? "")'")
        }
        let lock = try lock("commit")
        defer { withExtendedLifetime(lock) {} }
        let vm = folder.vm(instance.name)
        guard Folder.exists(vm.overlay(slot)) else {
            throw OrchestratorError(
                .vm, "\(instance.name) has no overlay \(slot.rawValue); 'labctl up \(instance.name)' makes it")
        }
        // Nobody writes to the disk while it is read.
        let vmLock = try withHostErrors { () throws(HostError) in try FileLock.tryLock(vm.file(.lock)) }
        guard let vmLock else {
            throw OrchestratorError(
                .vm, "\(instance.name) runs; 'labctl down \(instance.name)' stops it, then its disk is whole")
        }
        defer { withExtendedLifetime(vmLock) {} }
        guard let overlay = try vm.recordReading.required()?.overlays[slot.rawValue] else {
            throw OrchestratorError(.state, "\(vm.overlay(slot)) is in no record; 'labctl up --adopt' takes it on")
        }
        if let drift = try images.drift(overlay, mayRead: true) {
            throw OrchestratorError(.image, "\(drift): what \(instance.name) wrote does not fit it any more")
        }
        try checkPlace(path, replaces: replaces)
        let temporary = "\(path).\(getpid()).tmp"
        defer { unlink(temporary) }
        let layers = try Layers.declared(vm.overlay(slot), overlay)
        let below = Set(overlay.golden.map(\.stamp.path) + [overlay.basePath] + layers)
        try images.convert(
            ResolvedImage(path: vm.overlay(slot), format: "qcow2", isPresent: true), to: temporary, format: .qcow2,
            compress: compress, label: instance.name, declaring: below)
        let digest = try withHostErrors { () throws(HostError) in try SHA256Digest.ofFile(temporary) } ?? ""
        // Golden from here on.
        chmod(temporary, 0o444)
        guard rename(temporary, path) == 0 else { throw OrchestratorError(HostError("write", path)) }
        folder.record("committed", vm: instance.name, detail: path)
        progress(.image(name: instance.name, .ready))
        return CommittedImage(path: path, sha256: digest, allocatedBytes: Folder.allocatedBytes(path))
    }

    private func checkPlace(_ path: String, replaces: Bool) throws(OrchestratorError) {
        guard Folder.exists(path) else { return }
        guard replaces else { throw OrchestratorError(.image, "\(path) exists already; --force replaces it") }
        guard let old = DiskImage.identity(of: path) else { return }
        for lab in state.allLabs() {
            for vm in lab.vmNames.map({ lab.vm($0) }) {
                let golden = vm.recordReading.known?.overlays.values.flatMap(\.golden) ?? []
                if golden.contains(where: { DiskImage.identity(of: $0.stamp.path) == old }) {
                    throw OrchestratorError(
                        .image,
                        "\(path) is the golden image below the disk of \(vm.name) (\(vm.path)): choose another name, and "
                            + "'labctl reset' VMs once the lab file has it")
                }
            }
        }
    }
}
