/// QEMU-style execution logs (`-d ITEMS -D FILE`): what the CPU decoded, ran and took.
public struct TraceItems: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Each block when it is decoded, as assembly.
    public static let inAsm = TraceItems(rawValue: 1)
    /// Each instruction before it runs. Slow: one instruction at a time.
    public static let exec = TraceItems(rawValue: 2)
    /// All registers before each instruction, with `exec`.
    public static let cpu = TraceItems(rawValue: 4)
    /// Interrupts and exceptions as they are delivered.
    public static let int = TraceItems(rawValue: 8)
    /// Registers at each CPU reset.
    public static let cpuReset = TraceItems(rawValue: 16)
    /// Guest behaviour that real hardware would not put up with, and unimplemented parts.
    public static let guestErrors = TraceItems(rawValue: 32)
    public static let unimplemented = TraceItems(rawValue: 64)
    /// Each region of translated code when it is made, as assembly of the host.
    public static let outAsm = TraceItems(rawValue: 128)

    /// The names that `-d` takes.
    public static let names: [(name: String, item: TraceItems)] = [
        ("in_asm", .inAsm), ("out_asm", .outAsm), ("exec", .exec), ("cpu", .cpu), ("int", .int),
        ("cpu_reset", .cpuReset),
        ("guest_errors", .guestErrors), ("unimp", .unimplemented),
    ]
}

extension CPU {
    /// `int`: what is about to be delivered, in the order of QEMU's line: vector, error code, whether an instruction asked
    /// for it, privilege, where, stack, the accumulator; for page faults the address.
    func eventLine(vector: UInt8, kind: EventKind, errorCode: UInt32?) -> String {
        let s = state.pointee
        let code = s.segments[SegmentIndex.cs].selector, stack = s.segments[SegmentIndex.ss].selector
        var line = "v=\(hex(vector, 2)) e=\(hex(errorCode ?? 0, 4)) i=\(kind == .software ? 1 : 0) cpl=\(s.cpl)"
        line += " IP=\(hex(code, 4)):\(hex(s.rip, 16)) SP=\(hex(stack, 4)):\(hex(s.gpr[Register.rsp], 16))"
        line += vector == Vector.pf ? " CR2=\(hex(s.cr2, 16))" : " EAX=\(hex(s.gpr[Register.rax], 16))"
        return line
    }
}

/// Writes the logs that are asked for, a line at a time.
final class Tracer {
    let items: TraceItems
    private let write: (String) -> Void

    init(items: TraceItems, write: @escaping (String) -> Void) {
        self.items = items
        self.write = write
    }

    func line(_ item: TraceItems, _ text: @autoclosure () -> String) {
        if items.contains(item) { write(text()) }
    }

    /// `in_asm`: the bytes of a fresh block.
    func block(_ bytes: UnsafeBufferPointer<UInt8>, mode: UInt32, at pointer: UInt64) {
        guard items.contains(.inAsm) else { return }
        write("----------------")
        let disassembler = Disassembler(mode: Decoder.Mode(key: mode))
        var offset = 0
        while offset < bytes.count {
            let line = disassembler.line(UnsafeBufferPointer(rebasing: bytes[offset...]), at: pointer &+ UInt64(offset))
            write("0x" + hex(pointer &+ UInt64(offset), 8) + ":  " + line.text)
            offset += line.length
        }
    }

    /// `exec`: the instruction that is about to run.
    func instruction(_ cpu: CPU) {
        guard items.contains(.exec) else { return }
        let state = cpu.state.pointee
        let linear = state.is64Bit ? state.rip : (state.segments[SegmentIndex.cs].base &+ state.rip) & 0xFFFF_FFFF
        var bytes: [UInt8] = []
        // Only what translates without a fault: tracing must not change the guest.
        let pending = cpu.state.pointee.fault, faultAddress = cpu.state.pointee.cr2
        for i in 0..<15 {
            let at = linear &+ UInt64(i)
            guard let page = cpu.translateFetch(at) else { break }
            let physical = page.pointee.physical & ~0xFFF | at & 0xFFF
            bytes.append(UInt8(truncatingIfNeeded: cpu.memory.read(physical, size: 1)))
        }
        cpu.state.pointee.fault = pending
        cpu.state.pointee.cr2 = faultAddress
        let disassembler = Disassembler(mode: Decoder.Mode(key: state.modeKey))
        let text = bytes.withUnsafeBufferPointer { disassembler.line($0, at: state.rip).text }
        write("0x" + hex(state.rip, 8) + ":  " + text)
        if items.contains(.cpu) { write(cpu.dump()) }
    }
}
