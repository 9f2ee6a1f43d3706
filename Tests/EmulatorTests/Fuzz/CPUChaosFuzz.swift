import Seeded

@testable import Emulator

/// A CPU in a random state that a guest can reach, running random bytes: nothing is compared, nothing may end the process.
///
/// Every mode is tried: real, virtual-8086, 16- and 32-bit protected, compatibility and 64-bit, with paging off or on over page tables
/// of random entries. Descriptor tables, stacks and handlers are random memory, so that most streams soon fault, and
/// faults are delivered wherever the tables lead.
struct CPUChaosFuzz {
    enum Mode: UInt64, CaseIterable { case real, virtual8086, protected16, protected32, compatibility, long64 }

    private static let megabytes: UInt64 = 4
    private static let slices = 40
    private static let sliceInstructions = 50

    let memory: PhysicalMap
    let cpu: CPU
    private var s: CPUPointer { cpu.state }

    init(engine: Engine) throws {
        memory = try PhysicalMap(ramSizeBytes: Self.megabytes << 20)
        cpu = CPU(memory: memory, ports: PortBus(), engine: engine)
        cpu.translator?.hotness = 0
        cpu.tripleFault = { [unowned cpu] in cpu.state.pointee.halted = true }
    }

    /// One stream: a fresh state, then slices with some memory and some registers changed in between.
    func run(seed: UInt64) {
        var random = SeededRandom(seed)
        let mode = random.pick(Mode.allCases)
        cpu.reset()
        fillMemory(&random)
        enter(mode, &random)
        for _ in 0..<Self.slices {
            _ = cpu.run(budget: Self.sliceInstructions)
            if s.pointee.halted || random.below(4) == 0 {
                s.pointee.halted = false
                // Back into RAM, with new code there.
                s.pointee.rip = random.next() & 0xFFFF
                writeCode(
                    at: (s.pointee.segments[SegmentIndex.cs].base &+ s.pointee.rip) & (Self.megabytes << 20 - 1),
                    &random)
            }
            for _ in 0..<3 { s.pointee.gpr[random.below(16)] = address(&random) }
        }
    }

    private func address(_ random: inout SeededRandom) -> UInt64 {
        switch random.below(6) {
        case 0: random.next()
        case 1: random.next() & 0xFFFF_FFFF
        case 2: UInt64(bitPattern: -Int64(random.below(32)))
        case 3: (random.next() & 0x3FF << 12) &- UInt64(random.below(16))
        default: random.next() & (Self.megabytes << 20 - 1)
        }
    }

    private func fillMemory(_ random: inout SeededRandom) {
        // Page tables: the first 64 KiB hold entries that point into RAM, mostly present, of all sizes and rights.
        for offset in stride(from: 0 as UInt64, to: 0x1_0000, by: 8) {
            let flags = random.next() & 0x8000_0000_0000_01FF
            let frame = random.next() & (Self.megabytes << 20 - 1) & ~0xFFF
            let entry = random.below(50) == 0 ? random.next() : frame & (random.below(2) == 0 ? 0xF000 : ~0) | flags | 1
            memory.write(offset, size: 8, value: entry)
        }
        for _ in 0..<64 { writeCode(at: 0x1_0000 + random.next() & 0xF_FFFF, &random) }
    }

    private func writeCode(at address: UInt64, _ random: inout SeededRandom) {
        var bytes = random.bytes(64)
        for i in bytes.indices where random.below(3) == 0 {
            bytes[i] = random.pick([0x0F, 0x66, 0xF2, 0xF3, 0x67, 0x48, 0x8B, 0x89, 0xA4, 0xCF, 0x9D, 0xD9, 0xDD])
        }
        bytes.withUnsafeBytes { memory.write(address, from: $0) }
    }

    private func enter(_ mode: Mode, _ random: inout SeededRandom) {
        let isReal = mode == .real || mode == .virtual8086
        let isLong = mode == .long64 || mode == .compatibility
        s.pointee.cr0 = 0x10 | (mode == .real ? 0 : CR0.pe) | random.next() & (CR0.mp | CR0.ne | CR0.wp | CR0.am)
        if random.below(8) == 0 { s.pointee.cr0 |= random.next() & (CR0.em | CR0.ts) }
        s.pointee.cr4 = random.next() & (CR4.pse | CR4.pge | CR4.de | CR4.tsd | CR4.vme | CR4.pvi | CR4.umip | CR4.smep)
        s.pointee.cr4 |= CR4.osfxsr | CR4.osxmmexcpt
        s.pointee.cr3 = random.next() & 0xF000
        s.pointee.efer = random.next() & (EFER.sce | EFER.nxe)
        if isLong {
            s.pointee.efer |= EFER.lme | EFER.lma
            s.pointee.cr4 |= CR4.pae
        }
        if mode != .real, isLong || random.below(2) == 0 { s.pointee.cr0 |= CR0.pg }
        if !isLong, random.below(2) == 0 { s.pointee.cr4 |= CR4.pae }
        for i in 0..<4 { s.pointee.pdpte[i] = random.next() & 0xF000 | 1 }
        let privilege: UInt16 = mode == .virtual8086 ? 3 : random.pick([0, 0, 3])
        for index in 0..<6 {
            s.pointee.segments[index] =
                isReal ? realSegment(&random) : segment(mode, isCode: index == SegmentIndex.cs, privilege, &random)
        }
        s.pointee.flagsRest =
            UInt32(truncatingIfNeeded: random.next()) & (RFLAGS.iopl | RFLAGS.interrupt | RFLAGS.df | RFLAGS.ac)
        if random.below(10) == 0 { s.pointee.flagsRest |= RFLAGS.tf }
        if mode == .virtual8086 { s.pointee.flagsRest |= RFLAGS.vm }
        s.pointee.gdtr = DescriptorTable(
            base: random.next() & 0xF_FFFF, limit: UInt16(truncatingIfNeeded: random.next()))
        s.pointee.idtr = DescriptorTable(
            base: random.next() & 0xF_FFFF, limit: UInt16(truncatingIfNeeded: random.next()))
        s.pointee.tr = Segment(selector: 0x50, attributes: 0x8B, limit: 0x67, base: random.next() & 0xF_FFFF)
        s.pointee.lstar = address(&random)
        s.pointee.star = random.next()
        s.pointee.sysenterCS = random.next() & 0xFFFF
        for i in 0..<16 { s.pointee.gpr[i] = address(&random) }
        s.pointee.rip = random.next() & 0xFFFF
        cpu.tlb.flush()
        cpu.updateMode()
        let start = (s.pointee.segments[SegmentIndex.cs].base &+ s.pointee.rip) & (Self.megabytes << 20 - 1)
        writeCode(at: start, &random)
    }

    private func realSegment(_ random: inout SeededRandom) -> Segment {
        let selector = UInt16(truncatingIfNeeded: random.next())
        return Segment(selector: selector, attributes: 0x93, limit: 0xFFFF, base: UInt64(selector) << 4)
    }

    private func segment(_ mode: Mode, isCode: Bool, _ privilege: UInt16, _ random: inout SeededRandom) -> Segment {
        let isFlat = mode == .long64 || random.below(2) == 0
        let size: UInt16 = mode == .long64 ? 0x2000 : mode == .protected16 ? 0 : 0x4000
        let type: UInt16 = isCode ? random.pick([0x1B, 0x1F, 0x19]) : random.pick([0x13, 0x13, 0x11, 0x17])
        return Segment(
            selector: UInt16(truncatingIfNeeded: random.next()) & ~3 | privilege,
            attributes: 0x80 | type | privilege << 5 | (isFlat ? 0x8000 : 0)
                | (isCode || size != 0x2000 ? size : 0x4000),
            limit: isFlat ? 0xFFFF_FFFF : UInt32(random.next() & 0xFFFFF),
            base: isFlat ? 0 : random.next() & 0xFFFF_FFFF)
    }
}
