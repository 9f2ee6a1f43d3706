/// The layout of a saved machine (docs/STATE.md). All numbers are little-endian.
///
/// | offset | size | header |
/// | --- | --- | --- |
/// | 0 | 8 | "LABSTATE" |
/// | 8 | 4 | version of this layout: 1 |
/// | 12 | 4 | sections |
/// | 16 | 8 | bytes in all |
/// | 24 | 8 | XXH64 of header and table, this field taken as 0 |
/// | 32 | 8 | XXH64 of the section "machine": states of one machine have one number |
/// | 40 | 8 | when it was saved, seconds since 1970 |
/// | 48 | 8 | the guest's clock, nanoseconds since power-on |
/// | 56 | 8 | 0 |
/// | 64 | 64 each | table of sections |
///
/// | offset | size | entry |
/// | --- | --- | --- |
/// | 0 | 32 | name, UTF-8, filled with zeros |
/// | 32 | 4 | version of the section |
/// | 36 | 4 | 0 fields (StateCoder.swift), 1 memory, 2 digests of a memory |
/// | 40 | 8 | offset |
/// | 48 | 8 | length in bytes |
/// | 56 | 8 | XXH64 of the section; of a memory, XXH64 of its digests |
///
/// A memory begins at a multiple of 2 MiB, with every page at its place: a file is mapped as it is. Pages of zeros are holes. Its
/// digests are one XXH64 for each 2 MiB, the last part as long as it is.
enum StateFormat {
    static let magic = Array("LABSTATE".utf8)
    static let version: UInt32 = 1
    static let headerBytes = 64
    static let entryBytes = 64
    static let nameBytes = 32
    static let maximumSections = 256
    /// The longest section of fields: serial input that waits is the largest, 1 MiB for each of four ports.
    static let maximumFieldBytes = 32 << 20
    static let blockBytes = 2 << 20
    static let pageBytes = 4096
    /// What QEMU's states begin with.
    static let qemuMagic = Array("QEVM".utf8)

    enum Kind: UInt32 { case fields = 0, memory, digests }

    struct Entry: Equatable {
        var name: String
        var version: UInt32
        var kind: Kind
        var offset: UInt64 = 0
        var length: UInt64
        var checksum: UInt64 = 0
    }

    struct Header: Equatable {
        var machineDigest: UInt64 = 0
        var savedAt: Int64 = 0
        var guestNanoseconds: UInt64 = 0
        var totalBytes: UInt64 = 0
        var entries: [Entry] = []

        /// Header and table with their checksum.
        var encoded: [UInt8] {
            var bytes = StateFormat.magic
            bytes += Array(littleEndianBytes: StateFormat.version) + Array(littleEndianBytes: UInt32(entries.count))
            bytes += Array(littleEndianBytes: totalBytes) + Array(littleEndianBytes: UInt64(0))
            bytes += Array(littleEndianBytes: machineDigest) + Array(littleEndianBytes: savedAt)
            bytes += Array(littleEndianBytes: guestNanoseconds) + Array(littleEndianBytes: UInt64(0))
            for entry in entries {
                let name = Array(entry.name.utf8)
                precondition(name.count <= StateFormat.nameBytes, "a section's name has at most 32 bytes")
                bytes += name + [UInt8](repeating: 0, count: StateFormat.nameBytes - name.count)
                bytes += Array(littleEndianBytes: entry.version) + Array(littleEndianBytes: entry.kind.rawValue)
                bytes += Array(littleEndianBytes: entry.offset) + Array(littleEndianBytes: entry.length)
                bytes += Array(littleEndianBytes: entry.checksum)
            }
            bytes.replaceSubrange(24..<32, with: Array(littleEndianBytes: XXHash64.hash(bytes)))
            return bytes
        }

        /// Bytes of header and table.
        static func byteCount(entries: Int) -> Int { StateFormat.headerBytes + entries * StateFormat.entryBytes }
    }
}

extension [UInt8] {
    /// A little-endian number at an offset, which the caller has checked.
    func littleEndian<T: FixedWidthInteger>(at offset: Int, as type: T.Type) -> T {
        var value: T = 0
        for index in (0..<T.bitWidth / 8).reversed() {
            value = value << 8 | T(truncatingIfNeeded: self[offset + index])
        }
        return value
    }
}
