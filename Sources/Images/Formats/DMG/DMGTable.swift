/// A block table of a disk image ("mish"): which chunk of the file holds which sectors. Big-endian.
///
///     offset size                               chunk, 40 bytes from 204 on:
///          0    4  "mish"                          0  4  kind, see `DMGChunk.Kind`
///          4    4  version, 1                      4  4  comment
///          8    8  first sector of the table       8  8  first sector, from the table's first one on
///         16    8  its sectors                    16  8  sectors
///         24    8  place of the data              24  8  place in the data
///         64    4  kind of checksum, 2 CRC-32     32  8  length
///         72  128  the checksum
///        200    4  number of chunks
struct DMGTable {
    static let maximumChunks = 1 << 22
    /// QEMU's bounds of one chunk: 64 MiB of file and of disk.
    static let maximumBytes: UInt64 = 64 << 20

    var firstSector: UInt64
    var sectors: UInt64
    var crc: UInt32?
    var chunks: [DMGChunk] = []

    init(_ bytes: [UInt8], dataStart: UInt64, fileEnd: UInt64, path: String) throws(ImageError) {
        func bad(_ kind: ImageError.Kind, _ message: String) -> ImageError {
            ImageError(kind, message, format: "dmg", path: path)
        }
        guard bytes.count >= 204, bytes.starts(with: Array("mish".utf8)) else {
            throw bad(.corrupt, "a block table does not begin with \"mish\"")
        }
        firstSector = bytes.be64(8)
        sectors = bytes.be64(16)
        crc = bytes.be32(64) == 2 ? bytes.be32(72) : nil
        let base = bytes.be64(24)
        let count = Int(bytes.be32(200))
        guard count <= Self.maximumChunks, 204 + count * 40 <= bytes.count else {
            throw bad(.corrupt, "a block table of \(bytes.count) bytes cannot hold \(count) chunks")
        }
        guard firstSector <= DMGFormat.maximumSectors, sectors <= DMGFormat.maximumSectors else {
            throw bad(.corrupt, "a block table of \(sectors) sectors from sector \(firstSector) on is too large")
        }
        for number in 0..<count {
            let at = 204 + number * 40
            let code = bytes.be32(at)
            if code == DMGChunk.terminator { break }
            if code == DMGChunk.comment { continue }
            guard let kind = DMGChunk.Kind(rawValue: code) else {
                throw bad(.unsupported, "chunk \(number) has the unknown kind \(UInt64(code).hex)")
            }
            let first = bytes.be64(at + 8), length = bytes.be64(at + 16)
            let place = bytes.be64(at + 24), stored = bytes.be64(at + 32)
            guard first <= DMGFormat.maximumSectors, length <= DMGFormat.maximumSectors else {
                throw bad(.corrupt, "chunk \(number) has \(length) sectors from sector \(first) on")
            }
            if length == 0 { continue }
            if kind.isStored {
                let (start, overflow) = dataStart.addingReportingOverflow(base)
                let (host, more) = start.addingReportingOverflow(place)
                guard !overflow, !more, host <= fileEnd, stored <= fileEnd - host else {
                    throw bad(.corrupt, "chunk \(number) of \(stored) bytes at \(place.hex) lies beyond the file")
                }
                if kind == .raw {
                    guard stored >= length * 512 else {
                        throw bad(.corrupt, "chunk \(number) stores \(stored) bytes of \(length) sectors")
                    }
                } else {
                    guard stored <= Self.maximumBytes, length * 512 <= Self.maximumBytes else {
                        throw bad(.corrupt, "chunk \(number) of \(length) sectors in \(stored) bytes is too large")
                    }
                }
                chunks.append(
                    DMGChunk(kind: kind, sector: firstSector + first, sectors: length, place: host, stored: stored))
            } else {
                chunks.append(DMGChunk(kind: kind, sector: firstSector + first, sectors: length, place: 0, stored: 0))
            }
        }
    }

    /// The sector behind the table's last one.
    var endSector: UInt64 { chunks.reduce(firstSector + sectors) { max($0, $1.sector + $1.sectors) } }
}

/// A run of sectors of a disk image.
struct DMGChunk: Sendable {
    static let comment: UInt32 = 0x7fff_fffe
    static let terminator: UInt32 = 0xffff_ffff

    enum Kind: UInt32, Sendable {
        case zero = 0
        case raw = 1
        /// Never written; reads as zeros.
        case ignore = 2
        case adc = 0x8000_0004
        case zlib = 0x8000_0005
        case bzip2 = 0x8000_0006
        case lzfse = 0x8000_0007
        case xz = 0x8000_0008

        var isStored: Bool { self != .zero && self != .ignore }
    }

    var kind: Kind
    var sector: UInt64
    var sectors: UInt64
    /// Place in the file, and bytes there.
    var place: UInt64
    var stored: UInt64
}
