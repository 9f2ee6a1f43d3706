import Testing

@testable import Images

/// Damaged block tables of other formats: a write that would land on metadata or on another block's data is refused, and
/// every file stays as it is.
@Suite struct BlockPlacesTests {
    /// An image whose block table is damaged: where in the file the entries for blocks 0 and 1 lie, and what entry 1
    /// becomes.
    struct Damage: Sendable, CustomTestStringConvertible {
        var format: String
        var options: [String: String] = [:]
        var name: String
        /// Offset of the first entry, width, order of bytes.
        var table: @Sendable ([UInt8]) -> Int
        var width: Int
        var isBigEndian = false
        /// The value for entry 1 of entry 0.
        var value: @Sendable (UInt64) -> UInt64
        var testDescription: String { "\(format): block 1 on \(name)" }
    }

    private static func le(_ bytes: [UInt8], _ at: Int, _ count: Int) -> Int {
        (0..<count).reduce(0) { $0 | Int(bytes[at + $1]) << ($1 * 8) }
    }

    private static let vdiTable: @Sendable ([UInt8]) -> Int = { le($0, 340, 4) }
    private static let vhdTable: @Sendable ([UInt8]) -> Int = { Int($0.be64(Int($0.be64(16)) + 16)) }
    private static let vhdxTable: @Sendable ([UInt8]) -> Int = { _ in 3 << 20 }
    private static let vmdkTable: @Sendable ([UInt8]) -> Int = { le($0, le($0, 56, 8) * 512, 4) * 512 }
    private static let parallelsTable: @Sendable ([UInt8]) -> Int = { _ in 64 }
    private static let qcowTable: @Sendable ([UInt8]) -> Int = { Int($0.be64(Int($0.be64(40)))) }

    static let damages: [Damage] = [
        Damage(format: "vdi", name: "block 0", table: vdiTable, width: 4) { $0 },
        Damage(format: "vpc", name: "block 0", table: vhdTable, width: 4, isBigEndian: true) { $0 },
        Damage(format: "vpc", name: "a part of block 0", table: vhdTable, width: 4, isBigEndian: true) { $0 + 16 },
        Damage(format: "vpc", name: "the block table", table: vhdTable, width: 4, isBigEndian: true) { _ in 3 },
        Damage(
            format: "vhdx", options: ["block_size": "1M"], name: "block 0", table: vhdxTable, width: 8
        ) { $0 },
        Damage(
            format: "vhdx", options: ["block_size": "1M"], name: "the log", table: vhdxTable, width: 8
        ) { _ in 1 << 20 | 6 },
        Damage(
            format: "vhdx", options: ["block_size": "1M"], name: "the metadata", table: vhdxTable, width: 8
        ) { _ in 2 << 20 | 6 },
        Damage(
            format: "vhdx", options: ["block_size": "1M"], name: "the block table", table: vhdxTable, width: 8
        ) { _ in 3 << 20 | 6 },
        Damage(format: "vmdk", name: "block 0", table: vmdkTable, width: 4) { $0 },
        Damage(format: "vmdk", name: "the header", table: vmdkTable, width: 4) { _ in 2 },
        Damage(format: "vmdk", name: "a grain table", table: vmdkTable, width: 4) { $0 - 8 },
        Damage(format: "parallels", name: "block 0", table: parallelsTable, width: 4) { $0 },
        Damage(format: "qcow", name: "block 0", table: qcowTable, width: 8, isBigEndian: true) { $0 },
        Damage(format: "qcow", name: "the L2 table", table: qcowTable, width: 8, isBigEndian: true) { $0 - 4096 },
        Damage(format: "qcow", name: "the header", table: qcowTable, width: 8, isBigEndian: true) { _ in 32 },
    ]

    @Test(arguments: damages) func noWriteLandsOnWhatIsNotTheBlocksOwn(damage: Damage) throws {
        let scratch = Scratch()
        let path = scratch.path("d.img")
        var request = CreateRequest(path: path, size: 16 << 20, options: damage.options)
        request.options = damage.options
        try DiskImage.create(request, format: damage.format)
        let writer = try open(path, format: damage.format)
        let block = writer.clusterSize ?? 1 << 20
        try writer.put([UInt8](repeating: 1, count: block), at: 0)
        try writer.put([UInt8](repeating: 2, count: block), at: UInt64(block))
        try writer.close()
        let file = try FileStorage.open(path, readOnly: false, lock: .none)
        let bytes = try file.readBytes(at: 0, count: Int(file.byteCount))
        let place = damage.table(bytes)
        var entry: UInt64 = 0
        for index in 0..<damage.width {
            let shift = UInt64(8 * (damage.isBigEndian ? damage.width - 1 - index : index))
            entry |= UInt64(bytes[place + index]) << shift
        }
        let value = damage.value(entry)
        let raw = (0..<damage.width).map { index in
            UInt8(truncatingIfNeeded: value >> UInt64(8 * (damage.isBigEndian ? damage.width - 1 - index : index)))
        }
        try file.write(raw, at: UInt64(place + damage.width))
        let before = try file.readBytes(at: 0, count: Int(file.byteCount))
        file.close()
        for offset in [10, block + 10, 4 * block, 6 * block] {
            let device = try open(path, format: damage.format)
            let error = #expect(throws: ImageError.self) { try device.put([0xee], at: UInt64(offset)) }
            #expect(error?.kind == .corrupt, "\(error?.message ?? "")")
            #expect(throws: ImageError.self) { try device.writeZeroes(at: UInt64(offset), count: 1, mayUnmap: true) }
            #expect(throws: ImageError.self) { try device.discard(at: 0, count: UInt64(2 * block)) }
            try device.close()
        }
        let again = try FileStorage.open(path, readOnly: true, lock: .none)
        #expect(firstDifference(try again.readBytes(at: 0, count: Int(again.byteCount)), before) == nil)
        again.close()
        // Block 0 can still be read.
        let reader = try open(path, format: damage.format, readOnly: true)
        #expect(try reader.bytes(at: 0, count: block).allSatisfy { $0 == 1 })
        try reader.close()
    }

    @Test func flatExtentsThatShareBytesAreNotWritten() throws {
        let scratch = Scratch()
        let path = scratch.path("two.vmdk")
        let data = try FileStorage.create(scratch.path("two-flat.vmdk"))
        try data.resize(to: 2 << 20)
        data.close()
        let text = """
            # Disk DescriptorFile
            version=1
            CID=12345678
            parentCID=ffffffff
            createType="twoGbMaxExtentFlat"
            RW 2048 FLAT "two-flat.vmdk" 0
            RW 2048 FLAT "two-flat.vmdk" 1024

            """
        let descriptor = try FileStorage.create(path)
        try descriptor.write(Array(text.utf8), at: 0)
        descriptor.close()
        let device = try DiskImage.open(path, options: OpenOptions(readOnly: false, lock: .none))
        let error = #expect(throws: ImageError.self) { try device.put([1], at: 0) }
        #expect(error?.kind == .corrupt)
        try device.close()
    }

    @Test(arguments: [1 << 48, 1 << 55, UInt64.max])
    func aFlatExtentThatBeginsBeyondAnyFileIsRefused(sector: UInt64) throws {
        let scratch = Scratch()
        let data = try FileStorage.create(scratch.path("far-flat.vmdk"))
        try data.resize(to: 1 << 20)
        data.close()
        let path = scratch.path("far.vmdk")
        let text = """
            # Disk DescriptorFile
            version=1
            CID=12345678
            parentCID=ffffffff
            createType="monolithicFlat"
            RW 2048 FLAT "far-flat.vmdk" \(sector)

            """
        let descriptor = try FileStorage.create(path)
        try descriptor.write(Array(text.utf8), at: 0)
        descriptor.close()
        let error = #expect(throws: ImageError.self) { try DiskImage.open(path, options: OpenOptions(lock: .none)) }
        #expect(error?.kind == .corrupt)
    }

    @Test func aLUKSPayloadOnItsOwnHeaderIsNotWritten() throws {
        let scratch = Scratch()
        let path = scratch.path("d.luks")
        var request = CreateRequest(path: path, size: 1 << 20, options: ["key-secret": "s", "iter-time": "10"])
        request.secrets = ["s": Array("secret".utf8)]
        try DiskImage.create(request, format: "luks")
        let file = try FileStorage.open(path, readOnly: false, lock: .none)
        try file.write([0, 0, 0, 0], at: 104)
        file.close()
        var options = OpenOptions(format: "luks", readOnly: false)
        options.secrets = request.secrets
        let error = #expect(throws: ImageError.self) { try DiskImage.open(path, options: options) }
        #expect(error?.kind == .corrupt)
    }
}
