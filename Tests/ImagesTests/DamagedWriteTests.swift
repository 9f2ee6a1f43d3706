import Foundation
import Testing

@testable import Images

/// Random damage to the metadata of every format that is written in place: a write, a zeroing or a repair changes the bytes
/// it is for, and no others that could be read before.
@Suite struct DamagedWriteTests {
    static let variants: [FormatVariant] = {
        // Those without tables have nothing to damage; extents that are files of their own would be shared by the copies.
        let withOptions: [FormatVariant] = FormatVariant.writable.filter {
            !["raw", "luks"].contains($0.format) && $0.options["subformat"] == nil && !$0.options.isEmpty
        }
        let others: [(format: String, options: [String: String])] = [
            ("vdi", [:]), ("vmdk", [:]), ("cow", [:]), ("qcow", [:]), ("parallels", ["cluster_size": "64k"]),
            ("qcow2", ["cluster_size": "16k"]), ("qcow2", ["cluster_size": "16k", "extended_l2": "on"]),
            ("qcow2", ["compat": "0.10", "cluster_size": "4k"]),
        ]
        return withOptions + others.map { FormatVariant(format: $0.format, options: $0.options) }
    }()

    private static let diskBytes = 10 << 20
    private static let sector = 512
    private static let seeds = 0..<6 * CrashTests.effort

    /// A disk of data at several places, written in an order of its own, so that blocks lie in another one. Returns the
    /// sectors written.
    private static func make(_ path: String, _ variant: FormatVariant) throws -> Set<[UInt8]> {
        try DiskImage.create(path, format: variant.format, size: UInt64(diskBytes), options: variant.options)
        let device = try open(path, format: variant.format)
        defer { try? device.close() }
        var random = SeededRandom(5)
        var written: Set<[UInt8]> = []
        func put(_ count: Int, at first: Int) throws {
            let data = random.bytes(count * sector)
            for start in stride(from: 0, to: data.count, by: sector) {
                written.insert(Array(data[start..<start + sector]))
            }
            try device.put(data, at: UInt64(first * sector))
        }
        for _ in 0..<14 {
            let count = [1, 8, 137, 586].randomElement(using: &random) ?? 1
            try put(count, at: Int.random(in: 0...diskBytes / sector - count, using: &random))
        }
        if let image = device as? any SnapshotCapable {
            try image.createSnapshot(named: "one")
            try put(390, at: 2048)
        }
        try device.writeZeroes(at: 2 << 20, count: 1 << 20, mayUnmap: true)
        return written
    }

    /// Offsets of the 8-byte words that hold metadata: what is not zero in sectors that nobody wrote, and what is beside it.
    private static func metadataWords(_ bytes: [UInt8], data: Set<[UInt8]>) -> [Int] {
        var words: Set<Int> = []
        for start in stride(from: 0, to: bytes.count - sector + 1, by: sector) {
            let content = Array(bytes[start..<start + sector])
            guard content.contains(where: { $0 != 0 }), !data.contains(content) else { continue }
            for at in stride(from: 0, to: sector, by: 8) where content[at..<at + 8].contains(where: { $0 != 0 }) {
                words.formUnion([start + at, min(start + at + 8, bytes.count - 8)])
            }
        }
        return words.sorted()
    }

    private static func damage(
        _ bytes: inout [UInt8], _ words: [Int], _ random: inout SeededRandom
    ) -> String {
        var log = ""
        for _ in 0..<([1, 1, 2, 3].randomElement(using: &random) ?? 1) {
            guard let at = words.randomElement(using: &random), let other = words.randomElement(using: &random) else {
                break
            }
            switch Int.random(in: 0..<6, using: &random) {
            case 0:
                let count = min([4, 8, 64, 512].randomElement(using: &random) ?? 8, bytes.count - at)
                bytes.overwrite(at, with: [UInt8](repeating: 0, count: count))
                log += "zeros \(at)+\(count) "
            case 1:
                let place = at + Int.random(in: 0..<8, using: &random)
                bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                log += "bit in \(place) "
            case 2:
                let place = at + Int.random(in: 0..<8, using: &random)
                bytes[place] = UInt8.random(in: 0...20, using: &random)
                log += "byte \(place) "
            case 3:
                // One entry as another one, close by: two blocks in one place.
                let width = [4, 8].randomElement(using: &random) ?? 8
                let from = Bool.random(using: &random) ? max(0, at - width) : other
                bytes.overwrite(at, with: Array(bytes[from..<from + width]))
                log += "\(at) as \(from) "
            case 4:
                let width = [4, 8].randomElement(using: &random) ?? 8
                let value =
                    UInt64.random(in: 0..<64, using: &random)
                    << UInt64([0, 9, 16, 20].randomElement(using: &random) ?? 0)
                let isBig = Bool.random(using: &random)
                for index in 0..<width {
                    bytes[at + index] = UInt8(
                        truncatingIfNeeded: value >> UInt64(8 * (isBig ? width - 1 - index : index)))
                }
                log += "\(at) = \(value) "
            default:
                // As erased flash reads.
                let count = min(512, bytes.count - at)
                bytes.overwrite(at, with: [UInt8](repeating: 0xff, count: count))
                log += "ones \(at)+\(count) "
            }
        }
        return log
    }

    /// The disk by sectors; nil for those that cannot be read. nil where the image does not open.
    private static func sectors(_ path: String, _ format: String) -> [[UInt8]?]? {
        guard let device = try? DiskImage.open(path, options: OpenOptions(format: format, lock: .none)) else {
            return nil
        }
        defer { try? device.close() }
        let end = Int(min(device.size, UInt64(diskBytes)))
        var result: [[UInt8]?] = []
        for start in stride(from: 0, to: end, by: 65536) {
            let count = min(65536, end - start)
            if let piece = try? device.bytes(at: UInt64(start), count: count) {
                result += stride(from: 0, to: count, by: sector).map { Array(piece[$0..<min($0 + sector, count)]) }
            } else {
                for at in stride(from: start, to: start + count, by: sector) {
                    result.append(try? device.bytes(at: UInt64(at), count: min(sector, end - at)))
                }
            }
        }
        return result
    }

    /// Changes the disk at some places; whatever is refused is refused. Returns the sectors that may have changed.
    private static func change(_ device: any BlockDevice, _ random: inout SeededRandom) -> Set<Int> {
        var touched: Set<Int> = []
        for _ in 0..<4 {
            let end = Int(min(device.size, UInt64(diskBytes))) / sector
            guard end > 0 else { break }
            let first = Int.random(in: 0..<end, using: &random)
            let count = min([1, 8, 200].randomElement(using: &random) ?? 1, end - first)
            touched.formUnion(first..<first + count)
            let offset = UInt64(first * sector), bytes = UInt64(count * sector)
            switch Int.random(in: 0..<5, using: &random) {
            case 0: try? device.writeZeroes(at: offset, count: bytes, mayUnmap: true)
            case 1: try? device.discard(at: offset, count: bytes)
            default: try? device.put(random.bytes(count * sector), at: offset)
            }
            if Bool.random(using: &random) { try? device.flush() }
        }
        return touched
    }

    @Test(arguments: variants, ["writes", "a repair"])
    func nothingElseChanges(variant: FormatVariant, way: String) throws {
        let scratch = Scratch()
        let base = scratch.path("base.img"), path = scratch.path("damaged.img")
        let data = try Self.make(base, variant)
        let good = [UInt8](try Data(contentsOf: URL(fileURLWithPath: base)))
        let words = Self.metadataWords(good, data: data)
        var opened = 0
        for seed in Self.seeds {
            var random = SeededRandom(UInt64(seed + 1) &* 0x9e37_79b9)
            var bytes = good
            let what = "\(variant.testDescription), seed \(seed): \(Self.damage(&bytes, words, &random))"
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            guard let before = Self.sectors(path, variant.format) else { continue }
            var touched: Set<Int> = []
            let options = OpenOptions(format: variant.format, readOnly: false, forCheck: way == "a repair")
            guard let device = try? DiskImage.open(path, options: options) else { continue }
            opened += 1
            if way == "a repair" {
                _ = try? DiskImage.check(device, repair: .all, verifyData: false)
            } else {
                touched = Self.change(device, &random)
            }
            try? device.close()
            let after = Self.sectors(path, variant.format)
            #expect(after != nil, "\(what): does not open any more")
            for (index, old) in before.enumerated() where old != nil && !touched.contains(index) {
                guard after.map({ index >= $0.count || $0[index] != old }) ?? true else { continue }
                let now = after.map { index < $0.count && $0[index] != nil } ?? false
                Issue.record("\(what): sector \(index) \(now ? "reads differently" : "cannot be read any more")")
                return
            }
        }
        // Where all damage keeps an image from being opened, nothing is tested.
        #expect(opened > 0)
    }
}
