/// Files on a guest's disk, read while the guest is off.

/// A file system that is only read.
protocol GuestFileSystem {
    /// The content of a file.
    /// - Returns: nil where there is no such file.
    /// - Throws: `.corrupt`; `.unsupported` for what is no plain file, or is too large.
    func contents(of path: [String]) throws(ImageError) -> [UInt8]?
}

/// The file systems of a disk: on its partitions, or on the disk as a whole.
public struct GuestDisk {
    /// The largest file that is read.
    public static let largestFile: UInt64 = 64 << 20

    private let systems: [any GuestFileSystem]

    /// Finds ext2, ext3, ext4 and FAT.
    public init(_ device: any BlockDevice) throws(ImageError) {
        let disk = DiskWindow(device)
        if let whole = try Self.system(in: disk) {
            systems = [whole]
            return
        }
        var found: [any GuestFileSystem] = []
        for part in try PartitionTable.partitions(of: disk) {
            if let system = try Self.system(in: part) { found.append(system) }
        }
        systems = found
    }

    /// Whether there is anything that can be read.
    public var isEmpty: Bool { systems.isEmpty }

    /// The content of a file on the first file system that has it.
    /// - Parameter path: from the file system's root.
    public func contents(of path: String) throws(ImageError) -> [UInt8]? {
        let names = path.split(separator: "/").map(String.init).filter { $0 != "." }
        for system in systems {
            if let contents = try system.contents(of: names) { return contents }
        }
        return nil
    }

    private static func system(in window: DiskWindow) throws(ImageError) -> (any GuestFileSystem)? {
        if let ext = try ExtFileSystem(window) { return ext }
        return try FATFileSystem(window)
    }

    /// Names that `..` shortens.
    static func resolved(_ names: [String]) -> [String] {
        names.reduce(into: []) { path, name in
            if name != ".." { path.append(name) } else if !path.isEmpty { path.removeLast() }
        }
    }
}
