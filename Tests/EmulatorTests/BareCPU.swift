@testable import Emulator

/// A CPU with memory and no board, for instruction tests: flat segments, paging off, code at 0x1000, stack below 0x9000,
/// data at 0x8000.
final class BareCPU {
    enum Width: Int { case real16 = 16, flat32 = 32, flat64 = 64 }

    static let codeAddress: UInt64 = 0x1000
    static let dataAddress: UInt64 = 0xA000
    static let stackTop: UInt64 = 0x9000

    let memory: PhysicalMap
    let cpu: CPU
    /// Processors of the same machine: what one does reaches the others.
    private var companions: [BareCPU] = []
    var s: CPUPointer { cpu.state }

    /// - Parameters:
    ///   - engine: with another than the interpreter all code is translated at once.
    ///   - first: a processor of the same machine.
    init(_ width: Width, megabytes: UInt64 = 4, engine: Engine = .interpreter, beside first: BareCPU? = nil) throws {
        memory = try first?.memory ?? PhysicalMap(ramSizeBytes: megabytes << 20)
        cpu = CPU(
            memory: memory, ports: PortBus(), features: try CPUFeatures(model: "max"), engine: engine,
            index: first == nil ? 0 : 1, topology: CPUTopology(coresPerSocket: first == nil ? 1 : 2),
            besides: first?.cpu)
        cpu.translator?.hotness = 0
        cpu.translator?.deliversFaults = false
        let code: UInt16 = width == .flat64 ? 0xA09B : width == .flat32 ? 0xC09B : 0x009B
        let data: UInt16 = width == .real16 ? 0x0093 : 0xC093
        let limit: UInt32 = width == .real16 ? 0xFFFF : 0xFFFF_FFFF
        for index in 0..<6 {
            s.pointee.segments[index] = Segment(
                selector: 0, attributes: index == SegmentIndex.cs ? code : data, limit: limit, base: 0)
        }
        if width != .real16 { s.pointee.cr0 |= CR0.pe }
        if width == .flat64 { s.pointee.efer |= EFER.lma | EFER.lme }
        s.pointee.cr4 |= CR4.osfxsr | CR4.osxmmexcpt
        s.pointee.cr0 |= CR0.ne
        cpu.updateMode()
        s.setGPR64(UInt8(Register.rsp), Self.stackTop)
        first?.companions.append(self)
    }

    /// Where `enterUserMode` maps all of memory, as programs at random addresses see it.
    static let userBase: UInt64 = 0x7F12_3450_0000
    private static let tables: UInt64 = 0x20_0000

    /// 64-bit code at privilege 3: the first 2 MiB are mapped where they are and from `userBase` on.
    func enterUserMode() {
        func entry(_ address: UInt64, _ index: UInt64, _ value: UInt64) {
            withUnsafeBytes(of: value) { memory.write(address + index * 8, from: $0) }
        }
        let bits: UInt64 = 0x67  // dirty, accessed, user, writable, present
        let table = Self.tables
        entry(table, 0, (table + 0x1000) | bits)
        entry(table + 0x1000, 0, (table + 0x2000) | bits)
        entry(table + 0x2000, 0, (table + 0x3000) | bits)
        entry(table, Self.userBase >> 39 & 511, (table + 0x4000) | bits)
        entry(table + 0x4000, Self.userBase >> 30 & 511, (table + 0x5000) | bits)
        for page in 0..<UInt64(512) {
            entry(table + 0x3000, page, page << 12 | bits)
            let linear = Self.userBase + page << 12
            entry(table + 0x5000, linear >> 21 & 511, (table + 0x6000 + (linear >> 21 & 1) << 12) | bits)
            entry(table + 0x6000 + (linear >> 21 & 1) << 12, linear >> 12 & 511, page << 12 | bits)
        }
        s.pointee.cr3 = table
        s.pointee.cr4 |= CR4.pae
        s.pointee.cr0 |= CR0.pg
        for index in 0..<6 { s.pointee.segments[index].attributes |= 0x60 }
        s.pointee.efer |= EFER.lma | EFER.lme
        cpu.updateMode()
        cpu.tlb.flush()
    }

    /// Maps a page of `userBase` to another page of memory, and says so as INVLPG does.
    func remap(userPage: UInt64, to physical: UInt64, bits: UInt64 = 0x67) {
        let linear = Self.userBase + userPage << 12
        let table = Self.tables + 0x6000 + (linear >> 21 & 1) << 12
        withUnsafeBytes(of: physical | bits) { memory.write(table + (linear >> 12 & 511) * 8, from: $0) }
        cpu.flushTLB(page: linear)
    }

    func write(_ bytes: [UInt8], at address: UInt64) {
        bytes.withUnsafeBytes { memory.write(address, from: $0) }
    }

    func read(_ count: Int, at address: UInt64) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBytes { memory.read(address, into: $0) }
        return bytes
    }

    /// Runs `bytes` until they fall through into a jump-to-self behind them, at most `limit` instructions.
    /// - Returns: the vector of the fault that ended the run, nil when it reached the end.
    @discardableResult
    func run(_ bytes: [UInt8], at address: UInt64 = BareCPU.codeAddress, limit: Int = 1_000_000) -> UInt8? {
        // Translated code ends with HLT: before a jump to itself it would leave flags that nobody reads where they are.
        write(bytes + (cpu.translator != nil ? [0xF4] : [0xEB, 0xFE]), at: address)
        return go(at: address, end: address + UInt64(bytes.count), limit: limit)
    }

    /// The same with code that is there.
    @discardableResult
    func go(at address: UInt64, end: UInt64, limit: Int = 1_000_000) -> UInt8? {
        let isTranslated = cpu.translator != nil
        cpu.translator?.serve(cpu)
        s.pointee.rip = address
        s.pointee.fault.isPending = false
        var left = limit
        while s.pointee.rip != end, left > 0 {
            s.pointee.budget = isTranslated ? 64 : 1
            if case .fault = cpu.execute() { return s.pointee.fault.vector }
            if s.pointee.halted {
                s.pointee.halted = false
                s.pointee.rip = end
            }
            left -= 1
        }
        return nil
    }

    subscript(_ register: Int) -> UInt64 {
        get { s.gpr64(UInt8(register)) }
        set { s.setGPR64(UInt8(register), newValue) }
    }
}
