import Seeded

/// Damage done to a file, aimed at the places where formats keep their tables.
struct Mutator {
    /// Offsets of aligned 32-bit words that are not zero, in pages of metadata.
    private let words: [Int]
    private let pages: [Int]
    private let isText: Bool
    private let original: SparseFile

    init(_ file: SparseFile) {
        original = file
        pages = file.metadataPages
        var found: [Int] = []
        for page in pages {
            for at in stride(from: page * SparseFile.pageBytes, to: (page + 1) * SparseFile.pageBytes, by: 4)
            where !Self.isGuestData(file.number(at: at & ~7, width: 8, bigEndian: false))
                && file.number(at: at, width: 4, bigEndian: false) != 0
            { found.append(at) }
        }
        words = found
        isText =
            file.size < 65536 && file.size > 0 && file.bytes(0, min(64, file.size)).allSatisfy { $0 < 127 && $0 > 8 }
    }

    /// What the seeds' disks are filled with: the bytes 0x41 to 0x48 in a row, from any of them on.
    private static func isGuestData(_ word: UInt64) -> Bool {
        let first = word & 0xff
        return (0x41...0x48).contains(first)
            && (0..<8).allSatisfy { word >> (8 * $0) & 0xff == 0x41 + (first - 0x41 + $0) % 8 }
    }

    /// The file with one to five changes; `log` says which.
    func mutate(_ random: inout SeededRandom, log: inout [String]) -> SparseFile {
        var file = original
        var count = 1
        while count < 5, random.oneIn(2) { count += 1 }
        for _ in 0..<count {
            if isText || (hasDescriptor && random.oneIn(6)) {
                changeText(&file, &random, &log)
            } else {
                changeOnce(&file, &random, &log)
            }
        }
        return file
    }

    private func changeOnce(_ file: inout SparseFile, _ random: inout SeededRandom, _ log: inout [String]) {
        guard !words.isEmpty, file.size > 0 else { return }
        switch random.below(20) {
        case 0..<11: setField(&file, &random, &log)
        case 11, 12:
            let at = place(&random) + random.below(4), bit = random.below(8)
            file[at] ^= 1 << UInt8(bit)
            log.append("flip bit \(bit) of byte \(at)")
        case 13:
            let at = place(&random) + random.below(4), value = UInt8(truncatingIfNeeded: random.next())
            file[at] = value
            log.append("byte \(at) = \(value)")
        case 14:
            let from = random.pick(pages), to = random.pick(pages)
            let page = file.page(from)
            if random.oneIn(2) { file.setPage(from, file.page(to)) }
            file.setPage(to, page)
            log.append("page \(from) to \(to)")
        case 15:
            // A run of a table written over another: duplicates, cycles, overlaps.
            let from = place(&random), to = place(&random), count = 8 << random.below(6)
            file.put(file.bytes(from, count), at: to)
            log.append("copy \(count) bytes from \(from) to \(to)")
        case 16:
            let at = place(&random), count = 8 << random.below(10)
            let value: UInt8 = random.oneIn(2) ? 0 : 0xff
            file.put([UInt8](repeating: value, count: count), at: at)
            log.append("fill \(count) bytes at \(at) with \(value)")
        case 17: resize(&file, &random, &log)
        default:
            let at = random.pick(pages) * SparseFile.pageBytes + random.below(1024) * 4
            file.put(random.next(), at: at, width: 8, bigEndian: true)
            log.append("random bytes at \(at)")
        }
    }

    /// An offset of a word worth changing; the first page most of all.
    private func place(_ random: inout SeededRandom) -> Int {
        if random.oneIn(4), let first = pages.first {
            return first * SparseFile.pageBytes + random.below(64) * 4
        }
        return random.pick(words)
    }

    private func setField(_ file: inout SparseFile, _ random: inout SeededRandom, _ log: inout [String]) {
        let at = place(&random)
        let width = random.pick([1, 2, 4, 4, 4, 8, 8])
        let start = width == 8 ? at & ~7 : width < 4 ? at + random.below(4) & ~(width - 1) : at
        let bigEndian = random.oneIn(2)
        let old = file.number(at: start, width: width, bigEndian: bigEndian)
        let value = interesting(old, file, width, &random) & (UInt64.max >> UInt64(64 - width * 8))
        file.put(value, at: start, width: width, bigEndian: bigEndian)
        log.append("\(bigEndian ? "be" : "le")\(width * 8) at \(start): \(old) -> \(value)")
    }

    private func interesting(_ old: UInt64, _ file: SparseFile, _ width: Int, _ random: inout SeededRandom) -> UInt64 {
        let size = UInt64(file.size)
        let mask = width == 8 ? UInt64.max : (1 << UInt64(width * 8)) - 1
        switch random.below(12) {
        case 0: return random.pick([0, 1, 2, 3, 7, 8, 9, 31, 32, 63, 64, 255, 511, 512, 513])
        case 1: return random.pick([mask, mask - 1, mask >> 1, (mask >> 1) + 1, mask & ~511, mask >> 1 & ~511])
        case 2: return random.pick([size, size &- 1, size + 1, size / 512, size / 512 + 1, size & ~511, size & ~65535])
        case 3, 4:
            let power = UInt64(1) << UInt64(random.below(width * 8))
            return random.pick([power, power &- 1, power + 1])
        case 5: return old &+ random.pick([1, 2, 8, 512, 4096, 65536])
        case 6: return old &- random.pick([1, 2, 8, 512, 4096, 65536])
        case 7: return old << UInt64(random.below(16))
        case 8: return old >> UInt64(random.below(16))
        case 9, 10:
            return file.number(at: random.pick(words) & ~7, width: width == 8 ? 8 : 4, bigEndian: random.oneIn(2))
        default: return random.next()
        }
    }

    private func resize(_ file: inout SparseFile, _ random: inout SeededRandom, _ log: inout [String]) {
        let old = file.size
        switch random.below(5) {
        case 0: file.size = random.below(old + 1)
        case 1: file.size = random.pick(pages) * SparseFile.pageBytes + random.below(1024)
        case 2: file.size = old - min(old, 1 << random.below(12))
        case 3: file.size = old + 1 << random.below(20)
        default: file.size = old + random.below(1 << 29)
        }
        log.append("file of \(old) bytes made \(file.size)")
    }

    // MARK: Descriptors

    private var hasDescriptor: Bool {
        let head = original.bytes(0, 4)
        return head == Array("KDMV".utf8) || head == Array("COWD".utf8)
    }

    private static let hostileTokens = [
        "0", "-1", "1", "4294967295", "4294967296", "18446744073709551615", "9223372036854775807",
        "99999999999999999999",
        "../outside", "/etc/passwd", "..", "", "\"", "\"\"", "json:{}", "nbd://x", "ffffffff", "FLAT", "SPARSE", "ZERO",
        "VMFS", "SESPARSE", "VMFSSPARSE", "RW", "NOACCESS", "\u{1b}[2J", "image", "twoGbMaxExtentFlat", "custom",
    ]

    /// Replaces, drops or doubles a word or a line of the file's text.
    private func changeText(_ file: inout SparseFile, _ random: inout SeededRandom, _ log: inout [String]) {
        let start = isText ? 0 : 512
        let end = isText ? file.size : min(file.size, 512 + 20 * 512)
        guard start < end else { return }
        var text = file.bytes(start, end - start)
        let length = text.firstIndex(of: 0) ?? text.count
        var lines = text[..<length].split(separator: 10, omittingEmptySubsequences: false).map { [UInt8]($0) }
        guard !lines.isEmpty else { return }
        let number = random.below(lines.count)
        switch random.below(6) {
        case 0: lines.remove(at: number)
        case 1: lines.insert(lines[number], at: random.below(lines.count))
        case 2:
            lines[number] += [UInt8](repeating: UInt8(random.pick([65, 34, 32, 255])), count: 1 << random.below(12))
        default:
            let isBreak: (UInt8) -> Bool = { $0 == 32 || $0 == 61 || $0 == 34 }
            var words = lines[number].split(omittingEmptySubsequences: false, whereSeparator: isBreak).map {
                [UInt8]($0)
            }
            let word = random.below(max(1, words.count))
            if words.isEmpty { words = [[]] }
            let token = random.pick(Self.hostileTokens)
            var position = words[..<word].reduce(0) { $0 + $1.count + 1 }
            position = min(position, lines[number].count)
            let wordEnd = min(position + words[word].count, lines[number].count)
            lines[number].replaceSubrange(position..<wordEnd, with: token.utf8)
        }
        log.append("line \(number) of the text")
        text = Array(lines.joined(separator: [10]))
        if isText {
            file.size = text.count
        } else {
            text = Array(text.prefix(end - start)) + [UInt8](repeating: 0, count: max(0, end - start - text.count))
        }
        file.put(text, at: start)
    }
}
