import Glibc

/// A new image that appears under its name only when it is complete.
///
/// It is made as `.NAME.PID.partial` beside its place; one of several files in a folder of that name, where each file
/// has its final name already, so that the names inside them hold. The work is locked while it is being made: what a
/// killed process has left is known by its missing lock, and goes when the same target is made again.
final class ResultFile {
    /// Where to write.
    let workPath: String
    private let finalPath: String
    /// The folder that holds the work, where there are several files.
    private let workFolder: String?
    private let oldFile: FileStorage?
    /// Whether a file of that name exists and will be replaced.
    var replaces: Bool { oldFile != nil }
    private let lockDescriptor: Int32

    private static let suffix = ".partial"

    /// Devices, and images whose companions lie elsewhere, are written at their place directly.
    init(_ request: CreateRequest, hasCompanions: Bool) throws(ImageError) {
        let path = request.path
        try FilePath.checkEncoding(path)
        var status = stat()
        let exists = stat(path, &status) == 0
        let isSpread = hasCompanions && (request.backing != nil || request.options["data_file"]?.contains("/") ?? false)
        if isSpread || (exists && status.st_mode & S_IFMT != S_IFREG) {
            (workPath, finalPath, workFolder, oldFile, lockDescriptor) = (path, path, nil, nil, -1)
            return
        }
        // Where the name is a link, what it points to is made or replaced, not the link.
        let final = try FilePath.followingLinks(path)
        // An image in use must not be replaced under its user's feet.
        oldFile = exists ? try FileStorage.open(final, readOnly: false) : nil
        finalPath = final
        let folder = FilePath.folder(of: final), name = FilePath.name(of: final)
        let stem = Self.stem(of: name)
        Self.removeAbandoned(in: folder, of: stem)
        let work = folder + "\(stem)\(getpid())" + Self.suffix
        workFolder = hasCompanions ? work + "/" : nil
        workPath = hasCompanions ? work + "/" + name : work
        lockDescriptor = Self.makeLocked(work, isFolder: hasCompanions)
    }

    /// What the names of works on a target begin with. Of a name that leaves no room for the rest (255 bytes are all that a
    /// file name may have) the end is replaced by a hash of it.
    private static func stem(of name: String) -> String {
        let kept = 200
        guard name.utf8.count > kept else { return ".\(name)." }
        let hash = name.utf8.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        return ".\(String(decoding: name.utf8.prefix(kept), as: UTF8.self))~\(String(hash, radix: 16))."
    }

    /// Makes the file or folder and locks it. Without a lock the work goes on; it is then only not protected from
    /// another process that makes the same target.
    private static func makeLocked(_ path: String, isFolder: Bool) -> Int32 {
        if isFolder { mkdir(path, 0o755) }
        let flags = isFolder ? O_RDONLY | O_DIRECTORY : O_RDWR | O_CREAT
        let descriptor = Glibc.open(path, flags | O_CLOEXEC, 0o644)
        if descriptor >= 0 { flock(descriptor, LOCK_EX | LOCK_NB) }
        return descriptor
    }

    /// Removes what processes that are no more have left of the same target.
    private static func removeAbandoned(in folder: String, of stem: String) {
        for found in names(in: folder.isEmpty ? "." : folder) {
            guard found.hasPrefix(stem), found.hasSuffix(suffix),
                Int32(found.dropFirst(stem.count).dropLast(suffix.count)) != nil
            else { continue }
            let path = folder + found
            let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
            guard descriptor >= 0 else { continue }
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { remove(path) }
            Glibc.close(descriptor)
        }
    }

    /// Removes a file, or a folder with the files in it.
    private static func remove(_ path: String) {
        if unlink(path) == 0 { return }
        for name in names(in: path) { unlink(path + "/" + name) }
        rmdir(path)
    }

    private static func names(in folder: String) -> [String] {
        guard let listing = opendir(folder) else { return [] }
        defer { closedir(listing) }
        var names: [String] = []
        while let entry = readdir(listing) {
            // SAFETY: readdir returns a terminated name that stays valid until the next call.
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Syncs the work and gives it its name; companions come first, so that who finds the image finds them too.
    func commit(syncing: Bool) throws(ImageError) {
        guard workPath != finalPath else { return }
        let name = FilePath.name(of: workPath)
        var moves: [(from: String, to: String)] = []
        if let workFolder {
            for companion in Self.names(in: workFolder) where companion != name {
                moves.append((workFolder + companion, FilePath.folder(of: finalPath) + companion))
            }
        }
        moves.append((workPath, finalPath))
        var status = stat()
        if oldFile != nil, stat(finalPath, &status) == 0 {
            // Only root can keep another's file his; the mode comes last, since a new owner takes bits of it away.
            chown(workPath, status.st_uid, status.st_gid)
            chmod(workPath, status.st_mode & 0o7777)
        }
        if syncing {
            for move in moves {
                let file = try FileStorage.open(move.from, readOnly: false, lock: .none)
                try file.syncAlways()
                file.close()
            }
        }
        for move in moves {
            let fault = HostFaults.failure(.rename, move.to)
            guard fault == nil, rename(move.from, move.to) == 0 else {
                throw .system(fault ?? errno, "Could not rename '\(move.from)' to '\(move.to)'", path: move.to)
            }
        }
        if let workFolder { rmdir(workFolder) }
        if syncing { syncFolder() }
        release()
    }

    /// The name is durable once the folder is.
    private func syncFolder() {
        let folder = FilePath.folder(of: finalPath)
        let descriptor = Glibc.open(folder.isEmpty ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if descriptor >= 0 {
            fsync(descriptor)
            Glibc.close(descriptor)
        }
    }

    /// A message with the names that the files would have had.
    func underFinalNames(_ message: String) -> String {
        guard workPath != finalPath else { return message }
        if let workFolder { return message.replacing(workFolder, with: FilePath.folder(of: finalPath)) }
        return message.replacing(workPath, with: finalPath)
    }

    /// Leaves nothing behind.
    func abandon() {
        if workPath != finalPath { Self.remove(workFolder.map { String($0.dropLast()) } ?? workPath) }
        release()
    }

    private func release() {
        if lockDescriptor >= 0 { Glibc.close(lockDescriptor) }
        oldFile?.close()
    }
}
