import Testing

@testable import Emulator

/// The floppy controller, driven as a BIOS does.
@Suite struct FDC82077Tests {
    final class Clock { var now: UInt64 = 0 }
    final class Channel: FloppyDMA {
        var memory: [UInt8] = []
        var at = 0
        func deviceToMemory(_ data: UnsafeRawBufferPointer) -> (moved: Int, isTerminal: Bool) {
            let count = min(data.count, memory.count - at)
            for i in 0..<count { memory[at + i] = data[i] }
            at += count
            return (count, at == memory.count && count > 0)
        }
        func memoryToDevice(_ data: UnsafeMutableRawBufferPointer) -> (moved: Int, isTerminal: Bool) {
            let count = min(data.count, memory.count - at)
            for i in 0..<count { data[i] = memory[at + i] }
            at += count
            return (count, at == memory.count && count > 0)
        }
    }

    let ports = PortBus()
    let clock = Clock()
    let scheduler: Scheduler
    let channel = Channel()
    let disk = MemoryDisk(patternBytes: 1440 * 1024)
    let line = IRQLine.unconnected()
    let controller: FDC82077

    init() {
        let clock = clock
        scheduler = Scheduler { clock.now }
        controller = FDC82077(
            drives: [FloppyDrive(kind: .highDensity, disk: disk)], irq: line, dma: channel, scheduler: scheduler)
        controller.attach(to: ports)
        controller.reset()
        out(2, 0x00)
        out(2, 0x1C)
        run()
        for _ in 0..<4 { #expect(command([0x08]).count == 2) }
        out(7, 0)
        #expect(command([0x03, 0xAF, 0x02]) == [])
    }

    func out(_ register: UInt16, _ value: UInt8) { ports.write(0x3F0 + register, size: 1, value: UInt32(value)) }
    func inb(_ register: UInt16) -> UInt8 { UInt8(ports.read(0x3F0 + register, size: 1)) }
    func run() {
        for _ in 0..<200 {
            clock.now += 100_000
            scheduler.advance(to: clock.now)
        }
    }

    /// Sends a command and reads its result.
    func command(_ bytes: [UInt8]) -> [UInt8] {
        for byte in bytes {
            #expect(inb(4) & 0xC0 == 0x80)
            out(5, byte)
        }
        run()
        return result()
    }

    func result() -> [UInt8] {
        var bytes: [UInt8] = []
        while inb(4) & 0xD0 == 0xD0 { bytes.append(inb(5)) }
        return bytes
    }

    func seek(_ track: UInt8) {
        #expect(command([0x0F, 0, track]) == [])
        #expect(line.level)
        #expect(command([0x08]) == [0x20, track])
        #expect(!line.level)
    }

    @Test func readsSectorsByDMAUntilTerminalCount() {
        seek(5)
        channel.memory = [UInt8](repeating: 0, count: 1024)
        #expect(command([0xE6, 0x04, 5, 1, 3, 2, 18, 0x1B, 0xFF]) == [4, 0, 0, 5, 1, 5, 2])
        let start = ((5 * 2 + 1) * 18 + 2) * 512
        #expect(channel.memory == (start..<start + 1024).map(MemoryDisk.pattern))
    }

    @Test func multiTrackReadCrossesToTheOtherHead() {
        seek(0)
        channel.memory = [UInt8](repeating: 0, count: 512 * 36)
        #expect(command([0xE6, 0x00, 0, 0, 1, 2, 18, 0x1B, 0xFF]) == [4, 0, 0, 1, 0, 1, 2])
        #expect(channel.memory == (0..<512 * 36).map(MemoryDisk.pattern))
    }

    @Test func writeReachesTheDisk() {
        seek(79)
        channel.memory = [UInt8](repeating: 0xA5, count: 512)
        #expect(command([0xC5, 0x00, 79, 0, 18, 2, 18, 0x1B, 0xFF])[0] == 0)
        #expect(disk.bytes[(79 * 36 + 17) * 512..<(79 * 36 + 18) * 512].allSatisfy { $0 == 0xA5 })
    }

    @Test func formatFillsATrack() {
        seek(10)
        channel.memory = (1...18).flatMap { [10, 0, UInt8($0), 2] }
        #expect(command([0x4D, 0x00, 2, 18, 0x6C, 0xF6])[0] & 0xC0 == 0)
        #expect(disk.bytes[10 * 36 * 512..<(10 * 36 + 18) * 512].allSatisfy { $0 == 0xF6 })
        #expect(disk.bytes[(10 * 36 + 18) * 512] == MemoryDisk.pattern((10 * 36 + 18) * 512))
    }

    @Test func transferThroughTheFIFOEndsAtTheEndOfTheTrack() {
        seek(0)
        #expect(command([0x03, 0xAF, 0x03]) == [])
        for byte: UInt8 in [0x46, 0, 0, 0, 18, 2, 18, 0x1B, 0xFF] { out(5, byte) }
        run()
        var data: [UInt8] = []
        while inb(4) & 0xF0 == 0xF0 { data.append(inb(5)) }
        #expect(data == (17 * 512..<18 * 512).map(MemoryDisk.pattern))
        run()
        #expect(result() == [0x40, 0x80, 0, 1, 0, 1, 2])
    }

    @Test func wrongPlacesAreReported() {
        seek(3)
        channel.memory = [UInt8](repeating: 0, count: 512)
        #expect(Array(command([0xE6, 0, 4, 0, 1, 2, 18, 0x1B, 0xFF])[0..<3]) == [0x40, 0x04, 0x10])
        #expect(Array(command([0xE6, 0, 3, 0, 19, 2, 19, 0x1B, 0xFF])[0..<3]) == [0x40, 0x04, 0])
        out(7, 2)
        #expect(Array(command([0x4A, 0])[0..<2]) == [0x40, 0x01])
        out(7, 0)
        #expect(Array(command([0x4A, 0])[0..<5]) == [0, 0, 0, 3, 0])
        #expect(command([0x1F]) == [0x80])
        #expect(command([0x08]) == [0x80])
    }

    @Test func changeLineClearsWithAStep() {
        #expect(inb(7) == 0x80)
        seek(1)
        #expect(inb(7) == 0)
        controller.drives[0].change(to: MemoryDisk(patternBytes: 720 * 1024, isReadOnly: true))
        #expect(inb(7) == 0x80)
        #expect(controller.drives[0].format.sectorsPerTrack == 9)
        seek(0)
        out(7, 2)
        channel.memory = [UInt8](repeating: 0, count: 512)
        #expect(Array(command([0xC5, 0, 0, 0, 1, 2, 9, 0x1B, 0xFF])[0..<2]) == [0x40, 0x02])
        #expect(command([0x04, 0]) == [0x78])
    }

    @Test func absentDriveFailsToSeek() {
        #expect(command([0x07, 1]) == [])
        #expect(command([0x08]) == [0x71, 0])
    }

    @Test func identifiesAsAn82077() {
        #expect(command([0x10]) == [0x90])
        #expect(command([0x94]) == [0x10])
        #expect(command([0x13, 0, 0x57, 0]) == [])
        #expect(command([0x0E]).count == 10)
    }

    @Test func randomBytesNeverHang() {
        var seed: UInt64 = 0xFEED_F00D_1234
        for _ in 0..<50_000 {
            seed ^= seed << 13
            seed ^= seed >> 7
            seed ^= seed << 17
            switch seed % 8 {
            case 0...4: out(5, UInt8(truncatingIfNeeded: seed >> 8))
            case 5: _ = inb(UInt16(seed >> 8 & 7))
            case 6: if seed >> 8 & 63 == 0 { out(2, UInt8(truncatingIfNeeded: seed >> 16)) }
            default:
                clock.now += 50_000
                scheduler.advance(to: clock.now)
                channel.memory = [UInt8](repeating: 0, count: Int(seed >> 8 & 1023))
                channel.at = 0
            }
        }
        out(2, 0)
        out(2, 0x1C)
        run()
        #expect(command([0x08]).count == 2)
    }
}
