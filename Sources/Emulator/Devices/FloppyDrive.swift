/// A floppy drive and the disk in it.
final class FloppyDrive {
    /// What a disk of some size looks like, and at which data rate (CCR bits 1:0) it is read.
    struct Format: Equatable {
        let sectors: Int
        let tracks: Int
        let heads: Int
        let sectorsPerTrack: Int
        /// 0: 500, 1: 300, 2: 250, 3: 1000 kbit/s.
        let rate: UInt8

        private init(_ tracks: Int, _ heads: Int, _ sectorsPerTrack: Int, rate: UInt8) {
            self.tracks = tracks
            self.heads = heads
            self.sectorsPerTrack = sectorsPerTrack
            self.rate = rate
            sectors = tracks * heads * sectorsPerTrack
        }

        /// Kibibytes: 160, 180, 320, 360, 720, 1200, 1440, 1680, 1722, 2880.
        static let known = [
            Format(40, 1, 8, rate: 2), Format(40, 1, 9, rate: 2), Format(40, 2, 8, rate: 2), Format(40, 2, 9, rate: 2),
            Format(80, 2, 9, rate: 2), Format(80, 2, 15, rate: 0), Format(80, 2, 18, rate: 0),
            Format(80, 2, 21, rate: 0), Format(82, 2, 21, rate: 0), Format(80, 2, 36, rate: 3),
        ]

        /// The smallest format that holds an image; larger images are cut off at 2.88 MB.
        static func of(sizeBytes: UInt64) -> Format {
            known.first { UInt64($0.sectors * 512) >= sizeBytes } ?? known[known.count - 1]
        }
    }

    /// CMOS byte 10h nibble: 4 is a 1.44 MB drive, 5 a 2.88 MB one.
    enum Kind: UInt8 {
        case absent = 0
        case highDensity = 4
        case extraDensity = 5
    }

    private(set) var kind: Kind
    private(set) var disk: (any DiskBackend)?
    private(set) var format = Format.known[6]
    /// Where the heads are.
    var track = 0
    /// The disk was changed and no step pulse has come since.
    private(set) var isChanged = true
    /// Sector of the next READ ID: the disk turns.
    private var nextID = 0

    init(kind: Kind, disk: (any DiskBackend)? = nil) {
        self.kind = kind
        change(to: disk)
    }

    func exchange(_ c: StateCoder) {
        c.field("track", &track, in: 0...84)
        c.field("isChanged", &isChanged)
        c.field("nextID", &nextID, in: 0...255)
    }

    /// Puts a disk in, or takes it out.
    func change(to disk: (any DiskBackend)?) {
        self.disk = disk
        isChanged = true
        guard let disk else { return }
        format = Format.of(sizeBytes: disk.sizeBytes)
        if format.rate == 3, kind == .highDensity { kind = .extraDensity }
    }

    func step(to newTrack: Int) {
        track = min(max(newTrack, 0), 84)
        if disk != nil { isChanged = false }
    }

    /// Sector number under the head, 1 onwards; the next call sees the next one.
    func passingSector() -> UInt8 {
        nextID = nextID % format.sectorsPerTrack + 1
        return UInt8(nextID)
    }

    /// Byte offset of a sector on the current track; nil when there is none.
    func offset(head: Int, sector: Int) -> UInt64? {
        guard track < format.tracks, head < format.heads, sector >= 1, sector <= format.sectorsPerTrack else {
            return nil
        }
        return UInt64(((track * format.heads + head) * format.sectorsPerTrack + sector - 1) * 512)
    }
}
