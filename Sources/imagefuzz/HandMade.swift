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
}
