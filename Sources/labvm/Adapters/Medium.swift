import Glibc
import Images
import VMProtocol

/// An opened image and what it looks like to the PC.
struct Medium {
    let backend: DiskAdapter
    /// What is behind it now: a snapshot puts another image there.
    var image: any BlockDevice { backend.device }

    private init(_ image: any BlockDevice, _ backend: DiskAdapter? = nil) {
        self.backend = backend ?? DiskAdapter(image, named: "")
    }

    /// Opens an image with its locks. Two writers of one image are refused here.
    /// - Parameter rules: what the image may lead to; nil allows any file.
    static func open(
        path: String, format: String?, readOnly: Bool, rules: VMDescription.ImageRules? = nil
    ) throws(ImageError) -> Medium {
        Medium(
            try DiskImage.open(path, options: OpenOptions(format: format, readOnly: readOnly, rules: rules)))
    }

    /// Opens a disk as its description has it.
    /// - Parameter hold: who pauses the guest while the host cannot write.
    static func open(
        _ disk: VMDescription.Disk, rules: VMDescription.ImageRules?, hold: GuestHold?
    ) throws(ImageError) -> Medium {
        let medium: Medium
        if disk.snapshot {
            medium = try openSnapshot(path: disk.path, format: disk.format)
        } else {
            medium = try open(path: disk.path, format: disk.format, readOnly: disk.readOnly, rules: rules)
        }
        return Medium(
            medium.image,
            DiskAdapter(
                medium.image, named: Drive.name(of: disk.slot), policy: disk.writeErrors ?? .enospc, hold: hold))
    }

    /// Opens an image for reading; writes go to an overlay that no name leads to and that ends with the process.
    static func openSnapshot(path: String, format: String?) throws(ImageError) -> Medium {
        let base: String
        if let format { base = format } else { base = try DiskImage.probe(path) }
        let folder = getenv("TMPDIR").map { String(cString: $0) } ?? "/var/tmp"
        let overlay = "\(folder)/labctl-snapshot-\(getpid())-\(WallClock.monotonicNanoseconds).qcow2"
        try DiskImage.createOverlay(overlay, backing: path, backingFormat: base)
        defer { unlink(overlay) }
        return Medium(
            try DiskImage.open(
                overlay, options: OpenOptions(format: "qcow2", readOnly: false, unsafeCache: true)))
    }
}

/// A drive of the PC, with or without a medium.
struct Drive {
    /// QEMU's name of the drive: `ide0-hd0`.
    let name: String
    /// Nil for a disk that stays.
    let removable: RemovableDrive?
    var medium: Medium?

    /// QEMU's names of hda, hdb, hdc and hdd.
    static let diskNames = ["ide0-hd0", "ide0-hd1", "ide1-hd0", "ide1-hd1"]
    /// QEMU's name of floppy drive A.
    static let floppyName = "floppy0"

    static func name(of slot: VMDescription.Disk.Slot) -> String {
        switch slot {
        case .hda: diskNames[0]
        case .hdb: diskNames[1]
        case .hdc: diskNames[2]
        case .hdd: diskNames[3]
        }
    }

    /// Its entry in the answer to `query-block`.
    var queryBlock: JSONValue {
        var entry: [String: JSONValue] = [
            "device": .string(name), "locked": false, "removable": .bool(removable != nil), "type": "unknown",
        ]
        if removable != nil { entry["tray_open"] = .bool(medium == nil) }
        if let image = medium?.image {
            entry["inserted"] = [
                "file": .string(image.path), "drv": .string(image.formatName), "ro": .bool(image.isReadOnly),
                "encrypted": .bool(image.summary.isEncrypted),
                "backing_file_depth": .int(Int64(DiskImage.chain(of: image).count - 1)),
                "image": [
                    "filename": .string(image.path), "format": .string(image.formatName),
                    "virtual-size": .int(Int64(clamping: image.size)),
                ],
            ]
        }
        return .object(entry)
    }

    /// Its line in `info block`.
    var summary: String {
        guard let image = medium?.image else { return "\(name): [not inserted]" }
        return "\(name): \(image.path) (\(image.formatName)\(image.isReadOnly ? ", read-only" : ""))"
    }
}

/// Opens the drives that a description names.
enum DriveSet {
    /// - Returns: the drives, disks in slot order, and sentences that the user should read.
    static func open(
        _ description: VMDescription, hold: GuestHold?
    ) throws(ImageError) -> (drives: [Drive], warnings: [String]) {
        let rules = description.imageRules
        var drives: [Drive] = []
        var warnings: [String] = []
        for disk in description.disks.sorted(by: { $0.slot.rawValue < $1.slot.rawValue }) {
            if disk.format == nil, try DiskImage.probe(disk.path) == "raw" {
                let isVHD = DiskImage.endsLikeFixedVHD(disk.path)
                warnings.append(
                    "no image format given for '\(disk.path)' and none recognised: it is used as raw; "
                        + "say format=raw to make this sure"
                        + (isVHD ? ", or format=vpc: it ends in the footer of a fixed VHD" : ""))
            }
            // A format that nobody named stays unnamed: a guessed raw disk is then kept from becoming another format.
            let medium = try Medium.open(disk, rules: rules, hold: hold)
            drives.append(Drive(name: Drive.name(of: disk.slot), removable: nil, medium: medium))
        }
        if let path = description.cdrom {
            let format = description.cdromFormat ?? (path.lowercased().hasSuffix(".iso") ? "raw" : nil)
            let medium = path.isEmpty ? nil : try Medium.open(path: path, format: format, readOnly: true, rules: rules)
            drives.append(Drive(name: RemovableDrive.cdrom.rawValue, removable: .cdrom, medium: medium))
        }
        if let path = description.floppy {
            let medium = path.isEmpty ? nil : try Medium.open(path: path, format: "raw", readOnly: true)
            drives.append(Drive(name: Drive.floppyName, removable: nil, medium: medium))
        }
        return (drives, warnings)
    }
}

extension OpenOptions {
    /// How a VM opens an image.
    fileprivate init(format: String?, readOnly: Bool, rules: VMDescription.ImageRules?) {
        self.init(format: format, readOnly: readOnly)
        guard let rules else { return }
        confinedTo = rules.folders
        declaredFiles = Set(rules.files)
        let golden = Set(rules.golden)
        protectedFiles = Set(
            golden.map { FileStorage.FileIdentity(device: $0.device, inode: $0.inode) })
    }
}
