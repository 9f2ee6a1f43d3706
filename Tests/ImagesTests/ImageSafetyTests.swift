import Foundation
import Testing

@testable import Images

/// Locks, guessed raw disks, and readers that leave an image as it is.
@Suite struct ImageSafetyTests {
    // MARK: Locks

    private static let isQEMUHere = FileManager.default.isExecutableFile(atPath: "/usr/bin/qemu-io")

    @Test(arguments: ["raw", "qcow2", "vmdk", "vdi"]) func twoWritersOrAWriterAndAReaderExclude(format: String) throws {
        let scratch = Scratch()
        let path = scratch.path("disk")
        try DiskImage.create(path, format: format, size: 1 << 20)
        let writer = try open(path, format: format)
        for readOnly in [false, true] {
            let error = #expect(throws: ImageError.self) { _ = try open(path, format: format, readOnly: readOnly) }
            #expect(error?.kind == .locked)
        }
        try DiskImage.open(path, options: OpenOptions(format: format, lock: .forceShare)).close()
        try writer.close()
        // Readers share; a writer waits for them.
        let reader = try open(path, format: format, readOnly: true)
        try open(path, format: format, readOnly: true).close()
        #expect(throws: ImageError.self) { _ = try open(path, format: format) }
        try reader.close()
        try open(path, format: format).close()
    }

    @Test func backingFilesAreSharedButNotWritten() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("base"), format: "qcow2", size: 1 << 20)
        for name in ["one", "two"] {
            try DiskImage.createOverlay(scratch.path(name), backing: "base", backingFormat: "qcow2")
        }
        let one = try open(scratch.path("one")), two = try open(scratch.path("two"))
        let error = #expect(throws: ImageError.self) { _ = try open(scratch.path("base")) }
        #expect(error?.kind == .locked)
        try open(scratch.path("base"), readOnly: true).close()
        try one.close()
        try two.backing?.close()
        try two.close()
        try one.backing?.close()
        try open(scratch.path("base")).close()
    }

    /// qemu-io that keeps an image open until its input ends.
    private func holder(_ path: String, readOnly: Bool) throws -> Process {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/qemu-io")
        process.arguments = ["-f", "qcow2"] + (readOnly ? ["-r"] : []) + [path]
        let input = Pipe(), output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        process.standardError = output
        try process.run()
        // It answers once it has the image open.
        input.fileHandleForWriting.write(Data("read 0 512\n".utf8))
        var seen = ""
        while !seen.contains("ops"), !seen.contains("Failed") {
            let data = output.fileHandleForReading.availableData
            if data.isEmpty { break }
            seen += String(decoding: data, as: UTF8.self)
        }
        return process
    }

    private func end(_ process: Process) {
        (process.standardInput as? Pipe)?.fileHandleForWriting.closeFile()
        process.waitUntilExit()
    }

    @Test(.enabled(if: isQEMUHere)) func qemuAndWeExcludeOneAnother() throws {
        let scratch = Scratch()
        let path = scratch.path("disk")
        try DiskImage.create(path, format: "qcow2", size: 1 << 20)
        let theirs = try holder(path, readOnly: false)
        for readOnly in [false, true] {
            let error = #expect(throws: ImageError.self) { _ = try open(path, readOnly: readOnly) }
            #expect(error?.kind == .locked)
        }
        try DiskImage.open(path, options: OpenOptions(lock: .forceShare)).close()
        end(theirs)
        let ours = try open(path)
        #expect(try run(["qemu-io", "-f", "qcow2", "-c", "write 0 512", path]).output.contains("lock"))
        #expect(try run(["qemu-img", "info", path]).status != 0)
        #expect(try run(["qemu-img", "info", "-U", path]).status == 0)
        try ours.close()
        let reader = try holder(path, readOnly: true)
        try open(path, readOnly: true).close()
        #expect(throws: ImageError.self) { _ = try open(path) }
        end(reader)
        try open(path).close()
    }

    // MARK: A raw disk whose format was guessed

    /// What each format begins with, as a guest could write it: the first 64 KiB of an image.
    private static func heads() throws -> [(format: String, head: [UInt8])] {
        try FormatRegistry.formats.filter { $0.capabilities.contains(.create) && $0.name != "raw" }.map { format in
            let options = format.name == "luks" ? ["key-secret": "key", "iter-time": "1"] : [:]
            let bytes = try HostileImage.good(format.name, options: options)
            return (format.name, Array((bytes + [UInt8](repeating: 0, count: 65536)).prefix(65536)))
        }
    }

    @Test func noWayOfWritingMakesAGuessedRawDiskAnotherFormat() throws {
        for (format, head) in try Self.heads() {
            let storage = MemoryStorage(content: [UInt8](repeating: 0, count: 1 << 20))
            let disk = RawImage(storage: storage, wasProbed: true)
            func expectRaw(_ way: String) throws {
                #expect(try FormatRegistry.probe(storage).name == "raw", "\(format): \(way)")
            }
            #expect(throws: ImageError.self, "\(format)") { try disk.put(head, at: 0) }
            try expectRaw("whole")
            // Sector by sector, backwards, forwards, and in odd pieces; refusals are expected, recognition is not.
            for sector in (0..<128).reversed() {
                try? disk.put(Array(head[sector * 512..<(sector + 1) * 512]), at: UInt64(sector * 512))
            }
            try expectRaw("sectors")
            for start in stride(from: 0, to: 65536, by: 97) {
                try? disk.put(Array(head[start..<min(start + 97, 65536)]), at: UInt64(start))
            }
            try expectRaw("pieces across sectors")
            // The head with every byte that could be zero spoilt, then zeroed again in its place.
            for index in stride(from: 0, to: 1024, by: 1) where head[index] == 0 {
                var spoilt = head
                spoilt[index] = 0xff
                if (try? disk.put(spoilt, at: 0)) == nil { continue }
                try? disk.writeZeroes(at: UInt64(index), count: 1, mayUnmap: false)
                try expectRaw("zeroes at \(index)")
                try? disk.discard(at: UInt64(index), count: 1)
                try expectRaw("discard at \(index)")
                break
            }
            try? disk.resize(to: 2 << 20, preallocation: .off)
            try expectRaw("resize")
        }
    }

    @Test func commitIntoAGuessedRawBaseIsGuarded() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("base"), format: "raw", size: 1 << 20)
        var request = CreateRequest(path: scratch.path("top"), size: 1 << 20)
        request.backing = BackingReference(file: "base", format: nil)
        try DiskImage.create(request, format: "qcow2")
        let top = try open(scratch.path("top"))
        try top.put(Array(try HostileImage.good("qcow2", options: [:]).prefix(65536)), at: 0)
        try top.close()
        try top.backing?.close()
        #expect(throws: ImageError.self) { try DiskImage.commit(scratch.path("top"), format: "qcow2", keepTop: true) }
        #expect(try DiskImage.probe(scratch.path("base")) == "raw")
    }

    // MARK: Readers

    @Test(arguments: FormatVariant.creatable) func readersLeaveTheFilesAsTheyAre(variant: FormatVariant) throws {
        let scratch = Scratch()
        let path = scratch.path("disk.img")
        try DiskImage.create(scratch.path("source"), format: "raw", size: 3 << 20)
        let source = try open(scratch.path("source"), format: "raw")
        try source.put([UInt8](repeating: 0x33, count: 1 << 20), at: 4096)
        var request = ConvertRequest(sources: [source], targetPath: path, targetFormat: variant.format)
        request.options = variant.options
        try DiskImage.convert(request)
        try source.close()
        try expectUnchanged(scratch, variant.format)
    }

    @Test func readingADirtyVHDXLeavesItsLogAlone() throws {
        let scratch = Scratch()
        let storage = MemoryStorage()
        let driver = VHDXFormat()
        let request = CreateRequest(path: "m", size: 3 << 20, options: ["block_size": "1M"])
        try driver.create(in: storage, request: request)
        let start = storage.bytes
        storage.isRecording = true
        let device = try driver.open(storage: storage, options: OpenOptions(readOnly: false))
        try device.put([UInt8](repeating: 5, count: 2 << 20), at: 100_000)
        try device.flush()
        // After the log entry and before the table: the last write of a page that is no log.
        let events = storage.recorded
        let isLog = events.indices.filter {
            if case .write(let offset, let bytes) = events[$0] {
                offset == 1 << 20 && bytes.starts(with: "loge".utf8)
            } else {
                false
            }
        }
        let last = try #require(isLog.last)
        let dirty = MemoryStorage.replay(events[...last], onto: start).bytes
        try Data(dirty).write(to: URL(fileURLWithPath: scratch.path("disk.img")))
        #expect(try VHDXHeader(MemoryStorage(content: dirty)).log != .zero)
        let reader = try open(scratch.path("disk.img"), readOnly: true)
        #expect(try reader.bytes(at: 100_000, count: 2 << 20).allSatisfy { $0 == 5 })
        #expect(try DiskImage.check(reader, repair: .none, verifyData: false).scope?.contains("log holds") == true)
        try reader.close()
        try expectUnchanged(scratch, "vhdx")
        // A repair puts the changes in place, and tells so once.
        let writer = try open(scratch.path("disk.img"))
        for fixed in [1, 0] {
            let result = try DiskImage.check(writer, repair: .all, verifyData: false)
            #expect(result.corruptionsFixed == fixed && result.corruptions == 0 && result.scope == nil)
        }
        try writer.close()
        #expect(try run(["qemu-img", "check", scratch.path("disk.img")]).status == 0)
    }

    /// Does everything that only reads and compares every file of the folder before and after.
    private func expectUnchanged(_ scratch: Scratch, _ format: String) throws {
        func digests() throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: scratch.folder).sorted().filter { $0 != "copy" }.map {
                $0 + " " + (try DiskImage.sha256(ofFile: scratch.path($0)))
            }
        }
        let before = try digests()
        let device = try open(scratch.path("disk.img"), format: format, readOnly: true)
        let driver = try FormatRegistry.require(format)
        _ = device.summary
        _ = device.formatDetails
        _ = try DiskImage.map(device)
        _ = try DiskImage.sha256(of: device)
        if driver.capabilities.contains(.check) { _ = try DiskImage.check(device, repair: .none, verifyData: true) }
        #expect(throws: ImageError.self) { try device.put([1], at: 0) }
        #expect(throws: ImageError.self) { try device.writeZeroes(at: 0, count: 512, mayUnmap: true) }
        try DiskImage.convert(
            ConvertRequest(sources: [device], targetPath: scratch.path("copy"), targetFormat: "qcow2"))
        try device.close()
        #expect(try digests() == before)
    }
}
