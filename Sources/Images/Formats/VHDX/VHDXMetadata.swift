/// The metadata region ([MS-VHDX] 2.6): 0 "metadata", 10 entries (2); from 32 on 32 bytes each: item GUID, offset (4),
/// length (4), flags (4: 1 user, 2 virtual disk, 4 required).
struct VHDXMetadata {
    static let fileParameters = GUID(mixedEndian: "CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
    static let diskSize = GUID(mixedEndian: "2FA54224-CD1B-4876-B211-5DBED83BF4B8")
    static let page83 = GUID(mixedEndian: "BECA12AB-B2E6-4523-93EF-C309E000C746")
    static let logicalSector = GUID(mixedEndian: "8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
    static let physicalSector = GUID(mixedEndian: "CDA348C7-445D-4471-9CC9-E9885251C556")
    static let parentLocator = GUID(mixedEndian: "A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
    static let vhdxParent = GUID(mixedEndian: "B04AEFB7-D19E-4A81-B789-25B8E9445913")

    var blockBytes: UInt32
    var leavesBlocksAllocated = false
    var hasParent = false
    var size: UInt64
    var sectorBytes: UInt32 = 512
    /// Keys of the parent locator.
    var parent: [String: String] = [:]

    init(blockBytes: UInt32, size: UInt64) {
        self.blockBytes = blockBytes
        self.size = size
    }

    init(_ storage: any Storage, region: (offset: UInt64, length: UInt64)) throws(ImageError) {
        func bad(_ kind: ImageError.Kind, _ message: String) -> ImageError {
            ImageError(kind, message, format: "vhdx", path: storage.path, offset: region.offset)
        }
        let head = try storage.readBytes(at: region.offset, count: 65536)
        guard Array(head[0..<8]) == Array("metadata".utf8) else {
            throw bad(.corrupt, "the metadata table has no signature")
        }
        let count = Int(head.le16(10))
        guard count <= 2047 else { throw bad(.corrupt, "the metadata table has \(count) entries, at most 2047 fit") }
        var items: [GUID: [UInt8]] = [:]
        for index in 0..<count {
            let at = 32 + index * 32
            let identifier = GUID(bytes: Array(head[at..<at + 16]))
            let offset = UInt64(head.le32(at + 16)), length = UInt64(head.le32(at + 20)), flags = head.le32(at + 24)
            let known = [
                Self.fileParameters, Self.diskSize, Self.page83, Self.logicalSector, Self.physicalSector,
                Self.parentLocator,
            ]
            guard known.contains(identifier) else {
                guard flags & 4 == 0 else {
                    throw bad(.unsupported, "the image requires the unknown metadata \(identifier.mixedEndianText)")
                }
                continue
            }
            guard length <= 1 << 20, offset >= 65536, offset + length <= region.length else {
                throw bad(
                    .corrupt,
                    "metadata item \(identifier.mixedEndianText) of \(length) bytes at \(offset) leaves its region")
            }
            guard items[identifier] == nil else {
                throw bad(.corrupt, "metadata item \(identifier.mixedEndianText) is listed twice")
            }
            items[identifier] = try storage.readBytes(at: region.offset + offset, count: Int(length))
        }
        func item(_ identifier: GUID, _ length: Int, _ what: String) throws(ImageError) -> [UInt8] {
            guard let bytes = items[identifier], bytes.count >= length else {
                throw bad(.corrupt, "the metadata lack the \(what)")
            }
            return bytes
        }
        let parameters = try item(Self.fileParameters, 8, "file parameters")
        blockBytes = parameters.le32(0)
        guard blockBytes.nonzeroBitCount == 1, blockBytes >= 1 << 20, blockBytes <= 256 << 20 else {
            throw bad(.corrupt, "block size \(blockBytes) is not a power of two from 1 MiB to 256 MiB")
        }
        leavesBlocksAllocated = parameters.le32(4) & 1 != 0
        hasParent = parameters.le32(4) & 2 != 0
        size = try item(Self.diskSize, 8, "disk size").le64(0)
        guard size <= 64 << 40 else { throw bad(.corrupt, "disk size \(size) is above 64 TiB") }
        sectorBytes = try item(Self.logicalSector, 4, "logical sector size").le32(0)
        guard sectorBytes == 512 || sectorBytes == 4096 else {
            throw bad(.corrupt, "logical sector size \(sectorBytes) is neither 512 nor 4096")
        }
        guard size % UInt64(sectorBytes) == 0 else {
            throw bad(.corrupt, "disk size \(size) is not a multiple of \(sectorBytes)")
        }
        if hasParent { parent = try Self.locator(item(Self.parentLocator, 20, "parent locator"), bad) }
    }

    private static func locator(
        _ bytes: [UInt8], _ bad: (ImageError.Kind, String) -> ImageError
    ) throws(ImageError) -> [String: String] {
        guard GUID(bytes: Array(bytes[0..<16])) == vhdxParent else {
            throw bad(.unsupported, "the parent locator is of an unknown type")
        }
        var values: [String: String] = [:]
        for index in 0..<Int(bytes.le16(18)) {
            let at = 20 + index * 12
            guard at + 12 <= bytes.count else { throw bad(.corrupt, "the parent locator is cut short") }
            let key = (Int(bytes.le32(at)), Int(bytes.le16(at + 8))),
                value = (Int(bytes.le32(at + 4)), Int(bytes.le16(at + 10)))
            guard key.0 + key.1 <= bytes.count, value.0 + value.1 <= bytes.count else {
                throw bad(.corrupt, "a parent locator entry leaves it")
            }
            func text(_ place: (Int, Int)) -> String {
                String(
                    decoding: stride(from: place.0, to: place.0 + place.1 - 1, by: 2).map { bytes.le16($0) },
                    as: UTF16.self)
            }
            values[text(key)] = text(value)
        }
        return values
    }

    /// The whole region, 1 MiB.
    func encoded() -> [UInt8] {
        var items: [(GUID, flags: UInt32, [UInt8])] = []
        var parameters: [UInt8] = []
        parameters.putLE(blockBytes)
        parameters.putLE(UInt32((leavesBlocksAllocated ? 1 : 0) | (hasParent ? 2 : 0)))
        items.append((Self.fileParameters, 4, parameters))
        var number: [UInt8] = []
        number.putLE(size)
        items.append((Self.diskSize, 6, number))
        items.append((Self.page83, 6, GUID.random().bytes))
        for identifier in [Self.logicalSector, Self.physicalSector] {
            var sector: [UInt8] = []
            sector.putLE(identifier == Self.logicalSector ? sectorBytes : 4096)
            items.append((identifier, 6, sector))
        }
        if hasParent { items.append((Self.parentLocator, 4, encodedLocator())) }
        var table = Array("metadata".utf8) + [0, 0]
        table.putLE(UInt16(items.count))
        table += [UInt8](repeating: 0, count: 20)
        var data: [UInt8] = []
        for (identifier, flags, bytes) in items {
            table += identifier.bytes
            table.putLE(UInt32(65536 + data.count))
            table.putLE(UInt32(bytes.count))
            table.putLE(flags)
            table.putLE(UInt32(0))
            data += bytes
        }
        table += [UInt8](repeating: 0, count: 65536 - table.count)
        return table + data + [UInt8](repeating: 0, count: (1 << 20) - 65536 - data.count)
    }

    private func encodedLocator() -> [UInt8] {
        func utf16(_ text: String) -> [UInt8] {
            text.utf16.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
        }
        let pairs = parent.sorted { $0.key < $1.key }.map { (utf16($0.key), utf16($0.value)) }
        var out = Self.vhdxParent.bytes + [0, 0]
        out.putLE(UInt16(pairs.count))
        var strings: [UInt8] = []
        let base = 20 + pairs.count * 12
        for (key, value) in pairs {
            out.putLE(UInt32(base + strings.count))
            out.putLE(UInt32(base + strings.count + key.count))
            out.putLE(UInt16(key.count))
            out.putLE(UInt16(value.count))
            strings += key + value
        }
        return out + strings
    }
}
