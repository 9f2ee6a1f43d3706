/// qcow2 (QEMU docs/interop/qcow2.txt): numbers of the format that do not change while an image is open.
///
/// All integers are big-endian. A disk offset splits into
///
///     | L1 index | L2 index (l2Bits) | offset in cluster (clusterBits) |
///
/// L1 entry (8 bytes): bits 9–55 offset of the L2 table, bit 63 COPIED (refcount is exactly one).
/// L2 entry (8 bytes, or 16 with extended L2):
///
///     standard    bits 9–55 host offset, bit 0 reads as zeros (v3, not extended), bit 63 COPIED
///     compressed  bit 62 set; low x bits host offset in bytes, bits x–61 additional 512-byte sectors,
///                 x = 62 - (clusterBits - 8)
///     extended    second word: bits 0–31 subcluster allocated, bits 32–63 subcluster reads as zeros
struct QCOW2Layout: Sendable {
    let clusterBits: Int
    let refcountOrder: Int
    let isExtended: Bool

    static let copied: UInt64 = 1 << 63
    static let compressed: UInt64 = 1 << 62
    static let zeroFlag: UInt64 = 1
    static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00
    /// Bits of L1 entries, and of L2 entries of standard clusters, that mean nothing and must be clear.
    static let l1Reserved: UInt64 = 0x7f00_0000_0000_01ff
    static let l2Reserved: UInt64 = 0x3f00_0000_0000_01fe
    static let refcountOffsetMask: UInt64 = 0xffff_ffff_ffff_fe00
    static let subclustersPerCluster = 32

    // Limits (QEMU block/qcow2.h); larger tables are refused before memory is set aside for them.
    static let maximumL1Bytes: UInt64 = 32 << 20
    static let maximumRefcountTableBytes: UInt64 = 8 << 20
    static let maximumSnapshots: UInt32 = 65536
    static let maximumSnapshotTableBytes = 64 << 20
    static let maximumBackingName = 1023

    @inline(__always) var clusterSize: Int { 1 << clusterBits }
    @inline(__always) var clusterMask: UInt64 { (1 << UInt64(clusterBits)) - 1 }
    @inline(__always) var entryBytes: Int { isExtended ? 16 : 8 }
    @inline(__always) var l2Bits: Int { clusterBits - (isExtended ? 4 : 3) }
    @inline(__always) var l2Entries: Int { 1 << l2Bits }
    /// Bytes of disk that one L2 table maps.
    @inline(__always) var l2Coverage: UInt64 { 1 << UInt64(clusterBits + l2Bits) }
    @inline(__always) var subclusterBits: Int { isExtended ? clusterBits - 5 : clusterBits }
    @inline(__always) var subclusterSize: Int { 1 << subclusterBits }
    @inline(__always) var refcountBits: Int { 1 << refcountOrder }
    /// Refcounts in one refcount block.
    @inline(__always) var refblockEntries: Int { (clusterSize * 8) >> refcountOrder }
    var maximumRefcount: UInt64 { refcountOrder == 6 ? UInt64.max : (1 << UInt64(refcountBits)) - 1 }

    @inline(__always) func l1Index(_ offset: UInt64) -> Int { Int(offset >> UInt64(clusterBits + l2Bits)) }
    @inline(__always) func l2Index(_ offset: UInt64) -> Int {
        Int(offset >> UInt64(clusterBits)) & (l2Entries - 1)
    }
    @inline(__always) func clusters(_ bytes: UInt64) -> UInt64 {
        (bytes >> UInt64(clusterBits)) + (bytes & clusterMask == 0 ? 0 : 1)
    }
    @inline(__always) func clusterStart(_ offset: UInt64) -> UInt64 { offset & ~clusterMask }

    /// L1 entries that a disk of `size` bytes needs.
    func l1Entries(forSize size: UInt64) -> UInt64 {
        let shift = UInt64(clusterBits + l2Bits)
        return (size >> shift) + (size & ((1 << shift) - 1) == 0 ? 0 : 1)
    }

    /// Where a compressed cluster lies: first byte, and an upper bound of its length.
    @inline(__always) func compressedRange(_ entry: UInt64) -> (offset: UInt64, byteCount: Int) {
        let offsetBits = UInt64(62 - (clusterBits - 8))
        let offset = entry & ((1 << offsetBits) - 1)
        let sectors = (entry & ~(Self.copied | Self.compressed)) >> offsetBits + 1
        return (offset, Int(sectors * 512 - (offset & 511)))
    }

    /// The L2 entry of a compressed cluster of `byteCount` bytes at `offset`.
    func compressedEntry(offset: UInt64, byteCount: Int) -> UInt64 {
        let offsetBits = UInt64(62 - (clusterBits - 8))
        let additional = ((offset + UInt64(byteCount) - 1) >> 9) - (offset >> 9)
        return Self.compressed | additional << offsetBits | offset
    }

    /// Refcount `index` of a refcount block. Widths below a byte fill it from the low bits up.
    @inline(__always) func refcount(_ block: UnsafeMutableRawPointer, _ index: Int) -> UInt64 {
        switch refcountOrder {
        case 4: return UInt64(block.be16(index * 2))
        case 5: return UInt64(block.be32(index * 4))
        case 6: return block.be64(index * 8)
        case 3: return UInt64(block.load(fromByteOffset: index, as: UInt8.self))
        default:
            let bit = index << refcountOrder
            let byte = block.load(fromByteOffset: bit >> 3, as: UInt8.self)
            return UInt64(byte >> UInt8(bit & 7)) & maximumRefcount
        }
    }

    @inline(__always) func setRefcount(_ block: UnsafeMutableRawPointer, _ index: Int, _ value: UInt64) {
        switch refcountOrder {
        case 4: block.putBE16(UInt16(truncatingIfNeeded: value), index * 2)
        case 5: block.putBE32(UInt32(truncatingIfNeeded: value), index * 4)
        case 6: block.putBE64(value, index * 8)
        case 3: block.storeBytes(of: UInt8(truncatingIfNeeded: value), toByteOffset: index, as: UInt8.self)
        default:
            let bit = index << refcountOrder
            let mask = UInt8(truncatingIfNeeded: maximumRefcount) << UInt8(bit & 7)
            var byte = block.load(fromByteOffset: bit >> 3, as: UInt8.self)
            byte = byte & ~mask | UInt8(truncatingIfNeeded: value) << UInt8(bit & 7)
            block.storeBytes(of: byte, toByteOffset: bit >> 3, as: UInt8.self)
        }
    }
}
