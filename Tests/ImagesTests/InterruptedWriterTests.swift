import Foundation
import Testing

@testable import Images

/// Faults that power cuts and failing disks have found, one by one.
@Suite struct InterruptedWriterTests {
    private func make(_ format: String, size: UInt64, _ options: [String: String] = [:]) throws -> (
        disk: SimulatedDisk, driver: any ImageFormat
    ) {
        let driver = try #require(FormatRegistry.format(named: format))
        let disk = SimulatedDisk()
        try driver.create(in: disk.storage("d"), request: CreateRequest(path: "d", size: size, options: options))
        return (disk, driver)
    }

    private func open(_ disk: SimulatedDisk, _ driver: any ImageFormat) throws -> any BlockDevice {
        try driver.open(storage: disk.storage("d"), options: OpenOptions(readOnly: false))
    }

    /// Data reached the file, the table that names it did not: its place is given out again and must be empty.
    @Test(arguments: ["vdi", "parallels", "cow", "vmdk", "qcow", "qcow2", "vpc", "vhdx"])
    func bytesOfAWriteThatWasNeverFlushedDoNotShineThrough(format: String) throws {
        let (disk, driver) = try make(format, size: 3 << 20)
        let lost = try open(disk, driver)
        try lost.put([UInt8](repeating: 9, count: 300_000), at: 0)
        // The writer is gone without a flush.
        let device = try open(SimulatedDisk(files: disk.files), driver)
        try device.put([1], at: 1000)
        var wanted = [UInt8](repeating: 0, count: 300_000)
        wanted[1000] = 1
        #expect(firstDifference(try device.bytes(at: 0, count: 300_000), wanted) == nil)
    }

    @Test func aVHDXWhoseWriterDiedBeforeItsFirstFlushOpens() throws {
        let (disk, driver) = try make("vhdx", size: 3 << 20)
        try open(disk, driver).put([1, 2, 3], at: 0)
        let header = try VHDXHeader(disk.storage("d"))
        #expect(header.log != .zero)
        #expect(try VHDXLog.changes(disk.storage("d"), header).pages.isEmpty)
        try open(SimulatedDisk(files: disk.files), driver).close()
    }

    @Test func aTornVHDXLogEntryLeavesTheOneBefore() throws {
        let (disk, driver) = try make("vhdx", size: 30 << 20, ["block_size": "1M"])
        let device = try open(disk, driver)
        for block in 0..<4 {
            try device.put([UInt8(block + 1)], at: UInt64(block) << 20)
            try device.flush()
            // The next entry goes into the half of the log that the last one is not in. It is torn.
            let torn = SimulatedDisk(files: disk.files)
            let header = try VHDXHeader(torn.storage("d"))
            let half = UInt64(block % 2 == 0 ? header.logLength / 2 : 0)
            try torn.storage("d").write([UInt8](repeating: 0xee, count: 4096), at: header.logOffset + half + 512)
            #expect(!(try VHDXLog.changes(torn.storage("d"), header).pages.isEmpty))
            let again = try open(torn, driver)
            for earlier in 0...block {
                #expect(try again.bytes(at: UInt64(earlier) << 20, count: 1) == [UInt8(earlier + 1)])
            }
        }
    }

    @Test func aParallelsImageWhoseWriterDiedIsWrittenOn() throws {
        let (disk, driver) = try make("parallels", size: 3 << 20)
        let device = try open(disk, driver)
        try device.put([7], at: 0)
        try device.flush()
        let survivor = SimulatedDisk(files: disk.files)
        let again = try open(survivor, driver)
        try again.put([8], at: 1)
        try again.close()
        #expect(try survivor.storage("d").readBytes(at: 44, count: 4) == [0, 0, 0, 0])
    }

    @Test func aParallelsImageWithAClusterBeyondTheFileIsRepairedAndWrittenOn() throws {
        let scratch = Scratch()
        let path = scratch.path("d")
        try DiskImage.create(path, format: "parallels", size: 3 << 20, options: ["cluster_size": "64k"])
        let device = try DiskImage.open(path, options: OpenOptions(readOnly: false))
        try device.put([7], at: 0)
        try device.close()
        let file = try FileStorage.open(path, readOnly: false, lock: .none)
        let good = try file.readBytes(at: 0, count: Int(file.byteCount))
        // The second cluster lies where nothing is, behind the file are bytes that nobody names, and its writer died.
        try file.write([0xff, 0xff, 0, 0], at: 68)
        try file.write([0x59, 0x6e, 0x6f, 0x74], at: 44)
        try file.resize(to: file.byteCount + 200_000)
        file.close()
        #expect(throws: ImageError.self) { try DiskImage.open(path, options: OpenOptions(readOnly: false)) }
        func check(_ repair: RepairMode) throws -> CheckResult {
            let image = try DiskImage.open(path, options: OpenOptions(readOnly: repair == .none, forCheck: true))
            defer { try? image.close() }
            return try DiskImage.check(image, repair: repair, verifyData: false)
        }
        let found = try check(.none)
        #expect(found.corruptions == 1 && found.leaks == 4)
        // Leaks alone are not mended where something else is wrong.
        #expect(try check(.leaks).leaksFixed == 0)
        let mended = try check(.all)
        #expect(mended.corruptions == 0 && mended.leaks == 0 && mended.corruptionsFixed == 2 && mended.leaksFixed == 4)
        #expect(firstDifference([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))), good) == nil)
        try DiskImage.open(path, options: OpenOptions(readOnly: false)).close()
    }

    @Test func aParallelsImageOfTwoClustersInOnePlaceIsLeftAsItIs() throws {
        let scratch = Scratch()
        let path = scratch.path("d")
        try DiskImage.create(path, format: "parallels", size: 3 << 20, options: ["cluster_size": "64k"])
        let device = try DiskImage.open(path, options: OpenOptions(readOnly: false))
        try device.put([UInt8](repeating: 7, count: 65536), at: 0)
        try device.close()
        let file = try FileStorage.open(path, readOnly: false, lock: .none)
        try file.write(try file.readBytes(at: 64, count: 4), at: 68)
        try file.resize(to: file.byteCount + 200_000)
        file.close()
        let before = try Data(contentsOf: URL(fileURLWithPath: path))
        let image = try DiskImage.open(path, options: OpenOptions(readOnly: false, forCheck: true))
        let result = try DiskImage.check(image, repair: .all, verifyData: false)
        try image.close()
        #expect(result.corruptions == 1 && result.corruptionsFixed == 0 && result.leaksFixed == 0)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
    }

    @Test func aFailedWriteLosesNoPlaceOfAVDI() throws {
        let (disk, driver) = try make("vdi", size: 2 << 20)
        let device = try open(disk, driver)
        for _ in 0..<5 {
            // The room is had, the data fails.
            disk.failing = disk.changes + 1..<Int.max
            #expect(throws: ImageError.self) { try device.put([1], at: 0) }
            disk.failing = 0..<0
        }
        try device.put([UInt8](repeating: 2, count: 2 << 20), at: 0)
        try device.close()
    }

    @Test func aQCOW2WhoseHeaderCannotBeWrittenKeepsItsOldTables() throws {
        let options = ["cluster_size": "512"]
        let (whole, driver) = try make("qcow2", size: 64 << 10, options)
        let start = whole.files
        let grown = try open(whole, driver)
        try grown.resize(to: 1 << 20, preallocation: .off)
        for failing in 0..<whole.changes {
            let disk = SimulatedDisk(files: start)
            let device = try open(disk, driver)
            disk.failing = failing..<failing + 1
            try? device.resize(to: 1 << 20, preallocation: .off)
            disk.failing = 0..<0
            try device.put([5], at: 1000)
            try device.close()
            let again = try open(disk, driver)
            #expect(try again.bytes(at: 1000, count: 1) == [5], "change \(failing)")
            #expect(try DiskImage.check(again, repair: .none, verifyData: false).corruptions == 0)
        }
    }

    /// COPIED flags and refcounts of a whole disk change with a snapshot: either all of them have, or none.
    @Test func aSnapshotIsTakenAtOneInstant() throws {
        let (disk, driver) = try make("qcow2", size: 1 << 20, ["cluster_size": "4096"])
        let device = try open(disk, driver)
        try device.put([UInt8](repeating: 3, count: 1 << 20), at: 0)
        try device.flush()
        let start = disk.files
        disk.isRecording = true
        try (device as? any SnapshotCapable)?.createSnapshot(named: "a")
        try (device as? any SnapshotCapable)?.applySnapshot("a")
        try (device as? any SnapshotCapable)?.deleteSnapshot("a")
        var cut = PowerCut(start: start, events: disk.events)
        for event in 0...disk.events.count {
            cut.advance(to: event)
            let survivor = try open(SimulatedDisk(files: cut.complete()), driver)
            let result = try DiskImage.check(survivor, repair: .none, verifyData: false)
            #expect(result.corruptions == 0, "event \(event): \(result.findings.prefix(2))")
        }
        let result = try DiskImage.check(device, repair: .none, verifyData: false)
        #expect(result.leaks == 0)
    }

    @Test func aQCOW2HeaderIsOneSectorAndALongBackingNameMovesAside() throws {
        let (disk, driver) = try make("qcow2", size: 1 << 20)
        let device = try #require(try open(disk, driver) as? QCOW2Image)
        disk.isRecording = true
        for name in ["short", String(repeating: "a", count: 900), String(repeating: "b", count: 1000), "short"] {
            let from = disk.events.count
            let before = disk.files
            try device.changeBacking(BackingReference(file: name, format: "raw"))
            var cut = PowerCut(start: before, events: Array(disk.events[from...]))
            var random = SeededRandom(2)
            for event in 0...disk.events.count - from {
                cut.advance(to: event)
                for _ in 0..<20 {
                    let survivor = SimulatedDisk(files: cut.torn(&random))
                    let found = try open(survivor, driver).backingReference?.file
                    let old = try open(SimulatedDisk(files: before), driver).backingReference?.file
                    #expect(found == old || found == name)
                }
            }
        }
    }

    /// The bits of a differencing image say which sectors are its own: they may not come before the sectors.
    @Test(arguments: ["vpc", "vhdx"]) func sectorBitmapsFollowTheirSectors(format: String) throws {
        let scratch = Scratch()
        let image = SimulatedImage(variant: FormatVariant(format: format), hasBacking: true)
        let disk = try image.create(in: scratch)
        let device = try image.open(disk, in: scratch)
        try device.put([1], at: 0)
        try device.flush()
        disk.isRecording = true
        try device.put([UInt8](repeating: 2, count: 512), at: 512)
        try device.flush()
        let kinds = disk.events.map { if case .sync = $0.change { true } else { false } }
        #expect(kinds.first == false, "the sector")
        #expect(kinds.dropFirst().first == true, "a sync before the bits")
    }

    /// It kept the old size for zeroes and crashed.
    @Test func aLUKSDiskThatHasGrownIsZeroed() throws {
        let scratch = Scratch()
        let image = SimulatedImage(
            variant: FormatVariant(format: "luks", options: ["key-secret": "sec0", "iter-time": "1"]))
        let device = try image.open(try image.create(in: scratch), in: scratch)
        let size = device.size
        try device.resize(to: size + 100_352, preallocation: .off)
        try device.writeZeroes(at: size + 70_000, count: 30_000, mayUnmap: true)
        #expect(try device.bytes(at: size + 70_000, count: 30_000).allSatisfy { $0 == 0 })
        try device.resize(to: size, preallocation: .off)
        #expect(throws: ImageError.self) { try device.put([1], at: size) }
    }

    @Test func anEmptyCOWImageOpens() throws {
        for version in ["2", "3"] {
            let (disk, driver) = try make("cow", size: 0, ["version": version])
            #expect(try open(disk, driver).size == 0)
        }
    }
}
