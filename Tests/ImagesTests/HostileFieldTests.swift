import Testing

@testable import Images

/// Every class of bad field in every format that has such a field: one clear error that names format, place and value.
@Suite struct HostileFieldTests {
    private static let everything: UInt64 = .max

    static let vdi: [HostileImage] = [
        HostileImage("vdi", "signature", [(64, 4, 1)], saying: "signature"),
        HostileImage("vdi", "version 9.9", [(68, 4, 0x9_0009)], saying: "version 9.9"),
        HostileImage("vdi", "block size zero", [(376, 4, 0)], saying: "block size 0"),
        HostileImage("vdi", "huge block size", [(376, 4, 0x8000_0000)], saying: "2147483648"),
        HostileImage("vdi", "overflowing disk size", [(368, 8, everything)], saying: "18446744073709551615"),
        HostileImage("vdi", "block map of 4 billion entries", [(384, 4, 0xffff_ffff)], saying: "disk size"),
        HostileImage("vdi", "block map out of the file", [(340, 4, 0x7fff_fe00)], saying: "0x7ffffe00"),
        HostileImage("vdi", "data over the block map", [(344, 4, 0x200)], saying: "does not fit before the data"),
        HostileImage("vdi", "block beyond the map", [(512, 4, 0x0fff_ffff)], fails: .read, saying: "268435455"),
        HostileImage("vdi", "two blocks at one place", [(516, 4, 0)], fails: .check, saying: "also used"),
    ]

    static let vhd: [HostileImage] = [
        HostileImage("vpc", "unknown type", [(60, 4, 7), (-452, 4, 7)], saying: "type 7"),
        HostileImage(
            "vpc", "disk of 2^63 bytes", [(48, 8, 1 << 63), (-464, 8, 1 << 63)], options: ["force_size": "on"],
            saying: "2040 GiB"),
        HostileImage("vpc", "header out of the file", [(16, 8, 1 << 40), (-496, 8, 1 << 40)], saying: "0x10000000000"),
        HostileImage("vpc", "block size zero", [(544, 4, 0)], saying: "block size 0"),
        HostileImage("vpc", "block size of no power of two", [(544, 4, 3 << 20)], saying: "3145728"),
        HostileImage("vpc", "huge block size", [(544, 4, 0x8000_0000)], saying: "2147483648"),
        HostileImage("vpc", "table of 4 billion entries", [(540, 4, 0xffff_ffff)], saying: "4294967295"),
        HostileImage("vpc", "table too short", [(540, 4, 1)], saying: "too small"),
        HostileImage("vpc", "table out of the file", [(528, 8, everything - 511)], saying: "0xfffffffffffffe00"),
        HostileImage(
            "vpc", "block out of the file", [(1536, 4, 0x7fff_ffff)], fails: .read, saying: "outside the file"),
    ]

    /// Places in a VHDX of this library: region table rows for the block table and the metadata, then the metadata items.
    private static let batRow = (192 << 10) + 16, metadataRow = (192 << 10) + 48, metadata = 2 << 20, bat = 3 << 20

    private static func vhdx(
        _ name: String, _ edits: [(Int, Int, UInt64)], fails stage: HostileImage.Stage = .open, saying says: String
    ) -> HostileImage {
        // Whatever is done to the first region table or header is done to the second.
        let copies = edits.filter { (192 << 10..<256 << 10).contains($0.0) }.map { ($0.0 + 65536, $0.1, $0.2) }
        let headers = edits.filter { (64 << 10..<128 << 10).contains($0.0) }.map { ($0.0 + 65536, $0.1, $0.2) }
        return HostileImage(
            "vhdx", name, edits + copies + headers, options: ["block_size": "1M"], fails: stage, saying: says)
    }

    static let vhdx: [HostileImage] = [
        vhdx("log of 4 GiB", [(65536 + 68, 4, 0xfff0_0000)], saying: "4293918720"),
        vhdx("log at no multiple of 1 MiB", [(65536 + 72, 8, 12345)], saying: "0x3039"),
        vhdx("dirty log out of the file", [(65536 + 48, 8, 1), (65536 + 72, 8, 1 << 40)], saying: "does not lie"),
        vhdx("dirty log with nothing in it", [(65536 + 48, 8, 1)], saying: "no complete sequence"),
        vhdx("5000 regions", [((192 << 10) + 8, 4, 5000)], saying: "5000"),
        vhdx("regions that overlap", [(batRow + 16, 8, UInt64(metadata))], saying: "overlap"),
        vhdx("region out of the file", [(batRow + 16, 8, 1 << 45)], saying: "block table"),
        vhdx("required unknown region", [(batRow, 4, 7)], saying: "unknown region"),
        vhdx("5000 metadata items", [(metadata + 10, 2, 5000)], saying: "5000"),
        vhdx("metadata item out of its region", [(metadata + 48, 4, 0xffff_0000)], saying: "leaves its region"),
        vhdx("block size zero", [(metadata + 65536, 4, 0)], saying: "block size 0"),
        vhdx("block size 512 MiB", [(metadata + 65536, 4, 512 << 20)], saying: "536870912"),
        vhdx("disk of 2^64 - 512 bytes", [(metadata + 65544, 8, everything - 511)], saying: "64 TiB"),
        vhdx("disk larger than its table", [(metadata + 65544, 8, 60 << 40)], saying: "block table needs"),
        vhdx("sector size zero", [(metadata + 65568, 4, 0)], saying: "sector size 0"),
        vhdx("block of an unknown state", [(bat, 8, 4)], fails: .read, saying: "state 4"),
        vhdx("block out of the file", [(bat, 8, 1 << 40 | 6)], fails: .read, saying: "0x10000000000"),
        vhdx("two blocks at one place", [(bat + 8, 8, 4 << 20 | 6)], fails: .check, saying: "share"),
    ]

    static let vmdk: [HostileImage] = [
        HostileImage("vmdk", "version 9", [(4, 4, 9)], saying: "version 9"),
        HostileImage("vmdk", "overflowing capacity", [(12, 8, everything)], saying: "18446744073709551615"),
        HostileImage("vmdk", "directory of too many entries", [(12, 8, 1 << 50)], saying: "L1 size too big"),
        HostileImage("vmdk", "grain size zero", [(20, 8, 0)], saying: "granularity"),
        HostileImage("vmdk", "grain size of no power of two", [(20, 8, 3)], saying: "3 sectors"),
        HostileImage("vmdk", "huge grain", [(20, 8, 1 << 30)], saying: "1073741824"),
        HostileImage("vmdk", "descriptor of 4 GiB", [(36, 8, 1 << 23)], saying: "descriptor"),
        HostileImage("vmdk", "grain tables of no entries", [(44, 4, 0)], saying: "0 entries"),
        HostileImage("vmdk", "huge grain tables", [(44, 4, 1 << 20)], saying: "1048576"),
        HostileImage("vmdk", "directory out of the file", [(56, 8, 1 << 40)], saying: "1099511627776"),
        HostileImage("vmdk", "directory at the end of numbers", [(56, 8, everything - 1)], saying: "grain directory"),
        HostileImage(
            "vmdk", "unknown compression", [(77, 2, 7)], options: ["subformat": "streamOptimized"],
            saying: "compression 7"),
        HostileImage(
            "vmdk", "compressed grain of 1 GiB", [(20, 8, 1 << 21), (12, 8, 1 << 21)],
            options: ["subformat": "streamOptimized"], saying: "2097152"),
    ]

    static let others: [HostileImage] = [
        HostileImage("qcow", "cluster size 2^40", [(32, 1, 40)], saying: "2^40"),
        HostileImage("qcow", "L2 tables of 2^40 entries", [(33, 1, 40)], saying: "2^40"),
        HostileImage("qcow", "overflowing size", [(24, 8, everything)], saying: "18446744073709551615"),
        HostileImage("qcow", "L1 table too large", [(24, 8, 1 << 55)], saying: "L1 table"),
        HostileImage("qcow", "L1 table out of the file", [(40, 8, 1 << 50)], saying: "0x4000000000000"),
        HostileImage("qcow", "backing name too long", [(8, 8, 48), (16, 4, 5000)], saying: "too long"),
        HostileImage("qcow", "unknown encryption", [(36, 4, 5)], saying: "method 5"),
        HostileImage("qcow", "L2 table out of the file", [(48, 8, 1 << 50)], fails: .read, saying: "0x4000000000000"),
        HostileImage("cow", "size of no whole sectors", [(1040, 8, 1)], saying: "multiple of 512"),
        HostileImage("cow", "overflowing size", [(1040, 8, everything - 511)], saying: "multiple of 512"),
        HostileImage("cow", "sector size zero", [(1048, 4, 0)], saying: "COW"),
        HostileImage("cow", "bitmap longer than the file", [(1040, 8, 1 << 45)], saying: "bitmap"),
        HostileImage("parallels", "cluster of no sectors", [(28, 4, 0)], saying: "cluster of 0"),
        HostileImage("parallels", "huge cluster", [(28, 4, 0xffff_ffff)], saying: "4294967295"),
        HostileImage("parallels", "table out of the file", [(32, 4, 0x00ff_ffff)], saying: "16777215"),
        HostileImage("parallels", "overflowing table", [(32, 4, 0xffff_ffff)], saying: "4294967295"),
        HostileImage("parallels", "overflowing size", [(36, 8, everything)], saying: "18446744073709551615"),
        HostileImage("parallels", "cluster out of the file", [(64, 4, 0x7fff_ffff)], fails: .read, saying: "beyond"),
        HostileImage("cloop", "block size zero", [(128, 4, 0)], saying: "block_size 0"),
        HostileImage("cloop", "block size 513", [(128, 4, 513)], saying: "513"),
        HostileImage("cloop", "block size 2 GiB", [(128, 4, 0x8000_0000)], saying: "2147483648"),
        HostileImage("cloop", "4 billion blocks", [(132, 4, 0xffff_ffff)], saying: "4294967295"),
        HostileImage("cloop", "table out of the file", [(132, 4, 0x10_0000)], saying: "1048576"),
        HostileImage("cloop", "falling offsets", [(144, 8, 1)], saying: "monotonic"),
        HostileImage("cloop", "blocks out of the file", [(136 + 64 * 8, 8, 100_000_000)], saying: "end of the file"),
    ]

    private static let luksOptions = ["key-secret": "key", "iter-time": "1"]
    static let luks: [HostileImage] = [
        HostileImage("luks", "version 9", [(6, 2, 9)], options: luksOptions, saying: "version 9"),
        HostileImage("luks", "key of 1 MiB", [(108, 4, 1 << 20)], options: luksOptions, saying: "1048576"),
        HostileImage("luks", "XTS with one key", [(108, 4, 24)], options: luksOptions, saying: "24 bytes"),
        HostileImage(
            "luks", "payload out of the file", [(104, 4, 0xffff_ffff)], options: luksOptions, saying: "payload"),
        HostileImage(
            "luks", "endless key derivation", [(212, 4, 0xffff_ffff)], options: luksOptions, saying: "iterations"),
        HostileImage("luks", "endless digest", [(164, 4, 0xffff_ffff)], options: luksOptions, saying: "iterations"),
        HostileImage(
            "luks", "key material out of the file", [(248, 4, 0xffff_ffff)], options: luksOptions, saying: "material"),
        HostileImage("luks", "stripes", [(252, 4, 0xffff_ffff)], options: luksOptions, saying: "4294967295"),
        HostileImage("luks", "slot of unknown state", [(208, 4, 7)], options: luksOptions, saying: "0x7"),
    ]

    static let all = vdi + vhd + vhdx + vmdk + others + luks

    @Test(arguments: all.indices) func aBadFieldGetsOneClearError(index: Int) throws {
        let image = Self.all[index]
        let error = try #require(try image.error(), "\(image.format), \(image.name): nothing failed")
        #expect([.corrupt, .unsupported, .io].contains(error.kind), "\(image.format), \(image.name): \(error.kind)")
        #expect(error.message.contains(image.says), "\(image.format), \(image.name): \(error.message)")
        #expect(error.format == image.format, "\(image.format), \(image.name): no format in the error")
        #expect(error.path != nil, "\(image.format), \(image.name): no path in the error")
        #expect(error.offset != nil, "\(image.format), \(image.name): no offset in the error")
    }
}
