/// ext2, ext3 and ext4 (Linux documentation, filesystems/ext4), read only. The journal is not played back: a guest that was
/// powered off has done so.
///
/// | offset | size | superblock, 1024 bytes into the file system |
/// | --- | --- | --- |
/// | 0x14 | 4 | first data block |
/// | 0x18 | 4 | block size: 1024 << this |
/// | 0x28 | 4 | inodes per group |
/// | 0x38 | 2 | 0xEF53 |
/// | 0x58 | 2 | bytes of an inode (revision 1) |
/// | 0x60 | 4 | features that a reader has to know |
/// | 0xFE | 2 | bytes of a group descriptor (64-bit) |
///
/// | offset | size | inode |
/// | --- | --- | --- |
/// | 0x00 | 2 | mode |
/// | 0x04, 0x6C | 4, 4 | size, low and high half |
/// | 0x20 | 4 | flags |
/// | 0x28 | 60 | extents, block numbers, the target of a short link, or the beginning of a small file |
/// | 0x80 | 2 | bytes of fields behind the first 128; attributes follow: `system.data` is the rest of a small file |
struct ExtFileSystem: GuestFileSystem {
    private enum Feature {
        static let compression: UInt32 = 0x1, journalDevice: UInt32 = 0x8, metaGroups: UInt32 = 0x10
        static let wide: UInt32 = 0x80, directoryData: UInt32 = 0x1000
        static let unreadable = compression | journalDevice | metaGroups | directoryData
    }
    private enum Flag {
        static let encrypted: UInt32 = 0x800, extents: UInt32 = 0x80000, inline: UInt32 = 0x1000_0000
    }
    private enum Mode { static let kind = 0xF000, folder = 0x4000, file = 0x8000, link = 0xA000 }

    private static let rootInode: UInt32 = 2
    /// As many links as Linux follows.
    private static let mostLinks = 40
    private static let deepestTree = 5
    private static let inlineBytes = 60

    private let window: DiskWindow
    private let blockSize: Int
    private let inodesPerGroup: UInt32
    private let inodeSize: Int
    private let descriptorSize: Int
    private let descriptors: UInt64

    /// - Returns: nil where there is no such file system.
    init?(_ window: DiskWindow) throws(ImageError) {
        guard window.length >= 4096 else { return nil }
        let superblock = try window.bytes(at: 1024, count: 1024)
        guard superblock.word(0x38) == 0xEF53 else { return nil }
        let shift = superblock.long(0x18)
        inodesPerGroup = superblock.long(0x28)
        inodeSize = superblock.long(0x4C) == 0 ? 128 : superblock.word(0x58)
        let features = superblock.long(0x60)
        guard shift <= 6, inodesPerGroup > 0, (128...4096).contains(inodeSize) else {
            throw ImageError(.corrupt, "the superblock of an ext file system cannot be right", path: window.device.path)
        }
        guard features & Feature.unreadable == 0 else {
            throw ImageError(
                .unsupported,
                "an ext file system has features that cannot be read here (0x\(String(features, radix: 16)))",
                path: window.device.path)
        }
        blockSize = 1024 << Int(shift)
        descriptorSize = features & Feature.wide != 0 ? max(64, superblock.word(0xFE)) : 32
        descriptors = (UInt64(superblock.long(0x14)) + 1) * UInt64(blockSize)
        self.window = window
    }

    func contents(of path: [String]) throws(ImageError) -> [UInt8]? {
        guard let inode = try find(path) else { return nil }
        guard inode.kind == Mode.file else {
            throw ImageError(.unsupported, "/\(path.joined(separator: "/")) is not a file", path: window.device.path)
        }
        return try content(of: inode)
    }

    // MARK: Names

    /// The inode that a path leads to, links followed.
    private func find(_ path: [String]) throws(ImageError) -> Inode? {
        var walked: [String] = []
        var left = path
        var inode = try inode(Self.rootInode)
        var links = 0
        while !left.isEmpty {
            let name = left.removeFirst()
            if name == ".." {
                left = GuestDisk.resolved(walked + [name]) + left
                (walked, inode) = ([], try self.inode(Self.rootInode))
                continue
            }
            guard inode.kind == Mode.folder, let number = try entry(name, in: inode) else { return nil }
            let next = try self.inode(number)
            guard next.kind == Mode.link else {
                walked.append(name)
                inode = next
                continue
            }
            links += 1
            guard links <= Self.mostLinks else {
                throw ImageError(
                    .corrupt, "/\(path.joined(separator: "/")) is a link that leads round in a circle",
                    path: window.device.path)
            }
            let target = String(decoding: try content(of: next), as: UTF8.self)
            let names = target.split(separator: "/").map(String.init).filter { $0 != "." }
            left = (target.hasPrefix("/") ? [] : walked) + names + left
            (walked, inode) = ([], try self.inode(Self.rootInode))
        }
        return inode
    }

    /// The inode number of a name in a folder. Entries of hash trees look like unused ones.
    private func entry(_ name: String, in folder: Inode) throws(ImageError) -> UInt32? {
        let bytes = FieldBytes(try content(of: folder))
        let wanted = Array(name.utf8)
        var offset = 0
        while offset + 8 <= bytes.count {
            let length = bytes.word(offset + 4)
            guard length >= 8 else { break }
            let number = bytes.long(offset)
            if number != 0, bytes.slice(offset + 8, Int(bytes.byte(offset + 6))).elementsEqual(wanted) { return number }
            // 64 KiB do not fit the field.
            offset += length == 0xFFFF ? blockSize : length
        }
        return nil
    }

    // MARK: Inodes

    private struct Inode {
        var kind: Int
        var size: UInt64
        var flags: UInt32
        /// The 60 bytes that say where the content is.
        var map: FieldBytes
        /// All of it.
        var bytes: FieldBytes
    }

    private func inode(_ number: UInt32) throws(ImageError) -> Inode {
        guard number > 0 else { throw corrupt("an inode has the number 0") }
        let (group, index) = (number - 1).quotientAndRemainder(dividingBy: inodesPerGroup)
        let descriptor = try window.bytes(
            at: descriptors + UInt64(group) * UInt64(descriptorSize), count: descriptorSize)
        let table = UInt64(descriptor.long(0x08)) | (descriptorSize > 32 ? UInt64(descriptor.long(0x28)) << 32 : 0)
        let bytes = try window.bytes(
            at: try place(of: table) + UInt64(index) * UInt64(inodeSize), count: inodeSize)
        return Inode(
            kind: bytes.word(0) & Mode.kind, size: UInt64(bytes.long(0x04)) | UInt64(bytes.long(0x6C)) << 32,
            flags: bytes.long(0x20), map: FieldBytes(Array(bytes.slice(0x28, Self.inlineBytes))),
            bytes: bytes)
    }

    private func place(of block: UInt64) throws(ImageError) -> UInt64 {
        guard block <= window.length / UInt64(blockSize) else { throw corrupt("block \(block) is beyond its end") }
        return block * UInt64(blockSize)
    }

    private func content(of inode: Inode) throws(ImageError) -> [UInt8] {
        guard inode.size <= GuestDisk.largestFile else {
            throw ImageError(
                .unsupported, "a file of \(inode.size) bytes is not read here: at most \(GuestDisk.largestFile)",
                path: window.device.path)
        }
        guard inode.flags & Flag.encrypted == 0 else {
            throw ImageError(.unsupported, "the file is encrypted", path: window.device.path)
        }
        let isShortLink =
            inode.kind == Mode.link && inode.flags & Flag.extents == 0 && inode.size < UInt64(Self.inlineBytes)
        if isShortLink || inode.flags & Flag.inline != 0 {
            let content = Array(inode.map.bytes + inlineRest(inode)).prefix(Int(inode.size))
            guard content.count == Int(inode.size) else { throw corrupt("a small file is cut short") }
            // A folder begins with its parent's number, for which there is no name.
            return Array(content.dropFirst(inode.kind == Mode.folder ? 4 : 0))
        }
        var content = [UInt8](repeating: 0, count: Int(inode.size))
        func put(_ logical: UInt64, _ block: UInt64, _ count: UInt64) throws(ImageError) {
            // What lies behind the end is nobody's.
            let first = Int(clamping: logical) &* blockSize
            guard logical < inode.size, first < content.count else { return }
            let length = min(Int(count) * blockSize, content.count - first)
            let bytes = try window.bytes(at: try place(of: block), count: length)
            content.replaceSubrange(first..<first + length, with: bytes.bytes)
        }
        if inode.flags & Flag.extents != 0 {
            try readExtents(inode.map, depth: Self.deepestTree, put)
        } else {
            try readBlockMap(inode, put)
        }
        return content
    }

    /// What of a small file did not get into its map: the attribute `data` of the name space `system` (7).
    private func inlineRest(_ inode: Inode) -> [UInt8] {
        let bytes = inode.bytes
        let start = 128 + bytes.word(0x80)
        guard bytes.long(start) == 0xEA02_0000 else { return [] }
        var entry = start + 4
        while entry + 16 <= bytes.count, bytes.long(entry) != 0 {
            let nameLength = Int(bytes.byte(entry))
            if bytes.byte(entry + 1) == 7, bytes.slice(entry + 16, nameLength).elementsEqual("data".utf8) {
                return Array(bytes.slice(start + 4 + bytes.word(entry + 2), Int(bytes.long(entry + 8))))
            }
            entry += 16 + (nameLength + 3) & ~3
        }
        return []
    }

    private typealias Put = (_ logical: UInt64, _ block: UInt64, _ count: UInt64) throws(ImageError) -> Void

    /// A node of an extent tree: header (0xF30A, entries at 2, depth at 6), then entries of 12 bytes.
    private func readExtents(_ node: FieldBytes, depth: Int, _ put: Put) throws(ImageError) {
        guard node.word(0) == 0xF30A, depth >= 0 else { throw corrupt("an extent tree is damaged") }
        let isLeaf = node.word(6) == 0
        for index in 0..<min(node.word(2), node.count / 12 - 1) {
            let entry = 12 + 12 * index
            let logical = UInt64(node.long(entry))
            if isLeaf {
                // Longer ones are set aside and were never written: they read as zeros.
                let length = node.word(entry + 4)
                guard length <= 0x8000 else { continue }
                try put(logical, UInt64(node.long(entry + 8)) | UInt64(node.word(entry + 6)) << 32, UInt64(length))
            } else {
                let block = UInt64(node.long(entry + 4)) | UInt64(node.word(entry + 8)) << 32
                try readExtents(
                    try window.bytes(at: try place(of: block), count: blockSize), depth: depth - 1, put)
            }
        }
    }

    /// Twelve blocks, then one, two and three levels of blocks of block numbers.
    private func readBlockMap(_ inode: Inode, _ put: Put) throws(ImageError) {
        let last = (inode.size + UInt64(blockSize) - 1) / UInt64(blockSize)
        var logical: UInt64 = 0
        func read(_ block: UInt64, levels: Int) throws(ImageError) {
            let perBlock = UInt64(blockSize / 4)
            guard levels > 0 else {
                if block != 0 { try put(logical, block, 1) }
                logical += 1
                return
            }
            guard block != 0 else {
                logical += (0..<levels).reduce(1) { count, _ in count * perBlock }
                return
            }
            let numbers = try window.bytes(at: try place(of: block), count: blockSize)
            for index in 0..<Int(perBlock) where logical < last {
                try read(UInt64(numbers.long(4 * index)), levels: levels - 1)
            }
        }
        for index in 0..<15 where logical < last {
            try read(UInt64(inode.map.long(4 * index)), levels: max(0, index - 11))
        }
    }

    private func corrupt(_ what: String) -> ImageError {
        ImageError(.corrupt, "an ext file system is damaged: \(what)", path: window.device.path)
    }
}
