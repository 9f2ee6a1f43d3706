import Seeded

@testable import Emulator

/// Random instructions in every mode over random system state: page tables, descriptors, task segments, control and debug
/// registers, memory that leads nowhere. There is nothing to compare with; the emulator must come back, and nothing else.
struct CPUChaosFuzz {
    enum Mode: CaseIterable { case real, virtual8086, protected, protectedPaging, pae, long }

    private static let memoryBytes: UInt64 = 4 << 20
    private static let pageTables: UInt64 = 0x10_0000

    private let rig: SystemRig
    private var random: SeededRandom
    private let mode: Mode

    /// Ports that answer nonsense.
    private final class Noise: PortDevice {
        private var value: UInt32 = 0
        func portRead(_ port: UInt16, size: Int) -> UInt32 {
            value = value &* 1_664_525 &+ 1_013_904_223
            return value
        }
        func portWrite(_ port: UInt16, size: Int, value: UInt32) { self.value = value }
    }

    /// Registers in memory space that answer nonsense, more than they were asked for.
    private final class NoisePage: MMIODevice {
        func mmioRead(_ offset: UInt64, size: Int) -> UInt64 { offset &* 0x9E37_79B9_7F4A_7C15 }
        func mmioWrite(_ offset: UInt64, size: Int, value: UInt64) {}
    }

    init(seed: UInt64) throws {
        random = SeededRandom(seed)
        mode = Mode.allCases[Int(seed % UInt64(Mode.allCases.count))]
        switch mode {
        case .real: rig = try SystemRig(.real)
        case .long: rig = try SystemRig(.long64)
        default: rig = try SystemRig(.protected32)
        }
        rig.ports.claim(0, count: 65536, by: Noise())
        rig.memory.map("noise", at: 0x30_0000, length: 0x1000, .device(NoisePage()))
        rig.cpu.acknowledgeInterrupt = { 0x40 }
        var ticks: UInt64 = 0
        rig.cpu.tscNow = {
            ticks &+= 100
            return ticks
        }
    }

    // MARK: State

    private mutating func word() -> UInt64 {
        switch random.below(5) {
        case 0: return UInt64(random.below(256))
        case 1: return UInt64(random.below(Int(Self.memoryBytes)))
        case 2: return ~UInt64(random.below(4096))
        case 3: return 1 << UInt64(random.below(64))
        default: return random.next()
        }
    }

    /// A page table that maps most of memory to somewhere in it, some of it to nothing, devices or reserved bits.
    private mutating func writeEntries(at table: UInt64, count: Int, size: Int, next: UInt64?) {
        for index in 0..<count {
            var entry = UInt64(random.below(Int(Self.memoryBytes) >> 12)) << 12
            if let next { entry = next &+ UInt64(random.below(4)) << 12 }
            entry |= random.oneIn(12) ? random.next() & 0xFFF : 0x67
            if random.oneIn(40) { entry = random.next() }
            rig.memory.write(table + UInt64(index * size), size: size, value: entry)
        }
    }

    private mutating func setPaging() {
        let s = rig.s
        // Four pages of tables a level; the lowest level maps the code's own page to itself.
        for level in 0..<4 {
            for page in 0..<4 {
                let at = Self.pageTables + UInt64(level * 4 + page) << 12
                let next = level == 3 ? nil : Self.pageTables + UInt64((level + 1) * 4) << 12
                writeEntries(
                    at: at, count: mode == .protectedPaging ? 1024 : 512, size: mode == .protectedPaging ? 4 : 8,
                    next: next)
            }
        }
        let last = Self.pageTables + 12 << 12
        for page in 0..<UInt64(16) {
            for table in 0..<UInt64(4) {
                let size: UInt64 = mode == .protectedPaging ? 4 : 8
                rig.memory.write(last + table << 12 + page * size, size: Int(size), value: page << 12 | 0x67)
            }
        }
        if mode != .protectedPaging { s.pointee.cr4 |= CR4.pae }
        // 32-bit paging has two levels, PAE three, long mode four.
        let level: UInt64 = mode == .long ? 0 : mode == .pae ? 1 : 2
        s.pointee.cr3 = Self.pageTables + (level * 4) << 12
        s.pointee.cr0 |= CR0.pg
        rig.cpu.flushTLB()
    }

    private mutating func setState() {
        let s = rig.s
        for register in 0..<16 { s.pointee.gpr[register] = word() }
        s.pointee.gpr[Register.rsp] = 0x8000 &+ UInt64(random.below(64))
        s.pointee.pendingDebug = 0
        s.pointee.fault.isPending = false
        s.pointee.halted = false
        if mode != .real {
            for entry in 0..<32 where random.oneIn(3) {
                rig.write64(random.next(), at: SystemRig.gdt + UInt64(entry * 8))
            }
            for vector in 0..<256 where random.oneIn(6) {
                rig.write64(random.next(), at: SystemRig.idt + UInt64(vector * (mode == .long ? 16 : 8)))
            }
            for at in stride(from: 0, to: 0x68, by: 8) where random.oneIn(4) {
                rig.write64(random.next(), at: SystemRig.tss + UInt64(at))
            }
            if random.oneIn(3) { rig.enter(privilege: 3) }
            if random.oneIn(8) { s.pointee.idtr.limit = UInt16(truncatingIfNeeded: word()) }
            if random.oneIn(8) { s.pointee.gdtr.base = word() }
        }
        if mode == .virtual8086 {
            s.pointee.flagsRest |= RFLAGS.vm
            for index in 0..<6 {
                let selector = UInt16(truncatingIfNeeded: word())
                s.pointee.segments[index] = Segment(
                    selector: selector, attributes: 0x00F3, limit: 0xFFFF, base: UInt64(selector) << 4)
            }
            s.pointee.segments[SegmentIndex.cs] = Segment(selector: 0, attributes: 0x00F3, limit: 0xFFFF, base: 0)
            s.pointee.segments[SegmentIndex.ss] = Segment(selector: 0, attributes: 0x00F3, limit: 0xFFFF, base: 0)
        }
        if mode == .protectedPaging || mode == .pae || mode == .long && random.oneIn(2) { setPaging() }
        s.pointee.cr4 |= CR4.osfxsr | CR4.osxmmexcpt
        rig.cpu.updateMode()
        s.pointee.rip = SystemRig.code
        if random.oneIn(4) { s.pointee.interruptRequest = true }
        if random.oneIn(16) { s.pointee.nmiRequest = true }
    }

    /// Bytes that are mostly instructions.
    private mutating func code(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        let rows = OpcodeTable.shared.rows
        while bytes.count < count {
            if random.oneIn(10) {
                bytes.append(UInt8(truncatingIfNeeded: random.next()))
                continue
            }
            let row = random.pick(rows)
            if random.oneIn(6) { bytes.append(random.pick([0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x26, 0x2E, 0x64, 0x65])) }
            switch row.prefix {
            case .p66: bytes.append(0x66)
            case .pF2: bytes.append(0xF2)
            case .pF3: bytes.append(0xF3)
            case .any, .none: break
            }
            if mode == .long, random.oneIn(2) { bytes.append(0x40 | UInt8(random.below(16))) }
            switch row.map {
            case .one: break
            case .two: bytes.append(0x0F)
            case .three38: bytes += [0x0F, 0x38]
            case .three3A: bytes += [0x0F, 0x3A]
            }
            bytes.append(row.opcode | (row.attributes.contains(.plusRegister) ? UInt8(random.below(8)) : 0))
            if row.attributes.contains(.hasModRM) {
                var modRM = UInt8(truncatingIfNeeded: random.next())
                if let selector = row.extension_ { modRM = modRM & 0xC7 | selector << 3 }
                bytes.append(row.exactModRM ?? modRM)
            }
            bytes += random.bytes(random.below(5))
        }
        return bytes
    }

    // MARK: Running

    /// Runs programs of a few hundred bytes, each from fresh state.
    mutating func run(programs: Int, engine: FuzzEngine) {
        for _ in 0..<programs {
            setState()
            rig.write(code(300), at: SystemRig.code)
            // The privileged part of the state is the guest's too: what it does with it must end as well.
            for _ in 0..<6 {
                _ = engine.run(rig.cpu, 300)
                if rig.s.pointee.halted { rig.s.pointee.halted = false }
                if random.oneIn(3) { rig.s.pointee.interruptRequest = random.oneIn(2) }
                if random.oneIn(10) { rig.memory.a20Mask = random.oneIn(2) ? ~0 : ~(1 << 20) }
            }
            rig.cpu.reset()
            rig.memory.a20Mask = ~0
            restart()
        }
    }

    /// Back to where the rig began, with what programs left in memory.
    private func restart() {
        let s = rig.s
        switch mode {
        case .real:
            s.pointee.segments[SegmentIndex.cs] = Segment(selector: 0, attributes: 0x9B, limit: 0xFFFF, base: 0)
            s.pointee.idtr.limit = 0x3FF
            rig.cpu.updateMode()
        case .long, .protected, .protectedPaging, .pae, .virtual8086:
            s.pointee.gdtr = DescriptorTable(base: SystemRig.gdt, limit: 0xFF)
            s.pointee.idtr = DescriptorTable(base: SystemRig.idt, limit: 0xFFF)
            s.pointee.tr = Segment(
                selector: SystemRig.Selector.tss, attributes: 0x8B, limit: 0xFF, base: SystemRig.tss)
            s.pointee.cr0 |= CR0.pe | CR0.ne
            if mode == .long { s.pointee.efer = EFER.lme | EFER.lma | EFER.sce | EFER.nxe }
            rig.enter(privilege: 0)
        }
    }
}
