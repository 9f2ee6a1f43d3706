import Testing

@testable import Emulator

@Suite struct DMA8237Tests {
    let memory: PhysicalMap
    let dma: DMA8237
    let ports = PortBus()

    init() throws {
        memory = try PhysicalMap(ramSizeBytes: 4 << 20)
        dma = DMA8237(memory: memory)
        dma.attach(to: ports)
    }

    /// Programs channel 2 as the floppy driver does.
    private func program(mode: UInt8, address: UInt32, count: UInt16) {
        ports.out8(0x0A, 0x06)
        ports.out8(0x0C, 0)
        ports.out8(0x0B, mode)
        ports.out8(0x04, UInt8(truncatingIfNeeded: address))
        ports.out8(0x04, UInt8(truncatingIfNeeded: address >> 8))
        ports.out8(0x81, UInt8(truncatingIfNeeded: address >> 16))
        ports.out8(0x05, UInt8(truncatingIfNeeded: count))
        ports.out8(0x05, UInt8(count >> 8))
        ports.out8(0x0A, 0x02)
    }

    private func send(_ channel: Int, _ bytes: [UInt8]) -> (count: Int, isDone: Bool) {
        bytes.withUnsafeBytes { dma.write(channel, from: $0) }
    }

    @Test func aDeviceWritesMemoryUntilTerminalCount() {
        program(mode: 0x46, address: 0x12_3400, count: 3)
        let result = send(2, [1, 2, 3, 4, 5, 6])
        #expect(result.count == 4)
        #expect(result.isDone)
        #expect(memory.read(0x12_3400, size: 8) == 0x0403_0201)
        #expect(!dma.isReady(2))
        #expect(ports.in8(0x08) == 0x04)
        #expect(ports.in8(0x08) == 0)
    }

    @Test func aDeviceReadsMemory() {
        memory.write(0x5000, size: 4, value: 0x4433_2211)
        program(mode: 0x4A, address: 0x5000, count: 511)
        var bytes = [UInt8](repeating: 0, count: 4)
        let result = bytes.withUnsafeMutableBytes { dma.read(2, into: $0) }
        #expect(result.count == 4)
        #expect(!result.isDone)
        #expect(bytes == [0x11, 0x22, 0x33, 0x44])
        ports.out8(0x0C, 0)
        #expect([ports.in8(0x04), ports.in8(0x04)] == [0x04, 0x50])
        #expect([ports.in8(0x05), ports.in8(0x05)] == [0xFB, 0x01])
    }

    @Test func addressesWrapInsideTheirPage() {
        program(mode: 0x46, address: 0x1_FFFF, count: 1)
        _ = send(2, [0xAA, 0xBB])
        #expect(memory.read(0x1_FFFF, size: 1) == 0xAA)
        #expect(memory.read(0x1_0000, size: 1) == 0xBB)
        #expect(memory.read(0x2_0000, size: 1) == 0)
    }

    @Test func autoinitialiseStartsAgainAndDownCountsBackwards() {
        program(mode: 0x76, address: 0x6001, count: 1)
        #expect(send(2, [1, 2]).isDone)
        #expect(memory.read(0x6000, size: 2) == 0x0102)
        #expect(dma.isReady(2))
        #expect(send(2, [3, 4]).isDone)
        #expect(memory.read(0x6000, size: 2) == 0x0304)
    }

    @Test func wordChannelsCountWords() {
        ports.out8(0xD8, 0)
        ports.out8(0xD6, 0x45)
        for (port, value) in [(0xC4, 0x00), (0xC4, 0x10), (0xC6, 0x01), (0xC6, 0x00), (0x8B, 0x02)] as [(UInt16, UInt8)]
        {
            ports.out8(port, value)
        }
        ports.out8(0xD4, 0x01)
        #expect(send(5, [1, 2, 3, 4, 5, 6]).count == 4)
        #expect(memory.read(0x2_2000, size: 4) == 0x0403_0201)
    }

    @Test func pagesAndMasksReadBack() {
        ports.out8(0x87, 0x5A)
        ports.out8(0x84, 0xA5)
        #expect(ports.in8(0x87) == 0x5A)
        #expect(ports.in8(0x84) == 0xA5)
        ports.out8(0x0D, 0)
        #expect(ports.in8(0x0F) == 0x0F)
        ports.out8(0x0E, 0)
        #expect(ports.in8(0x0F) == 0)
    }
}
