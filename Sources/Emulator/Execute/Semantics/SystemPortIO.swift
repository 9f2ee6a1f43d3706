/// IN and OUT, and who may use a port (SDM vol. 1, 18.5).
extension CPU {
    var portDX: UInt16 { state.register(UInt8(Register.rdx), as: UInt16.self) }

    /// Wide port accesses are 16 or 32 bits; REX.W has no effect.
    func portSize(_ op: Op) -> Int { op.pointee.size == 1 ? 2 : 4 }

    /// IOPL, then the I/O permission bitmap of the TSS. False: #GP(0) or #PF is pending.
    func ioPermitted(_ port: UInt16, size: Int) -> Bool {
        let s = state.pointee
        guard s.isProtected, s.isVirtual8086 || s.cpl > s.iopl else { return true }
        guard let allowed = ioAllowed(port, size) else { return false }
        if !allowed { generalProtection() }
        return allowed
    }

    /// The bitmap's word on a port range, one bit a port, 0 allows; nil: a page fault is pending.
    func ioAllowed(_ port: UInt16, _ size: Int) -> Bool? {
        let tr = state.pointee.tr
        guard tr.isPresent, tr.type & 8 != 0, tr.limit >= 0x67 else { return false }
        guard let mapBase = loadSystem(tr.base &+ 0x66, size: 2) else { return nil }
        let offset = UInt32(mapBase) + UInt32(port / 8)
        // Two bytes are always read, so that the map ends with a byte of ones.
        guard offset + 1 <= tr.limit else { return false }
        guard let bits = loadSystem(tr.base &+ UInt64(offset), size: 2) else { return nil }
        return bits >> UInt64(port & 7) & ((1 << UInt64(size)) - 1) == 0
    }

    func portIn(_ port: UInt16, size: Int) -> Outcome {
        guard ioPermitted(port, size: size) else { return .fault }
        if state.pointee.portBreakpoints { checkPortBreakpoints(port, size: size) }
        let value = ports.read(port, size: size)
        switch size {
        case 1: state.setRegister(0, UInt8(truncatingIfNeeded: value))
        case 2: state.setRegister(0, UInt16(truncatingIfNeeded: value))
        default: state.setRegister(0, value)
        }
        return state.pointee.budget <= 0 ? .leave : .next
    }

    func portOut(_ port: UInt16, size: Int) -> Outcome {
        guard ioPermitted(port, size: size) else { return .fault }
        if state.pointee.portBreakpoints { checkPortBreakpoints(port, size: size) }
        let value = UInt32(truncatingIfNeeded: state.gpr64(0))
        ports.write(port, size: size, value: size == 1 ? value & 0xFF : size == 2 ? value & 0xFFFF : value)
        // A write may have changed the memory map, reset the machine or raised an interrupt.
        return state.pointee.budget <= 0 || blocks.flushRequested ? .leave : .next
    }
}
