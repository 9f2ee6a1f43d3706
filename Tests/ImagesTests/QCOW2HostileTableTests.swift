import Testing

@testable import Images

/// qcow2 images whose tables share places, run in circles or claim more than there is: the check says so, in bounded
/// time and memory.
@Suite struct QCOW2HostileTableTests {
    /// Places in a new image with clusters of 64 KiB: header, refcount table, refcount block, L1 table, then what was
    /// written: an L2 table and data.
    private static let refcountTable = 0x10000, refcountBlock = 0x20000, l1 = 0x30000

    private func sample(_ options: [String: String] = [:], size: UInt64 = 4 << 20) throws -> [UInt8] {
        let storage = MemoryStorage()
        try QCOW2Format().create(in: storage, request: CreateRequest(path: "m", size: size, options: options))
        let device = try QCOW2Format().open(storage: storage, options: OpenOptions(readOnly: false))
        try device.put([UInt8](repeating: 7, count: 200_000), at: 0)
        try device.close()
        return storage.bytes
    }

    private func check(_ bytes: [UInt8], repair: RepairMode = .none) throws -> CheckResult {
        let storage = MemoryStorage(content: bytes, readOnly: repair == .none)
        let options = OpenOptions(readOnly: repair == .none, forCheck: true)
        let device = try QCOW2Format().open(storage: storage, options: options)
        return try DiskImage.check(device, repair: repair, verifyData: true)
    }

    private func be64(_ value: UInt64) -> [UInt8] {
        var out: [UInt8] = []
        out.putBE(value)
        return out
    }

    @Test func aGoodImageIsClean() throws {
        let result = try check(try sample())
        #expect(result.corruptions == 0 && result.leaks == 0)
    }

    @Test func aTableThatIsItsOwnTableIsReported() throws {
        var bytes = try sample()
        let l2 = bytes.be64(Self.l1) & QCOW2Layout.offsetMask
        // The first entry of the L2 table names the L2 table, and the L1 table names itself.
        bytes.overwrite(Int(l2), with: be64(l2 | QCOW2Layout.copied))
        #expect(try check(bytes).corruptions > 0)
        bytes.overwrite(Self.l1, with: be64(UInt64(Self.l1) | QCOW2Layout.copied))
        #expect(try check(bytes).corruptions > 0)
    }

    @Test func dataOverMetadataIsReported() throws {
        for place in [0, UInt64(Self.refcountTable), UInt64(Self.refcountBlock), UInt64(Self.l1)] {
            var bytes = try sample()
            let l2 = Int(bytes.be64(Self.l1) & QCOW2Layout.offsetMask)
            bytes.overwrite(l2, with: be64(max(place, 0x10000) | QCOW2Layout.copied))
            #expect(try check(bytes).corruptions > 0, "data at \(place)")
        }
    }

    @Test func refcountZeroOfUsedClustersIsReportedAndRepaired() throws {
        var bytes = try sample()
        bytes.overwrite(Self.refcountBlock + 8, with: [UInt8](repeating: 0, count: 8))
        let broken = try check(bytes)
        #expect(broken.corruptions > 0)
        #expect(try check(bytes, repair: .all).corruptionsFixed > 0)
    }

    @Test func aRefcountBlockOfTwoRangesIsReported() throws {
        var bytes = try sample()
        // Every entry of the refcount table names the one block there is.
        for index in 1..<8192 {
            bytes.overwrite(Self.refcountTable + index * 8, with: be64(UInt64(Self.refcountBlock)))
        }
        let result = try check(bytes)
        #expect(result.corruptions >= 8191)
        #expect(result.findings.count <= 1000)
        #expect(result.findings.contains { $0.contains("used twice") })
    }

    /// Four million L1 entries that name one L2 table of eight thousand entries: 34 thousand million references.
    @Test func oneL2TableUnderEveryL1EntryIsReadOnce() throws {
        var bytes = try sample()
        let entry = Array(bytes[Self.l1..<Self.l1 + 8])
        var table: [UInt8] = []
        table.reserveCapacity(32 << 20)
        for _ in 0..<(4 << 20) { table += entry }
        let end = (bytes.count + 65535) & ~65535
        bytes += [UInt8](repeating: 0, count: end - bytes.count) + table
        var entries: [UInt8] = []
        entries.putBE(UInt32(4 << 20))
        bytes.overwrite(24, with: be64(2 << 50))
        bytes.overwrite(36, with: entries + be64(UInt64(end)))
        let result = try check(bytes)
        #expect(result.corruptions > 0)
        #expect(result.findings.count <= 1000)
    }

    @Test func sixtyFiveThousandEmptySnapshotsAreListedAndChecked() throws {
        var bytes = try sample()
        var table: [UInt8] = []
        for number in 0..<65536 {
            table.putBE(UInt64(0))
            table.putBE(UInt32(0))
            table.putBE(UInt16(5))
            table.putBE(UInt16(0))
            table += [UInt8](repeating: 0, count: 20)
            table.putBE(UInt32(16))
            table += [UInt8](repeating: 0, count: 8) + be64(4 << 20)
            let id = String(number)
            table += Array((String(repeating: "0", count: 5 - id.utf8.count) + id).utf8) + [0, 0, 0]
        }
        let end = (bytes.count + 65535) & ~65535
        bytes += [UInt8](repeating: 0, count: end - bytes.count) + table
        var count: [UInt8] = []
        count.putBE(UInt32(65536))
        bytes.overwrite(60, with: count + be64(UInt64(end)))
        let device = try QCOW2Format().open(
            storage: MemoryStorage(content: bytes, readOnly: true), options: OpenOptions())
        #expect(device.summary.snapshots.count == 65536)
        #expect(device.summary.snapshots.last?.id == "65535")
        let result = try DiskImage.check(device, repair: .none, verifyData: false)
        #expect(result.findings.count <= 1000)
        // There is no room for one more.
        let writer = try QCOW2Format().open(
            storage: MemoryStorage(content: bytes), options: OpenOptions(readOnly: false))
        #expect(throws: ImageError.self) { try (writer as? any SnapshotCapable)?.createSnapshot(named: "more") }
    }

    /// As many snapshots, each with an L1 table of 32 MiB at another place of the same few megabytes.
    @Test func snapshotTablesThatShareTheirPlaceAreNotAllRead() throws {
        var bytes = try sample()
        var table: [UInt8] = []
        for number in 0..<1000 {
            table += be64(UInt64(number) * 0x10000)
            table.putBE(UInt32(4 << 20))
            table.putBE(UInt16(4))
            table.putBE(UInt16(0))
            table += [UInt8](repeating: 0, count: 20)
            table.putBE(UInt32(0))
            table += Array(String(1000 + number).utf8) + [0, 0, 0, 0]
        }
        let end = (bytes.count + 65535) & ~65535
        bytes += [UInt8](repeating: 0, count: end - bytes.count) + table
        var count: [UInt8] = []
        count.putBE(UInt32(1000))
        bytes.overwrite(60, with: count + be64(UInt64(end)))
        let result = try check(bytes)
        #expect(result.findings.contains { $0.contains("snapshots share places") })
    }

    @Test func bitmapDirectoriesBeyondTheLimitsAreRefused() throws {
        let good = QCOW2HostileTableTests.bitmapImage
        for (name, offset, bytes) in [
            ("65536 bitmaps", 0, [UInt8](be64(65536).suffix(4))), ("directory of 2^40 bytes", 8, be64(1 << 40)),
            ("directory out of the file", 16, be64(1 << 50)),
        ] {
            var image = try good()
            let place = try #require(Self.bitmapExtension(image))
            image.overwrite(place + offset, with: bytes)
            let device = try QCOW2Format().open(
                storage: MemoryStorage(content: image, readOnly: true), options: OpenOptions())
            #expect(try check(image).corruptions > 0, "\(name)")
            _ = device.formatDetails
        }
    }

    private static func bitmapImage() throws -> [UInt8] {
        let storage = MemoryStorage()
        try QCOW2Format().create(in: storage, request: CreateRequest(path: "m", size: 4 << 20))
        let device = try QCOW2Format().open(storage: storage, options: OpenOptions(readOnly: false))
        try DiskImage.changeBitmap(device, named: "b", .add(granularity: nil, disabled: false))
        try device.close()
        return storage.bytes
    }

    /// Where the data of the bitmap extension begins.
    private static func bitmapExtension(_ bytes: [UInt8]) -> Int? {
        var at = Int(bytes.be32(100))
        while at + 8 < 65536, bytes.be32(at) != 0 {
            if bytes.be32(at) == QCOW2Header.Extension.bitmaps { return at + 8 }
            at += 8 + (Int(bytes.be32(at + 4)) + 7) & ~7
        }
        return nil
    }
}
