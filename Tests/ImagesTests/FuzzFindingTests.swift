import Testing

@testable import Images

/// What imagefuzz has found, each as the smallest image that shows it.
@Suite struct FuzzFindingTests {
    private func open(_ bytes: [UInt8], _ format: String, readOnly: Bool = true) throws -> any BlockDevice {
        let storage = MemoryStorage(content: bytes, readOnly: readOnly)
        return try FormatRegistry.require(format).open(
            storage: storage, options: OpenOptions(readOnly: readOnly, openBacking: false, forCheck: true))
    }

    private func check(_ bytes: [UInt8], _ format: String) throws -> CheckResult {
        try DiskImage.check(open(bytes, format), repair: .none, verifyData: true)
    }

    private func be64(_ value: UInt64) -> [UInt8] {
        var out: [UInt8] = []
        out.putBE(value)
        return out
    }

    @Test func aRefcountBlockAtTheEndOfNumbersDoesNotOverflowTheCheck() throws {
        var bytes = try HostileImage.good("qcow2", options: [:])
        bytes.overwrite(0x10008, with: be64(0xffff_ffff_ffff_0000))
        #expect(try check(bytes, "qcow2").corruptions > 0)
    }

    @Test func aBitmapDirectoryOrLUKSHeaderAtTheEndOfNumbersDoesNotOverflowTheCheck() throws {
        for type in [QCOW2Header.Extension.crypto, QCOW2Header.Extension.bitmaps] {
            let storage = MemoryStorage(content: try HostileImage.good("qcow2", options: [:]))
            var header = try QCOW2Header(parsing: storage)
            if type == QCOW2Header.Extension.crypto {
                header.cryptoHeader = (0x20000, .max)
            } else {
                header.bitmaps = (1, 64, 0xffff_ffff_ffff_fff8)
            }
            try storage.write(header.encoded(), at: 0)
            #expect(try check(storage.bytes, "qcow2").corruptions > 0)
        }
    }

    @Test func theLastSequenceNumberOfAVHDXHeaderHasNoSuccessor() throws {
        var bytes = try HostileImage.good("vhdx", options: ["block_size": "1M"])
        for place in VHDXHeader.offsets.map({ Int($0) }) {
            var header = Array(bytes[place..<place + 4096])
            header.overwrite(8, with: [UInt8](repeating: 0xff, count: 8))
            header.overwrite(48, with: [UInt8](repeating: 0, count: 16))
            CRC32C.seal(&header, at: 4)
            // Two valid headers with one number must be alike, so the second is spoilt.
            bytes.overwrite(place, with: place == 65536 ? header : [UInt8](repeating: 0, count: 4096))
        }
        let device = try open(bytes, "vhdx", readOnly: false)
        let error = #expect(throws: ImageError.self) { try device.put([1, 2, 3], at: 0) }
        #expect(error?.message.contains("18446744073709551615") == true)
    }

    @Test func aVHDXLogMayNotZeroMoreThanAGibibyte() throws {
        let storage = MemoryStorage(content: try HostileImage.good("vhdx", options: ["block_size": "1M"]))
        var header = try VHDXHeader(storage)
        header.log = GUID.random()
        try header.write(to: storage)
        // One entry of 100 "zero" descriptors of 1 GiB each.
        var entry = VHDXLog.encode(
            (0..<100).map { (UInt64($0) << 30, [UInt8](repeating: 0, count: 4096)) }, at: 0, sequence: 1,
            guid: header.log, fileBytes: storage.byteCount)
        for index in 0..<100 {
            var descriptor = Array("zero".utf8) + [0, 0, 0, 0]
            descriptor.putLE(UInt64(1) << 30)
            entry.overwrite(64 + index * 32, with: descriptor)
        }
        CRC32C.seal(&entry, at: 4)
        try storage.write(entry, at: header.logOffset)
        let error = #expect(throws: ImageError.self) { _ = try open(storage.bytes, "vhdx") }
        #expect(error?.message.contains("zeroes") == true, "\(error?.message ?? "")")
    }

    @Test func aLUKSSlotOfFourThousandMillionIterationsIsRefusedAtOnce() throws {
        var bytes = try HostileImage.good("luks", options: ["key-secret": "key", "iter-time": "1"])
        bytes.overwrite(212, with: [0xff, 0xff, 0xff, 0xff])
        let error = #expect(throws: ImageError.self) { _ = try open(bytes, "luks") }
        #expect(error?.kind == .corrupt)
    }

    @Test func aDiskOfHalfATebibyteInAVMDKOfGarbageIsCheckedSoon() throws {
        var bytes = try HostileImage.good("vmdk", options: [:])
        // Capacity 2^30 sectors: the directory now reaches over all other tables, which lead anywhere.
        bytes[15] |= 0x40
        let result = try check(bytes, "vmdk")
        #expect(result.corruptions > 0)
        #expect(result.findings.count <= 1000)
    }

    @Test func aRunOfExtentsEndsBeforeAnEntryThatCannotBeRead() throws {
        var bytes = try HostileImage.good("vdi", options: [:])
        // Block 2 lies nowhere; blocks 0 and 1 are as before.
        bytes.overwrite(512 + 8, with: [0xff, 0xff, 0xff, 0x0f])
        let device = try open(bytes, "vdi")
        let data = try device.extent(at: 0, limit: device.size)
        let hole = try device.extent(at: data.length, limit: device.size - data.length)
        #expect(data.kind == .data && hole.kind == .unallocated)
        #expect(data.length + hole.length == 2 << 20)
        #expect(throws: ImageError.self) { _ = try device.extent(at: 2 << 20, limit: 1 << 20) }
    }

    @Test func aTableOfGarbageIsReportedInAThousandLinesAtMost() throws {
        var bytes = try HostileImage.good("parallels", options: ["cluster_size": "65536"])
        bytes.overwrite(32, with: [0, 0, 4, 0])  // 262144 entries
        bytes += [UInt8](repeating: 0xaa, count: (1 << 20) + 64)
        let result = try check(bytes, "parallels")
        #expect(result.corruptions > 100_000)
        #expect(result.findings.count == 1000)
    }

    @Test func aFileMustNotGrowIntoAnEntryBeyondItsEnd() throws {
        for (format, entry, value, options) in [
            ("parallels", 68, [0, 0, 1, 0], ["cluster_size": "65536"]), ("vpc", 1540, [0, 0, 0x80, 0], [:]),
        ] as [(String, Int, [UInt8], [String: String])] {
            var bytes = try HostileImage.good(format, options: options)
            // The second block lies where nothing is yet.
            bytes.overwrite(entry, with: value)
            let device = try open(bytes, format, readOnly: false)
            let error = #expect(throws: ImageError.self, "\(format)") {
                try device.put([1, 2, 3], at: format == "vpc" ? 4 << 20 : 3 << 20)
            }
            #expect(error?.message.contains("cannot grow") == true, "\(format): \(error?.message ?? "")")
        }
    }
}
