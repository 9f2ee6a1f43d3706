import Glibc

/// The parent of an undo or differencing VDI. The image holds the parent's UUIDs only; VirtualBox knows the path from
/// its registry. Without that, the parent is the VDI with that UUID in the image's own folder, or in the one above
/// where the folder is called "Snapshots", as VirtualBox lays them out.
struct VDIParent {
    /// UUID of the parent, and of its content when this image was made.
    let uuid: [UInt8]
    let contentUUID: [UInt8]
    /// As the image would name it: relative to its folder.
    let file: String

    private static let maximumFiles = 4096

    init(of header: [UInt8], path: String) throws(ImageError) {
        uuid = Array(header[424..<440])
        contentUUID = Array(header[440..<456])
        guard uuid.contains(where: { $0 != 0 }) else {
            throw ImageError(
                .corrupt, "the differencing VDI does not say whose UUID its parent has", format: "vdi", path: path,
                offset: 424)
        }
        let folder = FilePath.folder(of: FilePath.real(path) ?? path)
        var places = [""]
        if FilePath.name(of: String(folder.dropLast())) == "Snapshots" { places.append("../") }
        for place in places {
            if let name = Self.find(uuid, in: folder + place) {
                file = place + name
                return
            }
        }
        // Reported when the parent is needed: `info` shows the image without it.
        file = ""
    }

    /// The UUIDs in the header of a VDI: of the image and of its content; nil for other files.
    static func identity(of path: String) -> [UInt8]? {
        guard let storage = try? FileStorage.open(path, readOnly: true, lock: .none) else { return nil }
        defer { storage.close() }
        guard let header = try? storage.readBytes(at: 0, count: 512), header.le32(64) == VDIFormat.signature else {
            return nil
        }
        return Array(header[392..<424])
    }

    /// The UUIDs that a new image records of `backing`, which must lie where it will be looked for.
    static func identity(of backing: BackingReference, from image: String) throws(ImageError) -> [UInt8] {
        guard backing.format == nil || backing.format == "vdi" else {
            throw ImageError(.invalidArgument, "Invalid backing file format: must be vdi", format: "vdi")
        }
        let path = FilePath.resolve(backing.file, from: image)
        guard let identity = identity(of: path) else {
            throw ImageError(
                .invalidArgument, "the parent of a differencing VDI must be a VDI, which '\(path)' is not",
                format: "vdi", path: path)
        }
        func folder(_ path: String) -> String? {
            let folder = FilePath.folder(of: path)
            return FilePath.real(folder.isEmpty ? "." : folder)
        }
        guard let parents = folder(path), let own = folder(image),
            parents == own || own == (parents == "/" ? "" : parents) + "/Snapshots"
        else {
            throw ImageError(
                .invalidArgument,
                "a differencing VDI records its parent's UUID only: '\(path)' must lie in the same folder",
                format: "vdi", path: path)
        }
        return identity
    }

    private static func find(_ uuid: [UInt8], in folder: String) -> String? {
        guard let directory = opendir(folder.isEmpty ? "." : folder) else { return nil }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory), names.count < maximumFiles {
            // SAFETY: d_name is a NUL-terminated array inside the entry, valid until the next call.
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if FilePath.suffix(of: name) == "vdi" { names.append(name) }
        }
        return names.sorted().first { identity(of: folder + $0)?.starts(with: uuid) ?? false }
    }

    /// Refuses a parent that is not the one, or has changed.
    func verify(_ path: String, for image: String) throws(ImageError) {
        guard let identity = Self.identity(of: path), identity.starts(with: uuid) else {
            throw ImageError(
                .corrupt, "'\(path)' is not the parent that '\(image)' was made from: their UUIDs differ",
                format: "vdi", path: path)
        }
        // Images whose maker did not record the content are taken as they are.
        guard contentUUID.allSatisfy({ $0 == 0 }) || Array(identity[16...]) == contentUUID else {
            throw ImageError(
                .corrupt, "'\(path)' has changed since '\(image)' was made from it: its content has another UUID",
                format: "vdi", path: path)
        }
    }
}
