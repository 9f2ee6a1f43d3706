import ArgumentParser
import Images

struct ImageSnapshot: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Lists, takes, applies and deletes internal snapshots.",
        discussion: ImageHelp.discussion(
            "snapshot -c clean disk.qcow2",
            "snapshot -l disk.qcow2",
            "snapshot -a clean disk.qcow2"))

    @OptionGroup var source: ImageSourceOptions
    @Flag(name: .customShort("q"), help: "Print nothing but errors.") var quiet = false
    @Flag(name: .customShort("l"), help: "List (the default).") var list: Int
    @Option(
        name: .customShort("a"), help: ArgumentHelp("Apply: return the disk to this snapshot.", valueName: "SNAPSHOT"))
    var applied: [String] = []
    @Option(name: .customShort("c"), help: ArgumentHelp("Create a snapshot of this name.", valueName: "NAME"))
    var created: [String] = []
    @Option(name: .customShort("d"), help: ArgumentHelp("Delete this snapshot.", valueName: "SNAPSHOT")) var deleted:
        [String] = []
    @Option(
        name: .customShort("f"), help: ArgumentHelp("Format of the image (default: recognised).", valueName: "FORMAT"),
        completion: ImageCompletion.formats)
    var format: String?
    @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Open although the image is in use.")
    var forceShare = false
    @Argument(help: "The image.") var filenames: [String] = []

    func run() throws {
        let actions = applied.count + created.count + deleted.count
        guard actions + list <= 1 else { throw failUsage("Cannot mix '-l', '-a', '-c', '-d'") }
        let (apply, create, delete) = (applied.first, created.first, deleted.first)
        let filename = try onlyImage(filenames)
        let device = try source.open(
            filename, format: format, readOnly: actions == 0, forceShare: forceShare, openBacking: actions > 0)
        defer { try? device.close() }
        if actions == 0 {
            let snapshots = device.summary.snapshots
            if list > 0, !snapshots.isEmpty {
                print(
                    "Snapshot list:\n" + SnapshotTable.text(snapshots, printable: { ImageOutput.printable($0) }),
                    terminator: "")
            }
            return
        }
        do throws(ImageError) {
            if let create {
                try capable(device, "-95 (Operation not supported)").createSnapshot(named: create)
            }
            if let apply { try capable(device, "Block driver does not support snapshots").applySnapshot(apply) }
            if let delete { try capable(device, "snapshot not found").deleteSnapshot(delete) }
            try device.close()
        } catch {
            if let create { throw fail("Could not create snapshot '\(create)': \(error.naming(filename))") }
            let reason = error.naming(filename)
            throw fail(
                "Could not \(apply != nil ? "apply" : "delete") snapshot '\(apply ?? delete ?? "")': \(reason)")
        }
    }

    private func capable(_ device: any BlockDevice, _ reason: String) throws(ImageError) -> any SnapshotCapable {
        guard let capable = device as? any SnapshotCapable else {
            throw ImageError(.unsupported, reason, format: device.formatName, path: device.path)
        }
        return capable
    }
}
