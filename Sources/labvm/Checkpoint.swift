import Images
import VMProtocol

/// A snapshot of a whole lab, as one VM takes part in it: its guest stands still, each disk gets an empty overlay on top, and what was
/// written until then is only read from now on. labctl, which may open files, brings them and gives them their names.
///
/// | step | command | disks |
/// | --- | --- | --- |
/// | 1 | `x-snapshot-begin` | as they were |
/// | 2 | `x-snapshot-save` | overlays that have no name yet; nothing is written to them, as the guest stands |
/// | 3 | labctl gives the files their names | |
/// | 4 | `x-snapshot-end` | those that got their names stay, all others are as they were |
///
/// Used on the I/O thread only.
final class Checkpoint {
    /// The files of one disk, as `/dev/fdset/N`.
    struct Files {
        var slot: VMDescription.Disk.Slot
        /// The new overlay, empty, for writing.
        var overlay: String
        /// The image of now, for reading.
        var frozen: String
    }

    private struct Change {
        let slot: VMDescription.Disk.Slot
        let backend: DiskAdapter
        let old: any BlockDevice
        let new: any BlockDevice
        let frozen: any BlockDevice
    }

    /// Whether the guest ran before.
    let goesOn: Bool
    private var changes: [Change] = []

    init(goesOn: Bool) { self.goesOn = goesOn }

    /// Puts the overlays in place.
    func freeze(_ files: [Files], of drives: [Drive]) throws(QMPError) {
        do throws(ImageError) {
            for file in files {
                let name = Drive.name(of: file.slot)
                guard let medium = drives.first(where: { $0.name == name })?.medium else {
                    throw ImageError(.notFound, "there is no disk \(file.slot.rawValue)")
                }
                let old = medium.image
                try old.flush()
                let new = try DiskImage.open(
                    file.overlay, options: OpenOptions(format: "qcow2", readOnly: false, openBacking: false))
                // This process still has it open for writing, and writes no more.
                let reading = OpenOptions(format: old.formatName, readOnly: true, lock: .forceShare, openBacking: false)
                let frozen = try DiskImage.open(file.frozen, options: reading)
                if let below = old.backing { try frozen.attach(backing: below) }
                try new.attach(backing: frozen)
                medium.backend.change(to: new)
                changes.append(
                    Change(slot: file.slot, backend: medium.backend, old: old, new: new, frozen: frozen))
            }
        } catch {
            finish(keeping: [])
            throw .generic(error.sentence)
        }
    }

    /// - Parameter slots: disks whose overlays stay.
    func finish(keeping slots: Set<VMDescription.Disk.Slot>) {
        for change in changes where !slots.contains(change.slot) { change.backend.change(to: change.old) }
        // What nobody reads any more is let go, not closed: closing an image closes those below it, which others read. It was
        // flushed, and nothing was written since.
        changes = []
    }
}
