import CLZ4
import CLZMA
import CLZO
import Testing

@testable import Images

/// Writes cloop images of every layout.
private struct CloopMaker {
    enum Layout: CaseIterable { case version1, version2, version4, version4Footer }
    static let block = 32768

    static func pack(_ bytes: [UInt8], codec: UInt8) -> [UInt8] {
        let out = HeapBuffer(bytes.count * 2 + 1000)
        var count = 0
        switch codec {
        case 0:
            count = bytes.withUnsafeBytes { Deflate.compress($0, into: out.bytes, wrapper: .zlib, level: 6) } ?? 0
        case 2:
            _ = lzma_easy_buffer_encode(
                1, LZMA_CHECK_CRC32, nil, bytes, bytes.count, out.bytes.bindMemory(to: UInt8.self).baseAddress, &count,
                out.bytes.count)
        case 3:
            count = bytes.withUnsafeBytes {
                Int(
                    LZ4_compress_default(
                        $0.bindMemory(to: CChar.self).baseAddress, out.bytes.bindMemory(to: CChar.self).baseAddress,
                        Int32(bytes.count), Int32(out.bytes.count)))
            }
        case 4:
            let work = HeapBuffer(1 << 18)
            var length = lzo_uint(out.bytes.count)
            lzo1x_1_compress(
                bytes, lzo_uint(bytes.count), out.bytes.bindMemory(to: UInt8.self).baseAddress, &length, work.base)
            count = Int(length)
        default: return bytes
        }
        return [UInt8](out.readable.part(0, count))
    }

    static func make(_ disk: [UInt8], _ layout: Layout, codecs: [UInt8] = [0]) -> [UInt8] {
        let blocks = stride(from: 0, to: disk.count, by: block).map { Array(disk[$0..<$0 + block]) }
        let text =
            switch layout {
            case .version1: "#!/bin/sh\ninsmod cloop.o file=$0 && mount -r -t iso9660 /dev/cloop $1\nexit $?\n"
            case .version2: "#!/bin/sh\n#V2.0 Format\nexit $?\n"
            case .version4, .version4Footer: "#!/bin/sh\n#V4.0 Format\nexit $?\n"
            }
        var head = Array(text.utf8)
        head += [UInt8](repeating: 0, count: 128 - head.count)
        head.putBE(UInt32(block))
        head.putBE(UInt32(blocks.count))
        let width = layout == .version1 ? 4 : 8
        var position = layout == .version4Footer ? 0 : 136 + (blocks.count + 1) * width
        var table: [UInt8] = []
        var data: [UInt8] = []
        for index in 0...blocks.count {
            let codec = layout == .version1 || layout == .version2 ? 0 : codecs[index % codecs.count]
            if layout == .version1 {
                table.putBE(UInt32(position))
            } else {
                table.putBE(UInt64(codec) << 60 | UInt64(position))
            }
            guard index < blocks.count else { break }
            let stored = pack(blocks[index], codec: codec)
            data += stored
            position += stored.count
        }
        return layout == .version4Footer ? data + table + head : head + table + data
    }
}

@Suite struct CloopTests {
    private static let disk: [UInt8] = {
        var random = SeededRandom(71)
        var disk = [UInt8](repeating: 0, count: 12 * CloopMaker.block)
        disk.replaceSubrange(10_000..<90_000, with: random.bytes(80_000))
        for index in 150_000..<390_000 { disk[index] = UInt8(index / 90 & 0x1f) }
        return disk
    }()

    private static func open(_ file: [UInt8]) throws(ImageError) -> any BlockDevice {
        try CloopFormat().open(
            storage: MemoryStorage(path: "x.cloop", content: file, readOnly: true), options: OpenOptions())
    }

    @Test(arguments: 0..<8) func readsEveryLayoutAndCodec(index: Int) throws {
        let kinds: [(CloopMaker.Layout, [UInt8])] = [
            (.version1, [0]), (.version2, [0]), (.version4, [0]), (.version4, [2]), (.version4, [3]), (.version4, [4]),
            (.version4, [0, 1, 2, 3, 4]), (.version4Footer, [4, 1, 0, 2, 3]),
        ]
        let (layout, codecs) = kinds[index]
        let file = CloopMaker.make(Self.disk, layout, codecs: codecs)
        let device = try Self.open(file)
        try DiskModel(bytes: Self.disk).check(device)
        #expect(try DiskImage.check(device, repair: .none, verifyData: true).corruptions == 0)
        if layout != .version4Footer {
            #expect(try FormatRegistry.probe(MemoryStorage(content: file)).name == "cloop")
        } else {
            #expect(try FormatRegistry.probe(MemoryStorage(path: "live.cloop", content: file)).name == "cloop")
        }
    }

    @Test func anUnknownCodecIsRefused() throws {
        let device = try Self.open(CloopMaker.make(Self.disk, .version4, codecs: [7]))
        let error = #expect(throws: ImageError.self) { _ = try device.bytes(at: 0, count: 1) }
        #expect(error?.kind == .unsupported)
    }

    @Test func damageEndsInAnErrorNotACrash() throws {
        var random = SeededRandom(72)
        for layout in CloopMaker.Layout.allCases {
            let good = CloopMaker.make(Self.disk, layout, codecs: [0, 1, 2, 3, 4])
            for round in 0..<100 {
                var file = good
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let at = Int.random(in: 0..<(round % 2 == 0 ? 300 : file.count), using: &random)
                    file[layout == .version4Footer ? file.count - 1 - at : at] = UInt8(
                        truncatingIfNeeded: random.next())
                }
                if round % 5 == 0 { file.removeLast(Int.random(in: 1..<file.count, using: &random)) }
                guard let device = try? Self.open(file) else { continue }
                _ = try? device.bytes(at: 0, count: Int(min(device.size, 1 << 20)))
                _ = try? DiskImage.check(device, repair: .none, verifyData: true)
            }
        }
    }
}
