/// Opening images with everything below them.
public enum DiskImage {
    /// Longer chains are refused; each layer costs a descriptor and a lookup per read.
    public static let maximumDepth = 200

    /// Opens an image and, unless told otherwise, its backing chain (always read-only).
    ///
    /// Throws `.notFound`, `.permission`, `.locked`, `.corrupt` or `.unsupported`, naming file and field.
    public static func open(_ path: String, options: OpenOptions = OpenOptions()) throws(ImageError) -> any BlockDevice
    {
        try open(ImageName(path), options: options)
    }

    /// Opens what a name says, with what it says of the layers below.
    public static func open(
        _ name: ImageName, options: OpenOptions = OpenOptions()
    ) throws(ImageError) -> any BlockDevice {
        var visited: Set<FileStorage.FileIdentity> = []
        return try open(name, options, &visited)
    }

    private static func open(
        _ parsed: ImageName, _ options: OpenOptions, _ visited: inout Set<FileStorage.FileIdentity>
    ) throws(ImageError) -> any BlockDevice {
        var chosen = options
        let path: String
        (path, chosen.member) = archiveMember(parsed.path)
        if let demanded = parsed.format {
            guard options.format.map({ FormatRegistry.isSame($0, demanded) }) ?? true else {
                throw ImageError(
                    .invalidArgument, "'\(path)' is to be opened as \(demanded), not as \(options.format ?? demanded)",
                    path: path)
            }
            chosen.format = demanded
        }
        chosen.keySecret = parsed.keySecret ?? options.keySecret
        chosen.overlapCheck = parsed.overlapCheck ?? options.overlapCheck
        chosen.dataFile = parsed.dataFile
        let storage = try FileStorage.open(
            path, readOnly: options.readOnly, lock: options.lock, unsafeCache: options.unsafeCache,
            syncsAtEnd: options.syncsAtEnd, protectedFiles: options.protectedFiles)
        guard visited.insert(storage.identity).inserted else {
            throw ImageError(.corrupt, "Backing file '\(path)' creates an infinite loop.", path: path)
        }
        guard visited.count <= maximumDepth else {
            throw ImageError(.corrupt, "The backing chain is longer than \(maximumDepth) images", path: path)
        }
        let format: any ImageFormat
        if let name = chosen.format {
            guard let known = FormatRegistry.format(named: name) else {
                throw ImageError(.invalidArgument, "Unknown driver '\(name)'", path: path)
            }
            format = known
            try storage.checkKind(asDriver: name)
        } else {
            format = try FormatRegistry.probe(storage)
            chosen.wasProbed = true
        }
        if let member = chosen.member, format.name != "ova" {
            throw ImageError(
                .notFound,
                "'\(parsed.path)' names a disk of an archive ('\(member)'), but '\(path)' is \(format.name)", path: path
            )
        }
        if let file = chosen.dataFile, format.name != "qcow2" {
            throw ImageError(
                .unsupported, "Block format '\(format.name)' does not support the option 'data-file' (\(file))",
                path: path)
        }
        let device = try format.open(storage: try parsed.window(of: storage), options: chosen)
        if let option = parsed.backingOption, !options.openBacking {
            throw ImageError(
                .unsupported, "Block format '\(format.name)' does not support the option '\(option)'", path: path)
        }
        guard options.openBacking, let named = try backingName(parsed.backing, of: device, at: path, options)
        else { return device }
        var below = options
        below.format = nil
        if case .named = parsed.backing { below.keySecret = nil }
        below.readOnly = true
        below.forCheck = false
        below.lock = options.backingLock ?? options.lock
        do throws(ImageError) {
            try device.attach(backing: try open(named, below, &visited))
        } catch {
            throw ImageError(
                error.kind, "Could not open backing file: \(error.naming(named.path))", format: device.formatName,
                path: error.path ?? named.path, offset: error.offset, code: error.code)
        }
        return device
    }

    /// What lies below an image, nil for nothing. What an image may name is settled before its name is looked into.
    private static func backingName(
        _ choice: ImageName.Backing, of device: any BlockDevice, at path: String, _ options: OpenOptions
    ) throws(ImageError) -> ImageName? {
        let recorded = device.backingReference
        var given: ImageName?
        switch choice {
        case .none: return nil
        case .recorded: break
        case .named(let name): given = name
        }
        var name: ImageName
        let written: String
        if let given, !given.path.isEmpty {
            (name, written) = (given, given.path)
            try options.confine(written, namedBy: path, as: "Backing file")
        } else if let recorded {
            written = try resolve(recorded, from: path)
            try options.confine(written, namedBy: path, as: "Backing file")
            name = try ImageName(written)
            if let given {
                (name.format, name.keySecret, name.backing) = (given.format, given.keySecret, given.backing)
                name.dataFile = given.dataFile
            }
        } else {
            guard given != nil else { return nil }
            throw ImageError(
                .invalidArgument, "'\(path)' has no backing file, and the options of one do not say which", path: path)
        }
        if let format = recorded?.format {
            guard given != nil || name.format.map({ FormatRegistry.isSame($0, format) }) ?? true else {
                throw ImageError(
                    .invalidArgument, "'\(written)' demands the format \(name.format ?? format), not \(format)",
                    path: written)
            }
            name.format = name.format ?? format
        }
        return name
    }

    /// Splits `archive.ova#disk`; a file whose own name has a `#` in it is meant as a whole.
    private static func archiveMember(_ path: String) -> (path: String, member: String?) {
        guard let mark = path.lastIndex(of: "#"), FilePath.real(path) == nil,
            FilePath.real(String(path[..<mark])) != nil
        else { return (path, nil) }
        return (String(path[..<mark]), String(path[path.index(after: mark)...]))
    }

    /// What a name inside an image means: relative names are meant from the image's folder, `json:` names stay as they
    /// are, other protocols are refused; a file of such a name beside the image is that file.
    static func resolve(_ reference: BackingReference, from image: String) throws(ImageError) -> String {
        let name = reference.file
        guard let scheme = FilePath.scheme(of: name) else { return FilePath.resolve(name, from: image) }
        if scheme == "file" { return FilePath.resolve(String(name.dropFirst(5)), from: image) }
        if scheme == "json" { return name }
        let beside = FilePath.resolve(name, from: image)
        guard FilePath.real(beside) != nil else {
            throw ImageError(
                .unsupported, "Unknown protocol '\(scheme)' in '\(name)', which '\(image)' names", path: image)
        }
        return beside
    }

    /// The file that an image name means.
    static func localPath(_ name: String) throws(ImageError) -> String { try ImageName(name).path }

    /// The format of a file: what its name demands, else recognised from its content.
    public static func probe(_ name: String) throws(ImageError) -> String {
        let parsed = try ImageName(name)
        if let format = parsed.format { return format }
        let storage = try FileStorage.open(parsed.path, readOnly: true, lock: .none)
        defer { storage.close() }
        return try FormatRegistry.probe(storage).name
    }

    /// Whether an image that is open as raw ends in the footer of a fixed VHD that takes all of the file but the footer.
    public static func looksLikeFixedVHD(_ device: any BlockDevice) -> Bool {
        guard let raw = device as? RawImage else { return false }
        return (try? VHDFooter.endsFixedDisk(raw.storage)) ?? false
    }

    /// The images of a chain, top first.
    public static func chain(of top: any BlockDevice) -> [any BlockDevice] {
        var layers: [any BlockDevice] = [top]
        var next = top.backing
        while let layer = next {
            layers.append(layer)
            next = layer.backing
        }
        return layers
    }
}

extension DiskImage {
    /// The path that a backing reference means from an image's place, nil where it is no path.
    public static func backingPath(_ reference: BackingReference, from image: String) -> String? {
        try? resolve(reference, from: image)
    }

    /// Makes a snapshot what the device reads: `name`, an id, or `snapshot.id=…,snapshot.name=…`. Read-only devices only.
    public static func loadSnapshot(_ selector: String, of device: any BlockDevice) throws(ImageError) {
        let inner = (device as? any ContainedDisk)?.disk ?? device
        guard let image = inner as? any SnapshotCapable else {
            throw ImageError(
                .unsupported,
                "Block format '\(device.formatName)' used by device '' does not support temporarily loading internal "
                    + "snapshots", path: device.path)
        }
        try image.loadSnapshot(selector)
    }

    /// What an image at `image` shall record about its new backing file `file`; without `format` the file is probed.
    /// `opens` false trusts the caller that it is there and of that format.
    public static func backingReference(
        _ file: String, format: String?, from image: String, opens: Bool, warn: (String) -> Void
    ) throws(ImageError) -> BackingReference {
        guard opens, format == nil, let path = backingPath(BackingReference(file: file, format: nil), from: image)
        else {
            return BackingReference(file: file, format: format)
        }
        do throws(ImageError) {
            return BackingReference(file: file, format: try recordedFormat(nil, of: file, at: path, warn: warn))
        } catch {
            guard error.kind != .invalidArgument else { throw error }
            throw ImageError(
                error.kind, "Could not open new backing file '\(file)': \(error.message)", path: path, code: error.code)
        }
    }

    /// `format`, or what the file is recognised as, with a warning. Raw is never guessed: any file can be raw.
    private static func recordedFormat(
        _ format: String?, of file: String, at path: String, warn: (String) -> Void
    ) throws(ImageError) -> String {
        if let format { return format }
        let found = try probe(path)
        guard found != "raw" else {
            throw ImageError(
                .invalidArgument,
                "Backing file specified without backing format\nNothing but raw fits '\(file)'; "
                    + "say -F raw if that is what it is"
                    + (endsLikeFixedVHD(path) ? ", or -F vpc: it ends in the footer of a fixed VHD" : ""))
        }
        warn("Backing file specified without backing format; recording the detected format of \(found).")
        return found
    }

    /// Whether a file ends in the footer of a fixed VHD that takes all of it but the footer.
    public static func endsLikeFixedVHD(_ path: String) -> Bool {
        guard let storage = try? FileStorage.open(path, readOnly: true, lock: .none) else { return false }
        defer { storage.close() }
        return (try? VHDFooter.endsFixedDisk(storage)) ?? false
    }

    /// Settles the backing file of a new image: its format (probed with a warning where none is given) and the size
    /// where none is given. `opensBacking` false trusts the caller.
    public static func prepareBacking(
        _ request: inout CreateRequest, file: String?, format: String?, size: UInt64?, opensBacking: Bool,
        warn: (String) -> Void
    ) throws(ImageError) {
        if let size { request.size = size }
        guard let file else {
            guard size != nil else { throw ImageError(.invalidArgument, "Image creation needs a size parameter") }
            return
        }
        if file.isEmpty { throw ImageError(.invalidArgument, "Expected backing file name, got empty string") }
        if file == request.path {
            throw ImageError(
                .invalidArgument, "Error: Trying to create an image with the same filename as the backing file")
        }
        if let format, FormatRegistry.format(named: format) == nil {
            throw ImageError(.invalidArgument, "Unknown driver '\(format)'\nCould not open backing image.")
        }
        var recorded = format
        if opensBacking {
            let path = FilePath.scheme(of: file) == nil ? FilePath.resolve(file, from: request.path) : file
            do throws(ImageError) {
                recorded = try recordedFormat(format, of: file, at: path, warn: warn)
                // Nothing is read from it but its size and identity, so a running guest does not stand in the way.
                var options = OpenOptions(format: recorded, lock: .none, openBacking: false, forCheck: true)
                options.metadataOnly = true
                let below = try open(path, options: options)
                if size == nil { request.size = below.size }
                request.openedBacking = below
            } catch {
                if format == nil, error.kind == .invalidArgument { throw error }
                throw ImageError(
                    error.kind, "\(error.message)\nCould not open backing image.", path: path, code: error.code)
            }
        } else {
            guard recorded != nil else {
                throw ImageError(.invalidArgument, "Backing file specified without backing format")
            }
            guard size != nil else { throw ImageError(.invalidArgument, "Image creation needs a size parameter") }
        }
        request.backing = BackingReference(file: file, format: recorded)
    }
}

/// Formats with internal snapshots.
public protocol SnapshotCapable: BlockDevice {
    /// Lets the device read a snapshot (read-only devices).
    func loadSnapshot(_ selector: String) throws(ImageError)
    /// Keeps the present state under a name.
    func createSnapshot(named name: String) throws(ImageError)
    /// Returns the disk to a snapshot's state.
    func applySnapshot(_ selector: String) throws(ImageError)
    /// Forgets a snapshot.
    func deleteSnapshot(_ selector: String) throws(ImageError)
}

/// A format whose snapshots can hold the state of a VM beside the disk.
///
/// The order is `beginVMState`, any writes in any order, `createSnapshot(named:vmState:)`; `discardVMState` gives up in between.
public protocol VMStateCapable: SnapshotCapable {
    /// Makes room for a state; what is not written of it reads as zeros.
    func beginVMState(maximumBytes: UInt64) throws(ImageError)
    func writeVMState(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError)
    func discardVMState() throws(ImageError)
    /// Keeps the present state of the disk together with the VM's.
    func createSnapshot(named name: String, vmState: VMStateInfo) throws(ImageError)
    /// The VM's state in a snapshot, by its id or name.
    func openVMState(ofSnapshot selector: String) throws(ImageError) -> any VMStateReading
}

/// What a snapshot tells of the VM whose state it holds.
public struct VMStateInfo: Sendable {
    public var byteCount: UInt64
    /// The guest's clock in nanoseconds.
    public var clockNanoseconds: UInt64

    public init(byteCount: UInt64, clockNanoseconds: UInt64) {
        self.byteCount = byteCount
        self.clockNanoseconds = clockNanoseconds
    }
}

/// A VM's state that can be read at any place.
public protocol VMStateReading: AnyObject {
    var byteCount: UInt64 { get }
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError)
}

extension OpenOptions {
    /// Refuses a file that an image names when it lies outside the folders `confinedTo`, symbolic links followed, and is
    /// not among `declaredFiles`.
    func confine(_ path: String, namedBy image: String, as what: String) throws(ImageError) {
        guard let confinedTo else { return }
        guard FilePath.scheme(of: path) != "json" else {
            throw ImageError(
                .permission,
                "\(what) of '\(image)' is named by '\(path)'; in a lab only a path is allowed "
                    + "(image rebase -u -b PATH changes the name)", path: image)
        }
        let real = FilePath.real(path)
        if let real {
            let roots = confinedTo.compactMap { FilePath.real($0) }
            if roots.contains(where: { real.hasPrefix($0 == "/" ? "/" : $0 + "/") }) { return }
        }
        if let real, declaredFiles.contains(where: { FilePath.real($0) == real }) { return }
        guard real != nil else {
            throw ImageError(.notFound, "\(what) '\(path)', which '\(image)' names, does not exist", path: path)
        }
        throw ImageError(
            .permission,
            "\(what) '\(path)', which '\(image)' names, lies outside of what a lab's images may name "
                + "(\(confinedTo.isEmpty ? "files under 'images'" : confinedTo.joined(separator: ", "))); if it is meant, "
                + "name it under 'images' of the lab file too", path: path)
    }
}
