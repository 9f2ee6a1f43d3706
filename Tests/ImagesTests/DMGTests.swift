import CBZip2
import CDeflate
import CLZMA
import Foundation
import Testing

@testable import Images

/// Writes disk images of chosen chunks: what Apple's hdiutil would write, in small.
private struct DMGWriter {
    enum Kind: UInt32 {
        case zero = 0
        case raw = 1
        case ignore = 2
        case adc = 0x8000_0004
        case zlib = 0x8000_0005
        case bzip2 = 0x8000_0006
        case lzfse = 0x8000_0007
        case xz = 0x8000_0008
    }

    var usesFork = false
    /// Changes a table before it is stored.
    var damageTable: (inout [UInt8]) -> Void = { _ in }
    var damageTrailer: (inout [UInt8]) -> Void = { _ in }

    static func crc(_ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBytes { libdeflate_crc32(0, $0.baseAddress, $0.count) }
    }

    static func compress(_ bytes: [UInt8], _ kind: Kind) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: bytes.count * 2 + 1000)
        switch kind {
        case .zero, .ignore: return []
        case .raw: return bytes
        case .adc: return adc(bytes)
        case .lzfse: return LZFSEWriter.compress(bytes)
        case .zlib:
            let codec = libdeflate_alloc_compressor(6)
            defer { libdeflate_free_compressor(codec) }
            let count = libdeflate_zlib_compress(codec, bytes, bytes.count, &out, out.count)
            return Array(out[..<count])
        case .bzip2:
            var count = UInt32(out.count)
            var source = bytes
            _ = source.withUnsafeMutableBytes { source in
                out.withUnsafeMutableBytes { target in
                    BZ2_bzBuffToBuffCompress(
                        target.bindMemory(to: CChar.self).baseAddress, &count,
                        source.bindMemory(to: CChar.self).baseAddress, UInt32(bytes.count), 9, 0, 0)
                }
            }
            return Array(out[..<Int(count)])
        case .xz:
            var count = 0
            _ = lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, nil, bytes, bytes.count, &out, &count, out.count)
            return Array(out[..<count])
        }
    }

    /// A greedy ADC writer that uses all three kinds of pieces.
    static func adc(_ bytes: [UInt8]) -> [UInt8] {
        var out: [UInt8] = []
        var plain: [UInt8] = []
        var last: [UInt32: Int] = [:]
        func flush() {
            for start in stride(from: 0, to: plain.count, by: 128) {
                let part = plain[start..<min(start + 128, plain.count)]
                out.append(UInt8(0x80 | (part.count - 1)))
                out += part
            }
            plain = []
        }
        var at = 0
        while at < bytes.count {
            var length = 0
            var distance = 0
            if at + 4 <= bytes.count {
                let key = bytes.be32(at)
                if let found = last[key], at - found <= 65536 {
                    distance = at - found
                    while length < 67, at + length < bytes.count, bytes[found + length] == bytes[at + length] {
                        length += 1
                    }
                }
                last[key] = at
            }
            if length >= 4 {
                flush()
                if length <= 18, distance <= 1024 {
                    out += [UInt8((length - 3) << 2 | (distance - 1) >> 8), UInt8((distance - 1) & 255)]
                } else {
                    out += [UInt8(0x40 | (length - 4)), UInt8((distance - 1) >> 8), UInt8((distance - 1) & 255)]
                }
                at += length
            } else {
                plain.append(bytes[at])
                at += 1
            }
        }
        flush()
        return out
    }

    /// One table a partition, one chunk of `chunk` bytes after another with the kinds in turn.
    func make(_ partitions: [[UInt8]], kinds: [Kind], chunk: Int = 65536) -> [UInt8] {
        var file: [UInt8] = []
        var tables: [[UInt8]] = []
        var crcs: [UInt8] = []
        var sector = 0
        for disk in partitions {
            var entries: [[UInt8]] = []
            for (number, start) in stride(from: 0, to: disk.count, by: chunk).enumerated() {
                let part = Array(disk[start..<min(start + chunk, disk.count)])
                let kind =
                    part.allSatisfy { $0 == 0 } ? (number % 2 == 0 ? Kind.zero : .ignore) : kinds[number % kinds.count]
                let stored = Self.compress(part, kind)
                var entry: [UInt8] = []
                entry.putBE(kind.rawValue)
                entry.putBE(UInt32(0))
                for value in [start / 512, part.count / 512, file.count, stored.count] { entry.putBE(UInt64(value)) }
                file += stored
                entries.append(entry)
            }
            for code: UInt32 in [0x7fff_fffe, 0xffff_ffff] {
                var entry: [UInt8] = []
                entry.putBE(code)
                entries.append(entry + [UInt8](repeating: 0, count: 36))
            }
            var table = Array("mish".utf8)
            table.putBE(UInt32(1))
            table.putBE(UInt64(sector))
            table.putBE(UInt64(disk.count / 512))
            table += [UInt8](repeating: 0, count: 40)
            table.putBE(UInt32(2))
            table.putBE(UInt32(32))
            table.putBE(Self.crc(disk))
            crcs.putBE(Self.crc(disk))
            table += [UInt8](repeating: 0, count: 124)
            table.putBE(UInt32(entries.count))
            table += entries.flatMap { $0 }
            damageTable(&table)
            tables.append(table)
            sector += disk.count / 512
        }
        let dataLength = file.count
        let list = usesFork ? Self.fork(tables) : Self.plist(tables)
        var trailer = Array("koly".utf8)
        trailer.putBE(UInt32(4))
        trailer.putBE(UInt32(512))
        trailer += [UInt8](repeating: 0, count: 500)
        func put(_ value: UInt64, _ at: Int) {
            var bytes: [UInt8] = []
            bytes.putBE(value)
            trailer.overwrite(at, with: bytes)
        }
        put(UInt64(dataLength), 32)
        put(UInt64(dataLength), usesFork ? 40 : 216)
        put(UInt64(list.count), usesFork ? 48 : 224)
        put(UInt64(2) << 32 | 32, 80)
        put(UInt64(Self.crc(Array(file))) << 32, 88)
        put(UInt64(2) << 32 | 32, 352)
        put(UInt64(Self.crc(crcs)) << 32, 360)
        put(1 << 32, 488 - 4)
        put(UInt64(sector), 492)
        damageTrailer(&trailer)
        return file + list + trailer
    }

    private static func plist(_ tables: [[UInt8]]) -> [UInt8] {
        var text =
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"x\">\n"
        text +=
            "<plist version=\"1.0\">\n<dict>\n\t<key>resource-fork</key>\n\t<dict>\n\t\t<key>blkx</key>\n\t\t<array>\n"
        for (index, table) in tables.enumerated() {
            text +=
                "\t\t\t<dict>\n\t\t\t\t<key>Attributes</key>\n\t\t\t\t<string>0x0050</string>\n\t\t\t\t<key>CFName</key>\n"
            text += "\t\t\t\t<string>part &amp; \(index)</string>\n\t\t\t\t<key>Data</key>\n\t\t\t\t<data>\n"
            text += Data(table).base64EncodedString(options: [.lineLength64Characters, .endLineWithLineFeed])
            text += "\n\t\t\t\t</data>\n\t\t\t\t<key>ID</key>\n\t\t\t\t<string>\(index)</string>\n\t\t\t</dict>\n"
        }
        return Array((text + "\t\t</array>\n\t</dict>\n</dict>\n</plist>\n").utf8)
    }

    private static func fork(_ tables: [[UInt8]]) -> [UInt8] {
        var data: [UInt8] = []
        var references: [UInt8] = []
        for (index, table) in tables.enumerated() {
            references.putBE(UInt16(index))
            references.putBE(UInt16(0xffff))
            references.putBE(UInt32(data.count))
            references.putBE(UInt32(0))
            data.putBE(UInt32(table.count))
            data += table
        }
        var out: [UInt8] = []
        for value in [256, 256 + data.count, data.count, 28 + 10 + references.count] { out.putBE(UInt32(value)) }
        out += [UInt8](repeating: 0, count: 240) + data + [UInt8](repeating: 0, count: 24)
        out.putBE(UInt16(28))
        out.putBE(UInt16(28 + 10 + references.count))
        out.putBE(UInt16(0))
        out += Array("blkx".utf8)
        out.putBE(UInt16(tables.count - 1))
        out.putBE(UInt16(10))
        return out + references
    }
}

@Suite struct DMGTests {
    private static func disks() -> [[UInt8]] {
        var random = SeededRandom(61)
        var first = [UInt8](repeating: 0, count: 700_416)
        first.replaceSubrange(1000..<200_000, with: random.bytes(199_000))
        for index in 300_000..<690_000 { first[index] = UInt8(index / 300 & 0x7f) }
        var second = [UInt8](repeating: 7, count: 200_704)
        second.replaceSubrange(70_000..<80_000, with: random.bytes(10_000))
        return [first, second]
    }

    private static func open(_ file: [UInt8]) throws(ImageError) -> any BlockDevice {
        try DMGFormat().open(
            storage: MemoryStorage(path: "x.dmg", content: file, readOnly: true), options: OpenOptions())
    }

    @Test(
        arguments: [
            [1], [0x8000_0004], [0x8000_0005], [0x8000_0006], [0x8000_0007], [0x8000_0008],
            [0x8000_0005, 1, 0x8000_0006],
        ]
            as [[UInt32]], [false, true])
    func readsEveryKindOfChunk(kinds: [UInt32], usesFork: Bool) throws {
        let disks = Self.disks()
        let writer = DMGWriter(usesFork: usesFork)
        let file = writer.make(disks, kinds: kinds.compactMap(DMGWriter.Kind.init))
        let device = try Self.open(file)
        let model = DiskModel(bytes: disks.flatMap { $0 })
        #expect(device.size == UInt64(model.bytes.count))
        try model.check(device)
        #expect(try device.bytes(at: 65_000, count: 2000) == Array(model.bytes[65_000..<67_000]))
        let result = try DiskImage.check(device, repair: .none, verifyData: true)
        #expect(result.corruptions == 0, "\(result.findings)")
        // QEMU knows neither ADC nor xz; bzip2 and LZFSE are modules of their own.
        guard kinds == [1] || kinds == [0x8000_0005] else { return }
        let scratch = Scratch()
        try Data(file).write(to: URL(fileURLWithPath: scratch.path("x.dmg")))
        let converted = try run([
            "qemu-img", "convert", "-f", "dmg", "-O", "raw", scratch.path("x.dmg"), scratch.path("out.raw"),
        ])
        #expect(converted.status == 0, "\(converted.output)")
        try model.check(try ImagesTests.open(scratch.path("out.raw"), format: "raw", readOnly: true))
        #expect(try DiskImage.probe(scratch.path("x.dmg")) == "dmg")
    }

    @Test func aDamagedChunkIsNamed() throws {
        let disk = [UInt8](repeating: 7, count: 200_704)
        var file = DMGWriter().make([disk], kinds: [.lzfse])
        let device = try Self.open(file)
        try DiskModel(bytes: disk).check(device)
        // The name of the second chunk's first block.
        let second = LZFSEWriter.compress(Array(disk[..<65536])).count
        file[second] ^= 1
        let damaged = try Self.open(file)
        let error = #expect(throws: ImageError.self) { _ = try damaged.bytes(at: 65536, count: 512) }
        #expect(error?.kind == .io)
        #expect(error?.message.contains("lzfse chunk of sector 128") == true)
        #expect(try damaged.bytes(at: 0, count: 512) == Array(disk[..<512]))
        #expect(try DiskImage.check(damaged, repair: .none, verifyData: true).corruptions > 0)
    }

    @Test func checkComparesChecksums() throws {
        let good = DMGWriter().make(Self.disks(), kinds: [.raw])
        var flipped = good
        flipped[70_000] ^= 1
        let device = try Self.open(flipped)
        #expect(try DiskImage.check(device, repair: .none, verifyData: false).corruptions == 0)
        // The table's checksum and that of the whole data.
        #expect(try DiskImage.check(device, repair: .none, verifyData: true).corruptions == 2)
        let master = DMGWriter(damageTrailer: { $0[360] ^= 1 }).make(Self.disks(), kinds: [.raw])
        #expect(try DiskImage.check(try Self.open(master), repair: .none, verifyData: true).corruptions == 1)
    }

    @Test(
        arguments: [
            (0, [0x6d, 0x69, 0x73, 0x69]), (8, [0x7f]), (16, [0x7f]), (200, [0x7f, 0xff, 0xff, 0xff]),
            (204, [0x80, 0, 0, 0x0a]), (204 + 8, [0x7f]), (204 + 16, [0x7f]), (204 + 24, [0x7f]), (204 + 32, [0x7f]),
            (244 + 15, [0]), (204 + 20, [0, 1, 0, 0]),
        ] as [(Int, [UInt8])]) func hostileTablesAreRefused(offset: Int, bytes: [UInt8]) throws
    {
        let writer = DMGWriter(damageTable: { table in
            if offset + bytes.count <= table.count { table.overwrite(offset, with: bytes) }
        })
        let file = writer.make(Self.disks(), kinds: [.zlib], chunk: 32768)
        let error = #expect(throws: ImageError.self) { _ = try Self.open(file).bytes(at: 0, count: 1000) }
        #expect(error?.kind == .corrupt || error?.kind == .unsupported)
    }

    @Test(
        arguments: [(0, [0]), (24, [0x7f]), (32, [0x7f]), (216, [0x7f]), (224, [0x7f]), (492, [0x7f])]
            as [(Int, [UInt8])])
    func hostileTrailersAreRefused(offset: Int, bytes: [UInt8]) throws {
        let writer = DMGWriter(damageTrailer: { $0.overwrite(offset, with: bytes) })
        let error = #expect(throws: ImageError.self) { _ = try Self.open(writer.make(Self.disks(), kinds: [.zlib])) }
        #expect(error?.kind == .corrupt)
    }

    @Test func damageEndsInAnErrorNotACrash() throws {
        var random = SeededRandom(62)
        for (usesFork, kind) in [
            (false, DMGWriter.Kind.zlib), (true, .adc), (true, .bzip2), (false, .xz), (true, .lzfse),
        ] {
            let good = DMGWriter(usesFork: usesFork).make(Self.disks(), kinds: [kind])
            for round in 0..<80 {
                var file = good
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let reach = round % 2 == 0 ? 512 : min(file.count, 6000)
                    file[file.count - 1 - Int.random(in: 0..<reach, using: &random)] = UInt8(
                        truncatingIfNeeded: random.next())
                }
                guard let device = try? Self.open(file) else { continue }
                for offset in stride(from: UInt64(0), to: min(device.size, 1 << 20), by: 1 << 17) {
                    _ = try? device.bytes(at: offset, count: Int(min(1 << 17, device.size - offset)))
                    _ = try? device.extent(at: offset, limit: device.size - offset)
                }
            }
        }
    }
}
