import Foundation
import Synchronization
import Testing

@testable import Images

/// A disk of one run that counts how often it is asked for its extents.
private final class CountedDisk: BlockDevice {
    let size: UInt64 = 24 << 20
    let questions = Atomic<Int>(0)
    let kind: Extent.Kind

    init(_ kind: Extent.Kind) { self.kind = kind }

    var formatName: String { "raw" }
    var path: String { "counted" }
    var isReadOnly: Bool { true }
    var hostFiles: [FileStorage] { [] }
    var summary: ImageSummary { ImageSummary() }
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        for index in buffer.indices { buffer[index] = kind == .data ? UInt8(truncatingIfNeeded: index | 1) : 0 }
    }
    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) { try checkWritable() }
    func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(ImageError) { try checkWritable() }
    func discard(at offset: UInt64, count: UInt64) throws(ImageError) { try checkWritable() }
    func flush() throws(ImageError) {}
    func close() throws(ImageError) {}
    func extent(at offset: UInt64, limit: UInt64) throws(ImageError) -> Extent {
        questions.add(1, ordering: .relaxed)
        return Extent(kind, length: min(limit, size - offset), hostOffset: offset, isAllocated: true)
    }
}

@Suite struct ConvertExtentTests {
    /// One answer may cost a walk over the whole run: what is asked once a piece takes quadratic time.
    @Test(arguments: [Extent.Kind.data, .zero], ["raw", "qcow2", "vhdx"])
    func aRunIsAskedForOnceHoweverManyPiecesItTakes(kind: Extent.Kind, format: String) throws {
        let scratch = Scratch()
        let disk = CountedDisk(kind)
        try DiskImage.convert(ConvertRequest(sources: [disk], targetPath: scratch.path("t"), targetFormat: format))
        #expect(disk.questions.load(ordering: .relaxed) <= 2)
        let other = CountedDisk(kind)
        _ = try DiskImage.compare(disk, other, strict: false)
        #expect(other.questions.load(ordering: .relaxed) <= 1)
    }

    @Test func aCommitAsksForARunOnce() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("base"), format: "raw", size: 24 << 20)
        try DiskImage.createOverlay(scratch.path("top"), backing: "base", backingFormat: "raw")
        var options = OpenOptions(readOnly: false)
        options.backingLock = LockMode.none
        let top = try DiskImage.open(scratch.path("top"), options: options)
        try top.put([UInt8](repeating: 7, count: 20 << 20), at: 1 << 20)
        try DiskImage.commit(top, baseName: nil, keepTop: true)
        try top.close()
        let base = try open(scratch.path("base"), format: "raw", readOnly: true)
        #expect(try base.bytes(at: 0, count: 1 << 20).allSatisfy { $0 == 0 })
        #expect(try base.bytes(at: 1 << 20, count: 20 << 20).allSatisfy { $0 == 7 })
        #expect(try base.bytes(at: 21 << 20, count: 3 << 20).allSatisfy { $0 == 0 })
    }

    @Test func aHostFileForgetsRunsThatItPunches() throws {
        let scratch = Scratch()
        let file = try FileStorage.create(scratch.path("f"))
        try file.write([UInt8](repeating: 1, count: 1 << 20), at: 0)
        try file.resize(to: 4 << 20)
        #expect(file.dataRun(at: 0, limit: 8 << 20) == (true, 1 << 20))
        #expect(file.dataRun(at: 4096, limit: 8192) == (true, 8192))
        file.punch(at: 65536, count: 65536)
        #expect(file.dataRun(at: 0, limit: 8 << 20) == (true, 65536))
        #expect(file.dataRun(at: 65536, limit: 8 << 20) == (false, 65536))
        try file.zero(at: 0, count: 4096, unmap: true)
        #expect(file.dataRun(at: 0, limit: 8 << 20) == (false, 4096))
        try file.resize(to: 10_000)
        #expect(file.dataRun(at: 4096, limit: 8 << 20) == (true, 10_000 - 4096))
        #expect(file.dataRun(at: 10_000, limit: 5) == (false, 5))
        file.close()
    }

    /// `-S 0`: nothing is left out, compressed or not, whatever the source says of its bytes.
    @Test(arguments: [
        ("qcow2", true), ("qcow2", false), ("raw", false), ("vmdk", true), ("vdi", false), ("vhdx", false),
    ])
    func withoutSparsenessEveryByteIsStored(format: String, compresses: Bool) throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("s"), format: "qcow2", size: 4 << 20)
        let source = try open(scratch.path("s"))
        try source.put([UInt8](repeating: 9, count: 70_000), at: 1 << 20)
        try source.writeZeroes(at: 3 << 20, count: 1 << 20, mayUnmap: true)
        var request = ConvertRequest(sources: [source], targetPath: scratch.path("t"), targetFormat: format)
        if format == "vmdk" { request.options = ["subformat": "streamOptimized"] }
        request.isCompressed = compresses && format == "qcow2"
        request.sparseBytes = 0
        try DiskImage.convert(request)
        let target = try open(scratch.path("t"), format: format, readOnly: true)
        #expect(try DiskImage.map(target).allSatisfy { $0.isData && !$0.isZero })
        #expect(try DiskImage.compare(source, target, strict: false) == .identical)
    }

    @Test func withoutSparsenessAnOverlayStoresZerosToo() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("base"), format: "raw", size: 4 << 20)
        try DiskImage.createOverlay(scratch.path("s"), backing: "base", backingFormat: "raw")
        let source = try open(scratch.path("s"))
        try source.put([UInt8](repeating: 9, count: 65536), at: 1 << 20)
        try source.writeZeroes(at: 2 << 20, count: 1 << 20, mayUnmap: true)
        var request = ConvertRequest(sources: [source], targetPath: scratch.path("t"), targetFormat: "qcow2")
        request.backing = BackingReference(file: "base", format: "raw")
        request.sparseBytes = 0
        try DiskImage.convert(request)
        let entries = try DiskImage.map(try open(scratch.path("t"), readOnly: true)).filter { $0.depth == 0 }
        #expect(entries.map(\.start) == [1 << 20, 2 << 20])
        #expect(entries.allSatisfy { $0.isData && !$0.isZero })
    }
}
