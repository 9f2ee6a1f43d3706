import Testing

@testable import Emulator

/// CD-ROM drive, driven as SeaBIOS (PIO) and Linux's sr (DMA) do.
@Suite struct ATAPITests {
    static let blocks = 500
    let disc = MemoryDisk(patternBytes: blocks * 2048, isReadOnly: true)

    func rig(empty: Bool = false) throws -> IDETestRig {
        try IDETestRig([nil, nil, .cdrom(empty ? nil : disc)], channel: 1)
    }

    func pattern(_ lba: Int, _ count: Int) -> [UInt8] {
        (lba * 2048..<(lba + count) * 2048).map(MemoryDisk.pattern)
    }

    func read10(_ lba: Int, _ count: Int) -> [UInt8] {
        [0x28, 0, 0, 0, UInt8(lba >> 8), UInt8(lba & 0xFF), 0, UInt8(count >> 8), UInt8(count & 0xFF)]
    }

    func sense(_ rig: IDETestRig) -> [UInt8] {
        let data = rig.packet([0x03, 0, 0, 0, 18])
        return data.count == 18 ? [data[2], data[12], data[13]] : []
    }

    @Test func signatureAndIdentify() throws {
        let rig = try rig()
        rig.command(0xEC, device: 0xA0)
        #expect(rig.wait() & 0x01 != 0)
        #expect([rig.inb(4), rig.inb(5)] == [0x14, 0xEB])
        rig.command(0xA1, device: 0xA0)
        #expect(rig.wait() & 0x08 != 0)
        let data = rig.dataIn(512)
        #expect(data[0] == 0xC0 && data[1] == 0x85)
        #expect(rig.interrupts.edges[1] == 2)
    }

    @Test func pioReadComesInBlocksOfTheByteCount() throws {
        let rig = try rig()
        #expect(rig.packet(read10(10, 5)) == pattern(10, 5))
        #expect(rig.inb(2) & 3 == 3)
        #expect(rig.inb(7) == 0x50)
        // Odd, tiny and huge limits give the same bytes.
        for limit: UInt16 in [0, 1, 2, 500, 2047, 4096, 0xFFFE, 0xFFFF] {
            #expect(rig.packet(read10(20, 40), limit: limit) == pattern(20, 40))
        }
    }

    @Test func dmaReadLandsInMemory() throws {
        let rig = try rig()
        let count = 31
        #expect(rig.packet(read10(100, count), dma: count * 2048) == pattern(100, count))
        #expect(rig.engineStatus & 4 != 0)
        #expect(rig.inb(2) & 3 == 3)
    }

    @Test func capacityAndInquiry() throws {
        let rig = try rig()
        #expect(rig.packet([0x25]) == [0, 0, 1, 0xF3, 0, 0, 8, 0])
        let inquiry = rig.packet([0x12, 0, 0, 0, 36])
        #expect(inquiry[0] == 5 && inquiry[1] == 0x80)
        #expect(String(decoding: inquiry[8..<32], as: UTF8.self) == "QEMU    QEMU DVD-ROM    ")
        #expect(rig.packet([0x12, 0, 0, 0, 5]).count == 5)
    }

    @Test func tableOfContentsInAllFormats() throws {
        let rig = try rig()
        #expect(
            rig.packet([0x43, 0, 0, 0, 0, 0, 0, 0, 100])
                == [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x16, 0xAA, 0, 0, 0, 1, 0xF4])
        // Times: block 500 is 650 frames from the start.
        #expect(rig.packet([0x43, 2, 0, 0, 0, 0, 0xAA, 0, 100]) == [0, 10, 1, 1, 0, 0x16, 0xAA, 0, 0, 0, 8, 50])
        #expect(rig.packet([0x43, 0, 1, 0, 0, 0, 0, 0, 100]) == [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0])
        #expect(rig.packet([0x43, 0, 2, 0, 0, 0, 0, 0, 100]).count == 4 + 4 * 11)
        #expect(rig.packet([0x43, 0, 5, 0, 0, 0, 0, 0, 100]).isEmpty)
        #expect(sense(rig) == [5, 0x24, 0])
    }

    @Test func rawSectorsCarryValidCodes() throws {
        let rig = try rig()
        let data = rig.packet([0xBE, 0, 0, 0, 0, 150, 0, 0, 1, 0xF8], limit: 2352)
        #expect(data.count == 2352)
        let sync: [UInt8] = [0] + [UInt8](repeating: 0xFF, count: 10) + [0]
        #expect(Array(data[0..<12]) == sync)
        #expect(Array(data[12..<16]) == [0x00, 0x04, 0x00, 1])
        #expect(Array(data[16..<2064]) == pattern(150, 1))
        // The EDC of a sector with its EDC appended is zero.
        var edc: UInt32 = 0
        for byte in data[0..<2068] {
            edc ^= UInt32(byte)
            for _ in 0..<8 { edc = edc & 1 != 0 ? edc >> 1 ^ 0xD801_8001 : edc >> 1 }
        }
        #expect(edc == 0)
        // P parity: the plain sum over each column of words is zero.
        for column in 0..<86 {
            var sum: UInt8 = 0
            for row in 0..<26 { sum ^= data[12 + column + row * 86] }
            #expect(sum == 0)
        }
    }

    @Test func emptyDriveSaysNoMedium() throws {
        let rig = try rig(empty: true)
        #expect(rig.packet([0x00]).isEmpty)
        #expect(rig.inb(7) & 1 != 0)
        #expect(rig.inb(1) >> 4 == 2)
        #expect(sense(rig) == [2, 0x3A, 1])
        #expect(sense(rig) == [0, 0, 0])
    }

    @Test func newDiscIsAnnouncedOnce() throws {
        let rig = try rig(empty: true)
        let drive = rig.controller.cdroms[2]!
        drive.changeDisc(disc)
        #expect(rig.packet([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]) == [0, 6, 4, 0x10, 2, 2, 0, 0])
        #expect(rig.packet([0x00]).isEmpty)
        #expect(sense(rig) == [6, 0x28, 0])
        _ = rig.packet([0x00])
        #expect(rig.inb(7) == 0x50)
        #expect(rig.packet(read10(0, 1)) == pattern(0, 1))
    }

    @Test func ejectLockAndLoad() throws {
        let rig = try rig()
        let drive = rig.controller.cdroms[2]!
        _ = rig.packet([0x1E, 0, 0, 0, 1])
        #expect(!drive.pressEject())
        #expect(rig.packet([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8])[4] == 1)
        _ = rig.packet([0x1B, 0, 0, 0, 2])
        #expect(sense(rig) == [5, 0x53, 2])
        _ = rig.packet([0x1E, 0, 0, 0, 0])
        _ = rig.packet([0x1B, 0, 0, 0, 2])
        #expect(drive.isTrayOpen)
        _ = rig.packet([0x00])
        #expect(sense(rig) == [2, 0x3A, 2])
        _ = rig.packet([0x1B, 0, 0, 0, 3])
        #expect(!drive.isTrayOpen)
        _ = rig.packet([0x00])
        #expect(sense(rig) == [6, 0x28, 0])
    }

    @Test func readsPastTheEndAndBadOpcodesAreRefused() throws {
        let rig = try rig()
        #expect(rig.packet(read10(Self.blocks - 1, 2)).isEmpty)
        #expect(sense(rig) == [5, 0x21, 0])
        #expect(rig.packet([0xA8, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]).isEmpty)
        #expect(sense(rig) == [5, 0x21, 0])
        #expect(rig.packet([0xDD]).isEmpty)
        #expect(sense(rig) == [5, 0x20, 0])
    }

    @Test func hostReadErrorIsAMediumError() throws {
        let rig = try rig()
        disc.badRange = 30 * 2048..<31 * 2048
        #expect(rig.packet(read10(30, 1)).isEmpty)
        #expect(sense(rig) == [3, 0x11, 0])
        #expect(rig.packet(read10(29, 1)) == pattern(29, 1))
    }

    @Test func describesItself() throws {
        let rig = try rig()
        let configuration = rig.packet([0x46, 0, 0, 0, 0, 0, 0, 0, 255])
        #expect(Int(configuration[3]) + 4 == configuration.count)
        #expect(Array(configuration[6..<8]) == [0, 8])
        let pages = rig.packet([0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 255])
        #expect(Int(pages[1]) + 2 == pages.count)
        #expect(pages[8] == 0x2A)
        #expect(rig.packet([0x51, 0, 0, 0, 0, 0, 0, 0, 34]).count == 34)
        #expect(rig.packet([0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8]).count == 8)
        #expect(rig.packet([0xAD, 0, 0, 0, 0, 0, 0, 0, 8, 4]).isEmpty)
        #expect(sense(rig) == [5, 0x30, 2])
    }

    @Test func softResetKeepsTheDisc() throws {
        let rig = try rig()
        rig.ports.write(rig.control, size: 1, value: 0x0C)
        rig.ports.write(rig.control, size: 1, value: 0x08)
        rig.run()
        #expect(rig.inb(7) == 0)
        #expect([rig.inb(4), rig.inb(5)] == [0x14, 0xEB])
        #expect(rig.packet(read10(1, 1)) == pattern(1, 1))
    }
}
