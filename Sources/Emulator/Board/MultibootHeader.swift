/// The header that makes a file a Multiboot kernel (Multiboot Specification 0.6.96 and 2.0, section 3.1), in its first 8 or 32 KiB.
///
/// | version 1 | | version 2 | |
/// | --- | --- | --- | --- |
/// | 0 | 1BADB002 | 0 | E85252D6 |
/// | 4 | flags: 16 the addresses below are meant | 4 | architecture: 0 i386 |
/// | 8 | the three sum to 0 | 8 | length of the header |
/// | C | address of the header | C | the four sum to 0 |
/// | 10, 14 | load address, end of what is in the file | 10 | tags: type 16, flags 16, size 32; 2 addresses, 3 entry |
/// | 18, 1C | end of what is zeroed, entry | | |
struct MultibootHeader {
    /// Where the file's bytes go when it is not left to ELF.
    struct Addresses {
        var header: UInt32
        var load: UInt32
        /// 0: the whole file.
        var loadEnd: UInt32
        /// 0: nothing to zero.
        var zeroEnd: UInt32
    }

    private static let magic1: UInt64 = 0x1BAD_B002, magic2: UInt64 = 0xE852_52D6
    private static let searched1 = 8192, searched2 = 32768
    private static let hasAddresses: UInt64 = 1 << 16

    let version: Int
    let offset: Int
    var addresses: Addresses?
    var entry: UInt32?

    /// - Parameter bytes: the first 32 KiB of the file.
    /// - Returns: nil when there is no header.
    init?(_ bytes: [UInt8]) {
        func word(_ at: Int) -> UInt64 { at + 4 <= bytes.count ? ELFImage.number(bytes, at, 4) : 0 }
        func short(_ at: Int) -> UInt32 { UInt32(truncatingIfNeeded: word(at)) }
        func sums(_ offsets: Int...) -> Bool { offsets.reduce(0) { $0 &+ word($1) } & 0xFFFF_FFFF == 0 }
        for at in stride(from: 0, to: min(bytes.count, Self.searched1) - 12, by: 4)
        where word(at) == Self.magic1 && sums(at, at + 4, at + 8) {
            (version, offset) = (1, at)
            if word(at + 4) & Self.hasAddresses != 0 {
                addresses = Addresses(
                    header: short(at + 12), load: short(at + 16), loadEnd: short(at + 20), zeroEnd: short(at + 24))
                entry = short(at + 28)
            }
            return
        }
        for at in stride(from: 0, to: min(bytes.count, Self.searched2) - 16, by: 8)
        where word(at) == Self.magic2 && word(at + 4) == 0 && sums(at, at + 4, at + 8, at + 12) {
            (version, offset) = (2, at)
            var tag = at + 16
            let end = min(at + Int(word(at + 8)), bytes.count)
            while tag + 8 <= end {
                let kind = word(tag) & 0xFFFF, size = Int(word(tag + 4))
                if kind == 0 || size < 8 { break }
                if kind == 2, size >= 24 {
                    addresses = Addresses(
                        header: short(tag + 8), load: short(tag + 12), loadEnd: short(tag + 16),
                        zeroEnd: short(tag + 20))
                }
                if kind == 3, size >= 12 { entry = short(tag + 8) }
                tag += (size + 7) & ~7
            }
            return
        }
        return nil
    }
}
