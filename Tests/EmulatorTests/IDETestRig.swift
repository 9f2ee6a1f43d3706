@testable import Emulator

/// A disk in memory; chosen byte ranges fail.
final class MemoryDisk: DiskBackend, @unchecked Sendable {
    var bytes: [UInt8]
    let isReadOnly: Bool
    var badRange: Range<Int>?
    var flushes = 0
    var discarded: [Range<UInt64>] = []
    var sizeBytes: UInt64 { UInt64(bytes.count) }

    init(_ bytes: [UInt8], isReadOnly: Bool = false) {
        self.bytes = bytes
        self.isReadOnly = isReadOnly
    }

    /// Every byte tells its place.
    convenience init(patternBytes count: Int, isReadOnly: Bool = false) {
        self.init((0..<count).map { Self.pattern($0) }, isReadOnly: isReadOnly)
    }

    static func pattern(_ offset: Int) -> UInt8 { UInt8(truncatingIfNeeded: offset &* 7 &+ offset >> 9) }

    private func check(_ offset: UInt64, _ count: Int) throws(DiskBackendError) {
        let range = Int(offset)..<Int(offset) + count
        if let badRange, badRange.overlaps(range) { throw DiskBackendError("bad range") }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        try check(offset, buffer.count)
        for i in 0..<buffer.count {
            let at = Int(offset) + i
            buffer[i] = at < bytes.count ? bytes[at] : 0
        }
    }

    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        try check(offset, buffer.count)
        for i in 0..<buffer.count { bytes[Int(offset) + i] = buffer[i] }
    }

    func flush() throws(DiskBackendError) { flushes += 1 }

    func discard(at offset: UInt64, length: UInt64) throws(DiskBackendError) {
        discarded.append(offset..<offset + length)
    }
}

/// An IDE controller on buses of its own with a clock that the test moves, driven as a driver does.
final class IDETestRig {
    final class Clock { var now: UInt64 = 0 }

    let ports = PortBus()
    let memory: PhysicalMap
    let clock = Clock()
    let scheduler: Scheduler
    let controller: IDEController
    /// Rising edges on IRQ 14 and 15.
    final class Counter { var edges = [0, 0] }
    let interrupts = Counter()
    let base: UInt16
    let control: UInt16
    let busMaster: UInt16 = 0xC000

    init(_ media: [IDEMedium?], channel: Int = 0) throws {
        memory = try PhysicalMap(ramSizeBytes: 4 << 20)
        let clock = clock
        scheduler = Scheduler { clock.now }
        let counter = interrupts
        let lines = (0..<2).map { index in IRQLine { level in if level { counter.edges[index] += 1 } } }
        controller = IDEController(
            ports: ports, memory: memory, scheduler: scheduler, primaryIRQ: lines[0], secondaryIRQ: lines[1],
            media: media)
        controller.configWrite(0x20, size: 4, value: UInt32(busMaster))
        controller.configWrite(0x04, size: 2, value: 0x05)
        base = channel == 0 ? 0x1F0 : 0x170
        control = channel == 0 ? 0x3F6 : 0x376
    }

    func out(_ register: UInt16, _ value: UInt8) { ports.write(base + register, size: 1, value: UInt32(value)) }
    func inb(_ register: UInt16) -> UInt8 { UInt8(ports.read(base + register, size: 1)) }
    /// Error, count and the three LBA registers.
    var taskFile: [UInt8] { (1...5).map { inb($0) } }
    var altStatus: UInt8 { UInt8(ports.read(control, size: 1)) }

    /// Lets guest time pass.
    func run(_ nanoseconds: UInt64 = 100_000) {
        clock.now += nanoseconds
        scheduler.advance(to: clock.now)
    }

    /// Polls until BSY clears, as firmware does; returns the status.
    @discardableResult func wait() -> UInt8 {
        var polls = 0
        while altStatus & 0x80 != 0, polls < 10_000 {
            run(500)
            polls += 1
        }
        return inb(7)
    }

    /// Writes a 28-bit command.
    func command(_ code: UInt8, lba: UInt32 = 0, count: UInt8 = 0, feature: UInt8 = 0, device: UInt8 = 0xE0) {
        out(6, device | UInt8(lba >> 24 & 15))
        out(1, feature)
        out(2, count)
        out(3, UInt8(truncatingIfNeeded: lba))
        out(4, UInt8(truncatingIfNeeded: lba >> 8))
        out(5, UInt8(truncatingIfNeeded: lba >> 16))
        out(7, code)
    }

    /// Writes a 48-bit command: high bytes first.
    func command48(_ code: UInt8, lba: UInt64, count: UInt16, feature: UInt16 = 0) {
        out(6, 0xE0)
        for shift: UInt64 in [8, 0] {
            out(1, UInt8(truncatingIfNeeded: feature >> UInt16(shift)))
            out(2, UInt8(truncatingIfNeeded: count >> UInt16(shift)))
            out(3, UInt8(truncatingIfNeeded: lba >> (shift == 8 ? 24 : 0)))
            out(4, UInt8(truncatingIfNeeded: lba >> (shift == 8 ? 32 : 8)))
            out(5, UInt8(truncatingIfNeeded: lba >> (shift == 8 ? 40 : 16)))
        }
        out(7, code)
    }

    /// `rep insw`.
    func dataIn(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0xEE, count: count)
        bytes.withUnsafeMutableBytes {
            ports.device(at: base).portReadBulk(base, size: 2, count: count / 2, into: $0.baseAddress!)
        }
        return bytes
    }

    /// `rep outsw`.
    func dataOut(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes {
            ports.device(at: base).portWriteBulk(base, size: 2, count: bytes.count / 2, from: $0.baseAddress!)
        }
    }

    // MARK: Bus master

    static let table: UInt64 = 0x1000

    /// Writes a descriptor table and points the engine at it.
    func setTable(_ entries: [(address: UInt32, count: Int)], endMark: Bool = true) {
        for (i, entry) in entries.enumerated() {
            let end: UInt64 = endMark && i == entries.count - 1 ? 1 << 63 : 0
            let raw = UInt64(entry.address) | UInt64(entry.count & 0xFFFF) << 32 | end
            memory.write(Self.table + UInt64(8 * i), size: 8, value: raw)
        }
        ports.write(engine + 4, size: 4, value: UInt32(Self.table))
        ports.write(engine + 2, size: 1, value: 6)
    }

    var engine: UInt16 { busMaster + (base == 0x1F0 ? 0 : 8) }
    func startEngine(read: Bool) { ports.write(engine, size: 1, value: read ? 9 : 1) }
    func stopEngine() { ports.write(engine, size: 1, value: 0) }
    var engineStatus: UInt8 { UInt8(ports.read(engine + 2, size: 1)) }

    func guestBytes(_ address: UInt64, _ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBytes { memory.read(address, into: $0) }
        return bytes
    }

    func setGuestBytes(_ address: UInt64, _ bytes: [UInt8]) {
        bytes.withUnsafeBytes { memory.write(address, from: $0) }
    }

    // MARK: ATAPI

    /// Sends a packet; the answer by PIO with the given byte count limit, or by DMA into memory at 64 KiB.
    func packet(_ bytes: [UInt8], limit: UInt16 = 2048, dma: Int? = nil, device: UInt8 = 0xA0) -> [UInt8] {
        out(6, device)
        out(1, dma == nil ? 0 : 1)
        out(4, UInt8(truncatingIfNeeded: limit))
        out(5, UInt8(limit >> 8))
        out(7, 0xA0)
        guard wait() & 0x08 != 0 else { return [] }
        dataOut(bytes + [UInt8](repeating: 0, count: 12 - bytes.count))
        if let dma {
            setTable([(0x10000, dma)])
            startEngine(read: true)
            wait()
            stopEngine()
            return guestBytes(0x10000, dma)
        }
        var answer: [UInt8] = []
        while wait() & 0x08 != 0 {
            let count = Int(inb(4)) | Int(inb(5)) << 8
            answer += dataIn((count + 1) & ~1).prefix(count)
        }
        return answer
    }
}
