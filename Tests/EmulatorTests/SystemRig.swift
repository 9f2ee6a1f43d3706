@testable import Emulator

/// A CPU without a board in real, protected or long mode, with descriptor tables, a TSS and an interrupt handler per
/// vector that halts. Paging stays off, also in long mode, which is enough for everything but the walks themselves.
///
/// Linear layout: code 1000h, GDT 2000h, IDT 3000h, TSS 4000h, handlers 6000h + 10h * vector, second TSS 5000h,
/// ring-0 stack of the TSS below 9000h, interrupt stack table below A000h, data B000h, ring-3 stack below E000h.
final class SystemRig {
    enum Selector {
        static let code32: UInt16 = 0x08, data: UInt16 = 0x10, userCode: UInt16 = 0x1B, userData: UInt16 = 0x23
        static let code64: UInt16 = 0x28, userCode64: UInt16 = 0x33, code16: UInt16 = 0x38, data16: UInt16 = 0x40
        static let tss: UInt16 = 0x50, gate: UInt16 = 0x60, secondTSS: UInt16 = 0x70, spare: UInt16 = 0x80
    }
    enum Mode { case real, protected32, long64 }

    static let code: UInt64 = 0x1000, gdt: UInt64 = 0x2000, idt: UInt64 = 0x3000, tss: UInt64 = 0x4000
    static let secondTSS: UInt64 = 0x5000, handlers: UInt64 = 0x6000, ringStack: UInt64 = 0x9000
    static let istStack: UInt64 = 0xA000, data: UInt64 = 0xB000, userStack: UInt64 = 0xE000

    let memory: PhysicalMap
    let ports = PortBus()
    let cpu: CPU
    let mode: Mode
    var tripleFaults = 0
    var s: CPUPointer { cpu.state }

    init(_ mode: Mode, features: CPUFeatures = CPUFeatures(), engine: Engine = .interpreter) throws {
        self.mode = mode
        memory = try PhysicalMap(ramSizeBytes: 4 << 20)
        cpu = CPU(memory: memory, ports: ports, features: features, engine: engine)
        cpu.translator?.hotness = 0
        cpu.tripleFault = { [unowned self] in
            tripleFaults += 1
            s.pointee.halted = true
        }
        for vector in 0..<256 { write([0xF4], at: Self.handlers + UInt64(vector) * 16) }
        if mode == .real {
            s.pointee.segments[SegmentIndex.cs] = Segment(selector: 0, attributes: 0x9B, limit: 0xFFFF, base: 0)
            for vector in 0..<256 { write16(UInt16(Self.handlers) + UInt16(vector) * 16, at: UInt64(vector) * 4) }
            s.pointee.idtr.limit = 0x3FF
            cpu.updateMode()
        } else {
            buildTables()
        }
        s.pointee.gpr[Register.rsp] = 0x8000
    }

    private func buildTables() {
        let isLong = mode == .long64
        setDescriptor(Selector.code32, 0x00CF_9B00_0000_FFFF)
        setDescriptor(Selector.data, 0x00CF_9300_0000_FFFF)
        setDescriptor(Selector.userCode, 0x00CF_FB00_0000_FFFF)
        setDescriptor(Selector.userData, 0x00CF_F300_0000_FFFF)
        setDescriptor(Selector.code64, 0x00AF_9B00_0000_FFFF)
        setDescriptor(Selector.userCode64, 0x00AF_FB00_0000_FFFF)
        setDescriptor(Selector.code16, 0x0000_9B00_0000_FFFF)
        setDescriptor(Selector.data16, 0x0000_9300_0000_FFFF)
        setDescriptor(Selector.tss, 0x0000_8B00_0000_00FF | Self.tss << 16)
        setDescriptor(Selector.secondTSS, 0x0000_8900_0000_0067 | Self.secondTSS << 16)
        s.pointee.gdtr = DescriptorTable(base: Self.gdt, limit: 0xFF)
        s.pointee.idtr = DescriptorTable(base: Self.idt, limit: 0xFFF)
        s.pointee.tr = Segment(selector: Selector.tss, attributes: 0x8B, limit: 0xFF, base: Self.tss)
        s.pointee.cr0 |= CR0.pe | CR0.ne
        if isLong { s.pointee.efer = EFER.lme | EFER.lma | EFER.sce | EFER.nxe }
        for vector in 0..<256 { setGate(UInt8(vector)) }
        if isLong {
            write64(Self.ringStack, at: Self.tss + 4)
            write64(Self.istStack, at: Self.tss + 0x24)
        } else {
            write32(UInt32(Self.ringStack), at: Self.tss + 4)
            write16(Selector.data, at: Self.tss + 8)
        }
        // The I/O map begins at 68h and allows nothing.
        write16(0x68, at: Self.tss + 0x66)
        write([UInt8](repeating: 0xFF, count: 0x98), at: Self.tss + 0x68)
        enter(privilege: 0)
    }

    /// Loads flat segments of a privilege level, as if control had been there all along.
    func enter(privilege: UInt8) {
        let dpl = UInt16(privilege) << 5
        let code: UInt16 = mode == .long64 ? 0xA09B : 0xC09B
        let codeSelector =
            mode == .long64
            ? (privilege == 3 ? Selector.userCode64 : Selector.code64)
            : (privilege == 3 ? Selector.userCode : Selector.code32)
        let dataSelector = privilege == 3 ? Selector.userData : Selector.data
        for index in 0..<6 {
            s.pointee.segments[index] = Segment(
                selector: dataSelector, attributes: 0xC093 | dpl, limit: 0xFFFF_FFFF, base: 0)
        }
        s.pointee.segments[SegmentIndex.cs] = Segment(
            selector: codeSelector, attributes: code | dpl, limit: 0xFFFF_FFFF, base: 0)
        cpu.updateMode()
        s.pointee.gpr[Register.rsp] = privilege == 3 ? Self.userStack : 0x8000
    }

    func setDescriptor(_ selector: UInt16, _ raw: UInt64) { write64(raw, at: Self.gdt + UInt64(selector & 0xFFF8)) }

    /// An interrupt gate of privilege `dpl` to the vector's handler, or to `offset`.
    func setGate(_ vector: UInt8, dpl: UInt8 = 0, ist: UInt8 = 0, trap: Bool = false, to offset: UInt64? = nil) {
        let target = offset ?? Self.handlers + UInt64(vector) * 16
        let selector = mode == .long64 ? Selector.code64 : Selector.code32
        let type = UInt64(trap ? 0x8F : 0x8E) | UInt64(dpl) << 5
        let raw = target & 0xFFFF | UInt64(selector) << 16 | UInt64(ist) << 32 | type << 40 | (target >> 16) << 48
        if mode == .long64 {
            write64(raw, at: Self.idt + UInt64(vector) * 16)
            write64(0, at: Self.idt + UInt64(vector) * 16 + 8)
        } else {
            write64(raw, at: Self.idt + UInt64(vector) * 8)
        }
    }

    /// Runs `bytes` with a HLT behind them until the CPU halts or `limit` instructions have run.
    /// - Returns: the vector whose handler halted, nil when `bytes` came to their own end or ran out of time.
    @discardableResult
    func run(_ bytes: [UInt8], at address: UInt64 = SystemRig.code, limit: Int = 1000) -> UInt8? {
        write(bytes + [0xF4], at: address)
        s.pointee.rip = address
        s.pointee.halted = false
        _ = cpu.run(budget: limit)
        return handlerReached
    }

    /// The vector of the handler in which the CPU halts.
    var handlerReached: UInt8? {
        let offset = s.pointee.rip &- Self.handlers
        return s.pointee.halted && offset < 0x1000 && offset & 0xF == 1 ? UInt8(offset >> 4) : nil
    }

    /// Words on the current stack, from the top.
    func stack(_ count: Int, size: Int) -> [UInt64] {
        let base = mode == .real ? s.pointee.segments[SegmentIndex.ss].base : 0
        return (0..<count).map { memory.read(base + s.pointee.gpr[Register.rsp] + UInt64($0 * size), size: size) }
    }

    func write(_ bytes: [UInt8], at address: UInt64) { bytes.withUnsafeBytes { memory.write(address, from: $0) } }
    func write16(_ value: UInt16, at address: UInt64) { memory.write(address, size: 2, value: UInt64(value)) }
    func write32(_ value: UInt32, at address: UInt64) { memory.write(address, size: 4, value: UInt64(value)) }
    func write64(_ value: UInt64, at address: UInt64) { memory.write(address, size: 8, value: value) }

    subscript(_ register: Int) -> UInt64 {
        get { s.pointee.gpr[register] }
        set { s.pointee.gpr[register] = newValue }
    }
}
