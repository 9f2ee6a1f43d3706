/// Seeds of formats that nobody but their vendor writes: the smallest image with a few blocks of data.
enum HandMade {
    private static func put(_ value: UInt64, _ width: Int, at offset: Int, in bytes: inout [UInt8]) {
        for index in 0..<width { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index)) }
    }

    private static func put(_ text: String, at offset: Int, in bytes: inout [UInt8]) {
        bytes.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
    }

    /// Bochs "growing", version 2: four extents of 8 KiB, two of them there.
    @Sendable static func bochs() -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 512 + 16 + 2 * (512 + 8192))
        put("Bochs Virtual HD Image", at: 0, in: &out)
        put("Redolog", at: 32, in: &out)
        put("Growing", at: 48, in: &out)
        for (offset, value) in [(64, 0x20000), (68, 512), (72, 4), (76, 512), (80, 8192), (88, 32768)] {
            put(UInt64(value), 4, at: offset, in: &out)
        }
        for (index, entry) in [UInt64(1), 0xffff_ffff, 0, 0xffff_ffff].enumerated() {
            put(entry, 4, at: 512 + index * 4, in: &out)
        }
        for extent in 0..<2 { put(0x5a5a, 2, at: 528 + extent * (512 + 8192), in: &out) }
        return out
    }

    /// An ESX sparse extent on its own: grains of one sector, one table.
    @Sendable static func cowd() -> [UInt8] {
        var out = [UInt8](repeating: 0, count: (4 + 4 + 32 + 8) * 512)
        put("COWD", at: 0, in: &out)
        for (offset, value) in [(4, 1), (8, 3), (12, 64), (16, 1), (20, 4), (24, 1), (28, 48)] {
            put(UInt64(value), 4, at: offset, in: &out)
        }
        put(8, 4, at: 4 * 512, in: &out)
        for grain in 0..<8 { put(UInt64(40 + grain), 4, at: 8 * 512 + grain * 8, in: &out) }
        return out
    }

    /// The descriptor of `seSparse`.
    @Sendable static func seSparseDescriptor() -> [UInt8] {
        Array(
            """
            # Disk DescriptorFile
            version=1
            CID=fffffffe
            parentCID=ffffffff
            createType="seSparse"
            RW 128 SESPARSE "image-sesparse.vmdk"

            """.utf8)
    }

    /// A seSparse extent of 64 KiB: directory, one grain table, three grains.
    @Sendable static func seSparse() -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 88 * 512)
        for (offset, value) in [
            (0, 0xcafe_babe), (8, 0x2_0000_0001), (16, 128), (24, 8), (32, 64), (80, 1), (88, 1), (96, 2), (104, 1),
            (112, 3), (120, 1), (128, 4), (136, 1), (144, 5), (152, 64), (160, 69), (168, 1), (176, 70), (184, 1),
            (192, 72), (200, 16),
        ] { put(UInt64(value), 8, at: offset, in: &out) }
        put(0xcafe_cafe, 8, at: 512, in: &out)
        put(0x1000_0000_0000_0000, 8, at: 4 * 512, in: &out)
        for (grain, entry) in [UInt64(0x3000_0000_0000_0000), 1 << 60, 2 << 60, 0x3001_0000_0000_0000].enumerated() {
            put(entry, 8, at: 5 * 512 + grain * 8, in: &out)
        }
        return out
    }

    static let applianceDescriptor =
        "<?xml version=\"1.0\"?><Envelope><References><File id=\"f\" href=\"d.vmdk\"/></References>"
        + "<DiskSection><Disk diskId=\"d\" fileRef=\"f\"/></DiskSection></Envelope>"

    // MARK: Apple disk images

    private static func be(_ value: UInt64, _ width: Int) -> [UInt8] {
        (0..<width).reversed().map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
    }

    /// A zlib stream of one stored block.
    private static func stored(_ bytes: [UInt8]) -> [UInt8] {
        var low: UInt32 = 1, high: UInt32 = 0
        for byte in bytes {
            low = (low + UInt32(byte)) % 65521
            high = (high + low) % 65521
        }
        let count = UInt16(bytes.count)
        let head: [UInt8] = [
            0x78, 1, 1, UInt8(count & 0xff), UInt8(count >> 8), UInt8(~count & 0xff), UInt8(~count >> 8),
        ]
        return head + bytes + be(UInt64(high << 16 | low), 4)
    }

    /// Data of a disk of 64 sectors and the table over it: 8 raw, 8 zeros, 8 ignored, 8 in zlib, 8 in LZFSE,
    /// the rest in no chunk.
    private static func dmgParts() -> (data: [UInt8], table: [UInt8]) {
        let sectors = [UInt8](repeating: 0, count: 4096).indices.map { UInt8(truncatingIfNeeded: $0 / 7) }
        let packed = stored(sectors), stream = lzfseStream()
        var table = Array("mish".utf8) + be(1, 4) + be(0, 8) + be(64, 8) + be(0, 8)
        table += [UInt8](repeating: 0, count: 200 - table.count) + be(6, 4)
        for (kind, first, place, length) in [
            (1, 0, 0, 4096), (0, 8, 0, 0), (2, 16, 0, 0), (0x8000_0005, 24, 4096, packed.count),
            (0x8000_0007, 32, UInt64(4096 + packed.count), stream.count),
        ] as [(UInt64, UInt64, UInt64, Int)] {
            table += be(kind, 4) + be(0, 4) + be(first, 8) + be(8, 8) + be(place, 8) + be(UInt64(length), 8)
        }
        table += be(0xffff_ffff, 4) + [UInt8](repeating: 0, count: 36)
        return (sectors + packed + stream, table)
    }

    private static func trailer(data: Int, fork: Int, list: Int) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 512)
        func put(_ bytes: [UInt8], _ at: Int) { out.replaceSubrange(at..<at + bytes.count, with: bytes) }
        put(Array("koly".utf8) + be(4, 4) + be(512, 4), 0)
        put(be(0, 8) + be(UInt64(data), 8), 24)
        put(be(UInt64(data), 8) + be(UInt64(fork), 8), 40)
        put(be(UInt64(data), 8) + be(UInt64(list), 8), 216)
        put(be(64, 8), 492)
        return out
    }

    /// With its table in a resource fork.
    @Sendable static func dmgWithFork() -> [UInt8] {
        let (data, table) = dmgParts()
        var fork = be(16, 4) + be(UInt64(16 + 4 + table.count), 4) + [UInt8](repeating: 0, count: 8)
        fork += be(UInt64(table.count), 4) + table
        // The map: list of kinds at 28, one kind, its one reference behind it.
        fork += [UInt8](repeating: 0, count: 24) + be(28, 2) + be(50, 2)
        fork += be(0, 2) + Array("blkx".utf8) + be(0, 2) + be(10, 2) + be(0, 4) + be(0, 4) + be(0, 4)
        return data + fork + trailer(data: data.count, fork: fork.count, list: 0)
    }

    /// With its table in a property list.
    @Sendable static func dmgWithList() -> [UInt8] {
        let (data, table) = dmgParts()
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        for start in stride(from: 0, to: table.count, by: 3) {
            let three = Array((table[start..<min(start + 3, table.count)] + [0, 0]).prefix(3))
            let bits = UInt32(three[0]) << 16 | UInt32(three[1]) << 8 | UInt32(three[2])
            for shift in [18, 12, 6, 0] { text.append(digits[Int(bits >> UInt32(shift) & 63)]) }
        }
        let list =
            Array("<?xml version=\"1.0\"?><plist><dict><key>resource-fork</key><dict><key>blkx</key><array>".utf8)
            + Array("<dict><key>Data</key><data>".utf8) + text
            + Array("</data></dict></array></dict></dict></plist>".utf8)
        return data + list + trailer(data: data.count, fork: 0, list: list.count)
    }
}
