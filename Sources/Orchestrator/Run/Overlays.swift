import Glibc
import Images
import LabSpec
import VMProtocol

/// Makes the copy-on-write overlays of VMs.
struct Overlays: Sendable {
    let images: ImageStore

    /// Makes an overlay, replacing one that is there: made beside it, then renamed over it.
    ///
    /// The caller holds the VM's lock, so that no process has the overlay open.
    /// - Parameter golden: the files of the base, where they are known already.
    /// - Returns: what to record about it.
    func make(
        _ slot: DiskSlot, of vm: VMFolder, on base: ResolvedImage, label: String, golden known: [GoldenFile]? = nil
    ) throws(OrchestratorError) -> VMRecord.Overlay {
        guard let format = base.format else {
            throw OrchestratorError(
                .image,
                "image '\(label)': the format of \(base.path) is not recognised; write 'format: raw' if it is a raw disk"
            )
        }
        let golden: [GoldenFile]
        if let known { golden = known } else { golden = try images.goldenFiles(base, label: label) }
        let temporary = "\(vm.overlay(slot)).\(getpid()).tmp"
        try withImageErrors { () throws(ImageError) in
            unlink(temporary)
            try DiskImage.createOverlay(temporary, backing: base.path, backingFormat: format)
        }
        guard rename(temporary, vm.overlay(slot)) == 0 else {
            let error = HostError("make", vm.overlay(slot))
            unlink(temporary)
            throw OrchestratorError(error)
        }
        return VMRecord.Overlay(basePath: base.path, baseFormat: format, golden: golden)
    }

    /// Removes what a killed labctl left half made.
    static func clean(_ vm: VMFolder) {
        for name in Folder.names(in: vm.path) where name.hasSuffix(".tmp") { unlink("\(vm.path)/\(name)") }
    }
}
