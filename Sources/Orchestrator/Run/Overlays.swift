import Glibc
import Images
import LabSpec
import VMProtocol

/// Makes the copy-on-write overlays of VMs.
///
/// The caller holds the VM's lock, so that no process has an overlay open. An overlay is made under another name; then
/// the record that knows it is written, then it gets its own name. So an overlay that is there is known, and one that is
/// known and not there was never written to.
struct Overlays: Sendable {
    let images: ImageStore

    /// An overlay that is whole and has not got its name yet.
    struct Prepared: Sendable {
        var slot: DiskSlot
        /// What to record about it.
        var overlay: VMRecord.Overlay
        var temporary: String
        fileprivate var path: String

        /// Gives it its name.
        func commit() throws(OrchestratorError) {
            guard HostCall.rename(temporary, to: path) else {
                let error = HostError("make", path)
                discard()
                throw OrchestratorError(error)
            }
        }

        /// Removes it.
        func discard() { HostCall.unlink(temporary) }
    }

    /// Makes an overlay beside its place.
    /// - Parameter golden: the files of the base, where they are known already.
    func prepare(
        _ slot: DiskSlot, of vm: VMFolder, on base: ResolvedImage, label: String, golden known: [GoldenFile]? = nil
    ) throws(OrchestratorError) -> Prepared {
        guard let format = base.format else {
            throw OrchestratorError(
                .image,
                "image '\(label)': the format of \(base.path) is not recognised; write 'format: raw' if it is a raw disk"
            )
        }
        let golden: [GoldenFile]
        if let known { golden = known } else { golden = try images.goldenFiles(base, label: label) }
        let temporary = "\(vm.overlay(slot)).\(getpid()).tmp"
        do throws(ImageError) {
            HostCall.unlink(temporary)
            try DiskImage.createOverlay(temporary, backing: base.path, backingFormat: format)
        } catch {
            HostCall.unlink(temporary)
            let kind: OrchestratorError.Kind = error.kind == .outOfSpace ? .noSpace : .image
            throw OrchestratorError(kind, "the overlay of image '\(label)' cannot be made: \(error.sentence)")
        }
        return Prepared(
            slot: slot, overlay: VMRecord.Overlay(basePath: base.path, baseFormat: format, golden: golden),
            temporary: temporary, path: vm.overlay(slot))
    }

    /// Makes an overlay on a frozen one beside its place.
    func prepare(
        _ slot: DiskSlot, of vm: VMFolder, from saved: SavedVM
    ) throws(OrchestratorError) -> Prepared? {
        guard let layer = saved.layers[slot.rawValue], let overlay = saved.overlays[slot.rawValue] else { return nil }
        if let drift = try images.drift(overlay, mayRead: true) { throw OrchestratorError(.image, drift) }
        let temporary = "\(vm.overlay(slot)).\(getpid()).tmp"
        HostCall.unlink(temporary)
        do throws(ImageError) {
            try DiskImage.createOverlay(temporary, backing: layer, backingFormat: "qcow2")
        } catch {
            HostCall.unlink(temporary)
            let kind: OrchestratorError.Kind = error.kind == .outOfSpace ? .noSpace : .image
            throw OrchestratorError(kind, "the overlay of \(layer) cannot be made: \(error.sentence)")
        }
        return Prepared(slot: slot, overlay: overlay, temporary: temporary, path: vm.overlay(slot))
    }

    /// The backing file that an overlay names in its own header; nil for an image without one.
    static func base(of path: String) throws(OrchestratorError) -> BackingReference? {
        try withImageErrors { () throws(ImageError) in
            var options = OpenOptions(format: "qcow2", lock: .none, openBacking: false, forCheck: true)
            options.metadataOnly = true
            let image = try DiskImage.open(path, options: options)
            defer { try? image.close() }
            return image.backingReference
        }
    }

    /// Removes what a killed labctl left half made.
    static func clean(_ folder: String) {
        for name in Folder.names(in: folder) where name.hasSuffix(".tmp") { HostCall.unlink("\(folder)/\(name)") }
    }
}
