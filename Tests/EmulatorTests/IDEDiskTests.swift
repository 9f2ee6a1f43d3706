import Testing

@testable import Emulator

/// Disks, driven as SeaBIOS (polled PIO) and Linux's ata_piix (interrupts, bus master) do.
@Suite struct IDEDiskTests {
    static let sectors = 4096
    let disk = MemoryDisk(patternBytes: sectors * 512)

    func pattern(_ lba: Int, _ count: Int) -> [UInt8] {
        (lba * 512..<(lba + count) * 512).map(MemoryDisk.pattern)
    }

    @Test func identifyTellsModelAndSize() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.command(0xEC)
        #expect(rig.altStatus & 0x80 != 0)
        #expect(rig.wait() == 0x58)
        let data = rig.dataIn(512)
        let words = (0..<256).map { UInt16(data[$0 * 2]) | UInt16(data[$0 * 2 + 1]) << 8 }
        #expect(words[0] == 0x0040)
        #expect(Int(words[60]) | Int(words[61]) << 16 == Self.sectors)
        #expect(Int(words[100]) == Self.sectors)
        let model = words[27..<47].flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] }
        #expect(String(decoding: model, as: UTF8.self).hasPrefix("QEMU HARDDISK "))
        #expect(rig.inb(7) == 0x50)
        #expect(rig.interrupts.edges == [1, 0])
    }

    @Test func polledReadMovesEverySector() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.ports.write(rig.control, size: 1, value: 0x0A)
        rig.command(0x20, lba: 100, count: 3)
        var data: [UInt8] = []
        for _ in 0..<3 {
            #expect(rig.wait() & 0x89 == 0x08)
            data += rig.dataIn(512)
        }
        #expect(data == pattern(100, 3))
        #expect(rig.wait() == 0x50)
        #expect(rig.interrupts.edges == [0, 0])
    }

    @Test func zeroCountMeans256Sectors() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.command(0xC4, lba: 5, count: 0)
        var data: [UInt8] = []
        while rig.wait() & 0x08 != 0 { data += rig.dataIn(16 * 512) }
        #expect(data == pattern(5, 256))
    }

    @Test func readMultipleInterruptsOncePerBlock() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.command(0xC6, count: 8)
        #expect(rig.wait() == 0x50)
        let before = rig.interrupts.edges[0]
        rig.command(0xC4, lba: 0, count: 20)
        var blocks: [Int] = []
        for expected in [8, 8, 4] {
            #expect(rig.wait() & 0x08 != 0)
            blocks.append(expected)
            #expect(rig.dataIn(expected * 512).count == expected * 512)
        }
        #expect(rig.wait() == 0x50)
        #expect(rig.interrupts.edges[0] - before == blocks.count)
    }

    @Test func chsReadUsesTheGeometryThatTheDriverSet() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.command(0x91, count: 17, device: 0xA0 | 3)
        #expect(rig.wait() == 0x50)
        // Cylinder 10, head 2, sector 5 of 4 heads × 17 sectors.
        rig.out(6, 0xA0 | 2)
        rig.out(2, 1)
        rig.out(3, 5)
        rig.out(4, 10)
        rig.out(5, 0)
        rig.out(7, 0x20)
        #expect(rig.wait() & 0x08 != 0)
        #expect(rig.dataIn(512) == pattern((10 * 4 + 2) * 17 + 4, 1))
    }

    @Test func pioWriteReachesTheDiskAndInterruptsAfterEachSector() throws {
        let rig = try IDETestRig([.disk(disk)])
        let data = (0..<1024).map { UInt8(truncatingIfNeeded: $0 ^ 0x5A) }
        rig.command(0x30, lba: 7, count: 2)
        #expect(rig.inb(7) & 0x88 == 0x08)
        #expect(rig.interrupts.edges[0] == 0)
        rig.dataOut(Array(data[0..<512]))
        #expect(rig.wait() & 0x89 == 0x08)
        rig.dataOut(Array(data[512...]))
        rig.run()
        #expect(rig.wait() == 0x50)
        #expect(rig.interrupts.edges[0] == 2)
        #expect(Array(disk.bytes[7 * 512..<9 * 512]) == data)
    }

    @Test func dmaReadScattersOverDescriptors() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.setTable([(0x20000, 512), (0x30F00, 1024), (0x40000, 2560)])
        rig.command(0xC8, lba: 50, count: 8)
        rig.startEngine(read: true)
        #expect(rig.engineStatus & 5 == 1)
        #expect(rig.altStatus & 0x80 != 0)
        rig.run()
        #expect(rig.interrupts.edges[0] == 1)
        #expect(rig.engineStatus & 5 == 4)
        rig.stopEngine()
        #expect(rig.inb(7) == 0x50)
        var data = rig.guestBytes(0x20000, 512)
        data += rig.guestBytes(0x30F00, 1024)
        data += rig.guestBytes(0x40000, 2560)
        #expect(data == pattern(50, 8))
    }

    @Test func engineMayBeStartedBeforeTheCommand() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.setTable([(0x20000, 512)])
        rig.startEngine(read: true)
        rig.command(0xC8, lba: 9, count: 1)
        rig.run()
        #expect(rig.engineStatus & 5 == 4)
        #expect(rig.guestBytes(0x20000, 512) == pattern(9, 1))
    }

    @Test func lba48DMAWriteOfMoreThanOneBufferReachesTheDisk() throws {
        let rig = try IDETestRig([.disk(disk)])
        let sectors = 700
        let data = (0..<sectors * 512).map { UInt8(truncatingIfNeeded: $0 &* 13 &+ $0 >> 8) }
        rig.setGuestBytes(0x100000, data)
        let whole = data.count / 65536
        var entries = (0..<whole).map { (address: UInt32(0x100000 + $0 * 65536), count: 0) }
        entries.append((UInt32(0x100000 + whole * 65536), data.count % 65536))
        rig.setTable(entries)
        rig.command48(0x35, lba: 1234, count: UInt16(sectors))
        rig.startEngine(read: false)
        rig.run()
        rig.run()
        rig.run()
        #expect(rig.engineStatus & 5 == 4)
        #expect(rig.wait() == 0x50)
        #expect(Array(disk.bytes[1234 * 512..<1234 * 512 + data.count]) == data)
    }

    @Test func descriptorsLongerThanTheTransferLeaveTheEngineActive() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.setTable([(0x20000, 4096)])
        rig.command(0xC8, lba: 0, count: 1)
        rig.startEngine(read: true)
        rig.run()
        #expect(rig.engineStatus & 5 == 5)
        rig.stopEngine()
        #expect(rig.engineStatus & 1 == 0)
    }

    @Test func descriptorsShorterThanTheTransferEndWithoutInterrupt() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.setTable([(0x20000, 512)])
        rig.command(0xC8, lba: 0, count: 2)
        rig.startEngine(read: true)
        rig.run()
        #expect(rig.engineStatus & 5 == 0)
        #expect(rig.interrupts.edges[0] == 0)
        #expect(rig.altStatus & 0x88 == 0)
        #expect(rig.guestBytes(0x20200, 4) == [0, 0, 0, 0])
    }

    @Test func tableWithoutEndIsBounded() throws {
        let rig = try IDETestRig([.disk(disk)])
        // Descriptors of two bytes each that repeat through all of memory.
        for at in stride(from: UInt64(0), to: 0x40000, by: 8) {
            rig.memory.write(at, size: 8, value: 0x2_0010_0000)
        }
        rig.ports.write(rig.engine + 4, size: 4, value: 0)
        rig.command48(0x25, lba: 0, count: 4000)
        rig.startEngine(read: true)
        for _ in 0..<40 { rig.run() }
        #expect(rig.engineStatus & 1 == 0)
        #expect(rig.interrupts.edges[0] == 0)
    }

    @Test func dmaToNowhereIsDropped() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.setTable([(0xFFFF_FF00, 4096)])
        rig.command(0xC8, lba: 0, count: 8)
        rig.startEngine(read: true)
        rig.run()
        #expect(rig.engineStatus & 5 == 4)
    }

    @Test func requestsPastTheEndAreRefused() throws {
        let rig = try IDETestRig([.disk(disk)])
        for (lba, count) in [(Self.sectors, 1), (Self.sectors - 1, 2), (0x0FFF_FFFF, 1)] {
            rig.command(0x20, lba: UInt32(lba), count: UInt8(count))
            #expect(rig.wait() == 0x51)
            #expect(rig.inb(1) == 0x10)
        }
        rig.command48(0x24, lba: 0xFFFF_FFFF_FFFF, count: 0)
        #expect(rig.wait() == 0x51)
        rig.command(0x20, lba: UInt32(Self.sectors - 1), count: 1)
        #expect(rig.wait() == 0x58)
    }

    @Test func hostReadErrorNamesTheBadSector() throws {
        let rig = try IDETestRig([.disk(disk)])
        disk.badRange = 12 * 512..<13 * 512
        rig.command(0x20, lba: 10, count: 4)
        for _ in 0..<2 {
            #expect(rig.wait() & 0x09 == 0x08)
            _ = rig.dataIn(512)
        }
        #expect(rig.wait() == 0x51)
        #expect(rig.inb(1) == 0x40)
        #expect(rig.inb(3) == 12)
    }

    @Test func unknownCommandsAbortAndInterrupt() throws {
        let rig = try IDETestRig([.disk(disk)])
        for code: UInt8 in [0x00, 0x08, 0xA0, 0xA1, 0xF1, 0xFF] {
            let before = rig.interrupts.edges[0]
            rig.command(code)
            #expect(rig.wait() == 0x51)
            #expect(rig.inb(1) == 0x04)
            #expect(rig.interrupts.edges[0] == before + 1)
        }
    }

    @Test func readOnlyDiskRefusesWrites() throws {
        let rig = try IDETestRig([.disk(MemoryDisk(patternBytes: 65536, isReadOnly: true))])
        rig.command(0x30, lba: 0, count: 1)
        #expect(rig.wait() == 0x51)
        #expect(rig.inb(1) == 0x04)
    }

    @Test func flushReachesTheBackend() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.command(0xE7)
        #expect(rig.wait() == 0x50)
        rig.command48(0xEA, lba: 0, count: 0)
        #expect(rig.wait() == 0x50)
        #expect(disk.flushes == 2)
    }

    @Test func trimDiscardsTheRanges() throws {
        let rig = try IDETestRig([.disk(disk)])
        var list = [UInt8](repeating: 0, count: 512)
        list.replaceSubrange(0..<16, with: [8, 0, 0, 0, 0, 0, 16, 0, 64, 0, 0, 0, 0, 0, 1, 0])
        rig.setGuestBytes(0x20000, list)
        rig.setTable([(0x20000, 512)])
        rig.command48(0x06, lba: 0, count: 1, feature: 1)
        rig.startEngine(read: false)
        rig.run()
        #expect(rig.wait() == 0x50)
        let expected: [Range<UInt64>] = [4096..<12288, 32768..<33280]
        #expect(disk.discarded == expected)
    }

    @Test func missingSlaveReadsStatusZeroAndIgnoresCommands() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.out(6, 0xF0)
        #expect(rig.inb(7) == 0)
        rig.out(7, 0xEC)
        rig.run()
        #expect(rig.altStatus == 0)
        #expect(rig.interrupts.edges == [0, 0])
        rig.out(6, 0xE0)
        #expect(rig.inb(7) == 0x50)
    }

    /// Linux tells an empty slot from a disk by status alone once the signature says "disk".
    @Test func missingSlaveShowsADiskSignatureAfterReset() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.out(6, 0xB0)
        rig.out(2, 0x55)
        rig.out(3, 0xAA)
        rig.ports.write(rig.control, size: 1, value: 0x0E)
        rig.ports.write(rig.control, size: 1, value: 0x0A)
        #expect(rig.inb(6) == 0xA0)
        rig.out(6, 0xB0)
        #expect(rig.taskFile == [0, 1, 1, 0, 0])
        #expect(rig.inb(7) == 0)
    }

    @Test func emptyChannelReadsZero() throws {
        let rig = try IDETestRig([.disk(disk)], channel: 1)
        #expect(rig.taskFile == [0, 0, 0, 0, 0] && rig.inb(6) == 0 && rig.inb(7) == 0)
    }

    @Test func masterAndSlaveAreSeparate() throws {
        let other = MemoryDisk((0..<65536).map { UInt8(truncatingIfNeeded: $0 / 512) })
        let rig = try IDETestRig([.disk(disk), .disk(other)])
        rig.command(0x20, lba: 3, count: 1, device: 0xF0)
        #expect(rig.wait() & 0x08 != 0)
        #expect(rig.dataIn(512) == [UInt8](repeating: 3, count: 512))
        rig.command(0x20, lba: 3, count: 1, device: 0xE0)
        #expect(rig.wait() & 0x08 != 0)
        #expect(rig.dataIn(512) == pattern(3, 1))
    }

    @Test func softResetEndsACommandAndShowsTheSignature() throws {
        let rig = try IDETestRig([.disk(disk), .cdrom(nil)])
        rig.command(0x20, lba: 0, count: 4)
        #expect(rig.wait() & 0x08 != 0)
        rig.ports.write(rig.control, size: 1, value: 0x0C)
        #expect(rig.altStatus & 0x80 != 0)
        rig.ports.write(rig.control, size: 1, value: 0x08)
        #expect(rig.wait() == 0x50)
        #expect(rig.taskFile == [1, 1, 1, 0, 0])
        rig.out(6, 0xB0)
        #expect(rig.taskFile == [1, 1, 1, 0x14, 0xEB])
    }

    @Test func highOrderByteShowsThePreviousContent() throws {
        let rig = try IDETestRig([.disk(disk)])
        rig.command48(0x27, lba: 0, count: 0)
        #expect(rig.wait() == 0x50)
        #expect(rig.inb(3) == UInt8((Self.sectors - 1) & 0xFF))
        #expect(rig.inb(4) == UInt8((Self.sectors - 1) >> 8))
        rig.out(2, 0x12)
        rig.out(2, 0x34)
        rig.ports.write(rig.control, size: 1, value: 0x88)
        #expect(rig.inb(2) == 0x12)
        rig.ports.write(rig.control, size: 1, value: 0x08)
        #expect(rig.inb(2) == 0x34)
    }

    @Test func geometryFollowsSizeAndPartitionTable() {
        let plain = DiskGeometry(totalSectors: 4096 * 1024, bootSector: [])
        #expect((plain.cylinders, plain.heads, plain.sectorsPerTrack) == (4161, 16, 63))
        #expect(plain.translation == .lba)
        #expect(DiskGeometry(totalSectors: 20480, bootSector: []).translation == .none)
        var boot = [UInt8](repeating: 0, count: 512)
        boot[510] = 0x55
        boot[511] = 0xAA
        boot.replaceSubrange(0x1BE..<0x1CE, with: [0x80, 1, 1, 0, 6, 3, 17, 200, 17, 0, 0, 0, 0, 0x50, 0, 0])
        let small = DiskGeometry(totalSectors: 20480, bootSector: boot)
        #expect((small.cylinders, small.heads, small.sectorsPerTrack) == (20480 / 68, 4, 17))
        boot[0x1BE + 5] = 254
        boot[0x1BE + 6] = 63
        let large = DiskGeometry(totalSectors: 4096 * 1024, bootSector: boot)
        #expect((large.cylinders, large.heads, large.translation) == (4161, 16, .large))
    }

    @Test func hostileRegisterWritesNeverEscape() throws {
        let rig = try IDETestRig([.disk(disk), .cdrom(MemoryDisk(patternBytes: 300 * 2048, isReadOnly: true))])
        var seed: UInt64 = 0x1234_5678_9ABC_DEF1
        func random() -> UInt64 {
            seed ^= seed << 13
            seed ^= seed >> 7
            seed ^= seed << 17
            return seed
        }
        for _ in 0..<200_000 {
            let value = random()
            switch value % 16 {
            case 0...7: rig.out(UInt16(value % 8), UInt8(truncatingIfNeeded: value >> 8))
            case 8: rig.ports.write(rig.base, size: 4, value: UInt32(truncatingIfNeeded: value >> 16))
            case 9: _ = rig.dataIn(Int(value >> 8 & 0x3FE))
            case 10: rig.run(value >> 8 & 0xFFFF)
            case 11: _ = rig.ports.read(rig.base + UInt16(value >> 8 & 7), size: 1 << Int(value >> 12 & 1))
            case 12: rig.ports.write(rig.control, size: 1, value: UInt32(value >> 8 & 0xFF) & 0xF2)
            case 13: rig.ports.write(rig.engine + UInt16(value >> 8 & 7), size: 1, value: UInt32(value >> 12 & 0xFF))
            case 14: rig.dataOut((0..<12).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 5)) })
            default: rig.out(7, [0x20, 0xC8, 0xCA, 0x30, 0xA0, 0x25, 0x35, 0x06, 0xEC, 0xC5][Int(value >> 8) % 10])
            }
        }
        // It still works after a reset.
        rig.controller.reset()
        rig.command(0xEC)
        #expect(rig.wait() == 0x58)
    }
}
