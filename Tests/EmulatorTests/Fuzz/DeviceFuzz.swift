import Seeded

@testable import Emulator

/// A guest that knows where everything is and means no good: ports, memory-mapped registers, configuration space, DMA
/// descriptors that lead into devices, timers, the host's own events, and resets in the middle of it all.
struct DeviceFuzz {
    private static let memoryBytes: UInt64 = 4 << 20
    /// Where the guest builds its descriptor tables.
    private static let tables: UInt64 = 0x9000

    private final class Clock { var now: UInt64 = 0 }
    private final class Serial: SerialBackend, @unchecked Sendable {
        // Unchecked: used on the test's thread only.
        func transmit(_ byte: UInt8) {}
    }

    let board: PCBoard
    private let clock: Clock
    private var random: SeededRandom
    /// hda, hdb, the CD in hdc, floppy A, and two discs to change to.
    private let disks: [FuzzDisk]
    private var discs: ArraySlice<FuzzDisk> { disks[4...] }

    init(seed: UInt64) throws {
        let disks = [
            FuzzDisk(sizeBytes: 3 << 20, seed: seed), FuzzDisk(sizeBytes: 1 << 20, isReadOnly: true, seed: seed &+ 1),
            FuzzDisk(sizeBytes: 1 << 20, isReadOnly: true, seed: seed &+ 2),
            FuzzDisk(sizeBytes: 1440 << 10, seed: seed &+ 3),
            FuzzDisk(sizeBytes: 2048, isReadOnly: true, seed: seed &+ 4),
            FuzzDisk(sizeBytes: 3 << 20, isReadOnly: true, seed: seed &+ 5),
        ]
        try self.init(random: SeededRandom(seed), disks: disks)
        try board.reset()
    }

    private init(random: SeededRandom, disks: [FuzzDisk]) throws {
        self.random = random
        self.disks = disks
        let clock = Clock()
        self.clock = clock
        var config = PCConfig()
        config.memoryBytes = Self.memoryBytes
        config.clockSeconds = 1_000_000_000
        config.drives = [.disk(disks[0]), .disk(disks[1]), .cdrom(disks[2]), nil]
        config.floppies = [disks[3], nil]
        config.serialPorts = [Serial(), Serial(), nil, nil]
        config.debugExitPort = 0x501
        let image = [UInt8](repeating: 0xF4, count: 0x4_0000)
        board = try PCBoard(config: config, firmware: FirmwareROM(contents: image), clock: { clock.now })
    }

    // MARK: Saved states

    var savedState: [StateSection] { board.deviceList.saved(at: clock.now) }

    var memoryDigest: [UInt64] { [XXHash64.hash(board.memory.ram.bytes), XXHash64.hash(board.vga.video.bytes)] }

    /// Another board of the same make, with copies of the disks and of memory, that goes on from this one's saved state.
    func twin() throws -> DeviceFuzz {
        let twin = try DeviceFuzz(random: random, disks: disks.map { $0.copy() })
        if let drive = board.ide.cdroms[2], let other = twin.board.ide.cdroms[2] {
            let place = disks.firstIndex { $0 === drive.disc }
            other.changeDisc(place.map { twin.disks[$0] })
        }
        let memories = [
            (board.memory.ram.bytes, twin.board.memory.ram.base), (board.vga.video.bytes, twin.board.vga.video.base),
        ]
        for (from, to) in memories { to.copyMemory(from: from.baseAddress!, byteCount: from.count) }
        try twin.restore(savedState, at: clock.now)
        // Drives look at their disks when they are built.
        for (mine, theirs) in zip(disks, twin.disks) { theirs.agree(with: mine) }
        return twin
    }

    func restore(_ sections: [StateSection], at now: UInt64) throws {
        clock.now = now
        try board.deviceList.apply(sections, at: now)
    }

    var now: UInt64 { clock.now }

    // MARK: What a guest writes

    private mutating func number() -> UInt32 {
        switch random.below(8) {
        case 0: return 0
        case 1: return .max
        case 2: return UInt32(random.below(256))
        case 3: return 1 << UInt32(random.below(32))
        case 4: return random.pick([0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000])
        case 5: return UInt32(Self.tables) &+ UInt32(random.below(8)) * 8
        case 6: return UInt32(truncatingIfNeeded: address())
        default: return UInt32(truncatingIfNeeded: random.next())
        }
    }

    /// Somewhere that means something.
    private mutating func address() -> UInt64 {
        let places: [(base: UInt64, length: Int)] = [
            (0, 0x1_0000), (Self.tables, 0x100), (0xA_0000, 0x2_0000), (0xC_0000, 0x4_0000), (0x10_0000, 0x1_0000),
            (Self.memoryBytes - 64, 128), (0xFEC0_0000, 0x1000), (0xFED0_0000, 0x1000), (0xFEE0_0000, 0x1000),
            (0xE000_0000, 0x2000), (0xF000_0000, 0x2000), (0xFFFF_0000, 0x1_0000), (1 << 32, 0x1000),
            (~0xFFF, 0x1000),
        ]
        let place = random.pick(places)
        return place.base &+ UInt64(random.below(place.length))
    }

    private static let blocks: [(first: Int, count: Int)] = [
        (0x00, 16), (0x20, 2), (0x40, 4), (0x60, 5), (0x70, 2), (0x80, 16), (0x92, 1), (0xA0, 2), (0xB2, 2), (0xC0, 32),
        (0xF0, 2), (0x170, 8), (0x1CE, 3), (0x1F0, 8), (0x2E8, 8), (0x2F8, 8), (0x376, 1), (0x3B0, 48), (0x3E8, 8),
        (0x3F0, 16), (0x402, 1), (0x4D0, 2), (0x501, 4), (0x510, 2), (0x514, 8), (0x600, 64), (0xAFE0, 4), (0xB100, 16),
        (0xC000, 16), (0xCF8, 8),
    ]

    private mutating func port() -> UInt16 {
        if random.oneIn(20) { return UInt16(truncatingIfNeeded: random.next()) }
        let block = random.pick(Self.blocks)
        return UInt16(block.first + random.below(block.count))
    }

    private mutating func size() -> Int { random.pick([1, 1, 1, 2, 4]) }

    // MARK: Steps

    mutating func step() throws {
        switch random.below(100) {
        case 0..<34: out(port(), number(), size: size())
        case 34..<50:
            let size = size()
            let value = board.ports.read(port(), size: size)
            precondition(size == 4 || value >> UInt32(8 * size) == 0, "a wide answer")
        case 50..<60: touchMemory()
        case 60..<66: configure()
        case 66..<72: buildTables()
        case 72..<77: driveCommand()
        case 77..<79: packetCommand()
        case 79..<82: floppyCommand()
        case 82..<84: startBusMaster()
        case 84..<86: setMode()
        case 86..<88: bulk()
        case 88..<96: wait()
        case 96: acknowledge()
        case 97, 98: hostEvent()
        default: if random.oneIn(20) { try board.reset() }
        }
    }

    private func out(_ port: UInt16, _ value: UInt32, size: Int) {
        board.ports.write(port, size: size, value: value.clipped(toBytes: size))
    }
    private func out8(_ port: UInt16, _ value: UInt8) { board.ports.write(port, size: 1, value: UInt32(value)) }
    private mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: number()) }

    /// One access, or a few in a row at neighbouring registers.
    private mutating func touchMemory() {
        for _ in 0...random.below(4) {
            let size = random.pick([1, 2, 4, 8])
            let at = min(address() & 0xFFF, UInt64(4096 - size)) | address() & ~0xFFF
            if random.oneIn(3) {
                let value = board.memory.read(at, size: size)
                precondition(size == 8 || value >> UInt64(8 * size) == 0, "a wide answer")
            } else {
                board.memory.write(at, size: size, value: UInt64(number()) << 32 | UInt64(number()))
            }
        }
    }

    private mutating func configure() {
        let functions = [(0, 0), (1, 0), (1, 1), (1, 3), (2, 0)]
        let (slot, function) = random.pick(functions)
        let registers: [UInt32] = [
            0x04, 0x04, 0x10, 0x14, 0x18, 0x20, 0x30, 0x3C, 0x40, 0x50, 0x58, 0x5C, 0x60, 0x70, 0x80, 0x90, 0xD0,
        ]
        let register = random.oneIn(4) ? UInt32(random.below(64) * 4) : random.pick(registers)
        out(0xCF8, 0x8000_0000 | UInt32(slot << 11 | function << 8) | register, size: 4)
        let bars: [UInt32] = [0xC001, 0x1F1, 0xFFF1, 0xFFFF_FFFF, 0xE000_0000, 0xFEE0_0000, 0xA_0000, 0x8000, 0x1_0001]
        let value = random.oneIn(2) ? random.pick(bars) : number()
        out(UInt16(0xCFC + random.below(4)), value, size: size())
    }

    /// Physical region descriptors, fw_cfg's descriptors, TRIM ranges: words in memory that devices fetch.
    private mutating func buildTables() {
        for entry in 0..<4 + random.below(12) {
            let at = Self.tables + UInt64(entry * 8)
            let isLast: UInt64 = random.oneIn(3) ? 1 << 63 : 0
            var value = UInt64(UInt32(truncatingIfNeeded: address())) | UInt64(number() & 0xFFFF) << 32 | isLast
            if random.oneIn(3) { value = (UInt64(number()) << 32 | UInt64(number())).byteSwapped }
            board.memory.write(at, size: 8, value: value)
        }
    }

    /// Registers, then a command: mostly one that exists.
    private mutating func driveCommand() {
        let base: UInt16 = random.oneIn(3) ? 0x170 : 0x1F0
        out8(base + 6, random.pick([0xE0, 0xF0, 0xA0, 0xB0, byte()]))
        for _ in 0...1 { for register in 1...5 as ClosedRange<UInt16> { out8(base + register, byte()) } }
        if random.oneIn(2) { for register in 3...5 as ClosedRange<UInt16> { out8(base + register, 0) } }
        let commands: [UInt8] = [
            0x06, 0x08, 0x10, 0x20, 0x24, 0x25, 0x27, 0x29, 0x30, 0x34, 0x35, 0x39, 0x3D, 0x40, 0x42, 0x90, 0x91, 0xA0,
            0xA1, 0xB0, 0xC4, 0xC5, 0xC6, 0xC8, 0xCA, 0xCE, 0xE7, 0xEA, 0xEC, 0xEF, 0xF8,
        ]
        out8(base + 7, random.oneIn(8) ? byte() : random.pick(commands))
        for _ in 0..<random.below(300) {
            if random.oneIn(2) { out(base, number(), size: 2) } else { _ = board.ports.read(base, size: 2) }
        }
    }

    private mutating func packetCommand() {
        out8(0x376, random.oneIn(2) ? 0x02 : 0x00)
        out8(0x176, 0xA0)
        out8(0x171, random.oneIn(3) ? 1 : 0)
        out8(0x174, byte())
        out8(0x175, byte())
        out8(0x177, 0xA0)
        let commands: [UInt8] = [
            0x00, 0x03, 0x12, 0x1B, 0x1E, 0x25, 0x28, 0x2B, 0x43, 0x46, 0x4A, 0x51, 0x5A, 0xA8, 0xAD, 0xBB, 0xBD, 0xBE,
        ]
        var packet = [random.oneIn(8) ? byte() : random.pick(commands)] + (0..<11).map { _ in byte() }
        if random.oneIn(2) { packet.replaceSubrange(2..<6, with: [0, 0, byte() & 1, byte()]) }
        for word in 0..<6 { out(0x170, UInt32(packet[2 * word]) | UInt32(packet[2 * word + 1]) << 8, size: 2) }
        if random.oneIn(2) { startBusMaster() }
        for _ in 0..<random.below(2000) {
            _ = board.ports.read(0x170, size: 2)
            if random.oneIn(100) { wait() }
        }
    }

    private mutating func floppyCommand() {
        if random.oneIn(3) { out8(0x3F2, random.pick([0x1C, 0x0C, 0x08, 0x14, byte()])) }
        let row = random.pick(FDCCommand.rows)
        out8(0x3F5, random.oneIn(2) ? row.value | byte() & ~row.mask : byte())
        for _ in 0..<random.below(12) { out8(0x3F5, random.oneIn(2) ? UInt8(random.below(20)) : byte()) }
        // Channel 2 of the DMA controller, sometimes.
        if random.oneIn(2) {
            out8(0x0B, random.pick([0x46, 0x4A, 0x42, byte()]))
            for _ in 0..<2 { out8(0x04, byte()) }
            for _ in 0..<2 { out8(0x05, byte()) }
            out8(0x81, byte())
            out8(0x0A, 2)
        }
        for _ in 0..<random.below(20) { _ = board.ports.read(0x3F5, size: 1) }
    }

    private mutating func startBusMaster() {
        out(0xCF8, 0x8000_0920, size: 4)
        out(0xCFC, 0xC001, size: 4)
        out(0xCF8, 0x8000_0904, size: 4)
        out(0xCFC, 5, size: 2)
        let base: UInt16 = random.oneIn(2) ? 0xC000 : 0xC008
        out(base + 4, UInt32(Self.tables), size: 4)
        out8(base, random.pick([1, 9, 0, 8]))
    }

    private mutating func setMode() {
        for register in [1, 2, 3, 4, 5, 6, 8, 9] as [UInt32] where !random.oneIn(3) {
            out(0x1CE, register, size: 2)
            let values: [UInt32] = [0, 1, 4, 8, 15, 16, 24, 32, 0x41, 0xC1, 640, 480, 2560, 1600, 0xFFFF, number()]
            out(0x1CF, random.pick(values), size: 2)
        }
    }

    private mutating func bulk() {
        let port = port(), size = size(), count = 1 + random.below(64)
        var bytes = random.bytes(size * count)
        let device = board.ports.device(at: port)
        bytes.withUnsafeMutableBytes { buffer in
            guard let base = buffer.baseAddress else { return }
            if random.oneIn(2) {
                device.portReadBulk(port, size: size, count: count, into: base)
            } else {
                device.portWriteBulk(port, size: size, count: count, from: UnsafeRawPointer(base))
            }
        }
    }

    private mutating func wait() {
        switch random.below(20) {
        case 0: clock.now &+= 86_400_000_000_000
        case 1...4: clock.now &+= 50_000_000
        default: clock.now &+= UInt64(random.below(200_000))
        }
        board.scheduler.advance(to: clock.now)
    }

    private mutating func acknowledge() {
        _ = board.localAPIC.acknowledgeInterrupt()
        if random.oneIn(2) { board.memory.write(0xFEE0_00B0, size: 4, value: 0) }
        if random.oneIn(4) { board.localAPIC.tscDeadlineMSR = UInt64(number()) << 32 | UInt64(number()) }
        if random.oneIn(8) { _ = board.localAPIC.writeBase(UInt64(number())) }
        if random.oneIn(8) { board.localAPIC.taskPriority = byte() }
    }

    /// What people and clients do meanwhile.
    private mutating func hostEvent() {
        switch random.below(9) {
        case 0: board.pressPowerButton()
        case 1: board.serialInput(port: random.below(4), random.bytes(random.below(4000)))
        case 2: _ = board.keys.press([random.pick(["a", "ctrl", "pause", "print", "f7"])], holdMilliseconds: 1)
        case 3:
            board.keyboardController.mouse.move(
                dx: Int(Int32(bitPattern: number())), dy: Int(Int32(bitPattern: number())), wheel: 3, buttons: byte())
        case 4: board.ide.cdroms[2]?.changeDisc(random.oneIn(3) ? nil : random.pick(Array(discs)))
        case 5: _ = board.ide.cdroms[2]?.pressEject()
        case 6: if random.oneIn(8) { _ = board.vga.snapshot(showsBlinking: random.oneIn(2)) }
        case 7: _ = board.vga.textContents()
        default: board.uarts[0].receiveBreak()
        }
    }
}
