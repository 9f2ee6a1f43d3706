/// Hardware breakpoints and single-stepping (SDM vol. 3, 17.2 and 17.3).
///
/// DR6 collects causes: B0–B3 0–3, BD 13, BS 14, BT 15. DR7 arms: L0 G0 … L3 G3 in bits 0–7, GD 13, and for
/// breakpoint n
/// R/W (0 execute, 1 write, 2 I/O, 3 read or write) in bits 16 + 4n, LEN (1, 2, 8, 4 bytes) in bits 18 + 4n.
enum DR7 {
    static let generalDetect: UInt64 = 1 << 13
    static let localEnables: UInt64 = 0x155
    static let fixed1: UInt64 = 0x400
}

enum DR6 {
    static let fixed1: UInt64 = 0xFFFF_0FF0
    static let breakpoints: UInt64 = 0xF
    static let accessDetected: UInt64 = 1 << 13, singleStep: UInt64 = 1 << 14, taskSwitch: UInt64 = 1 << 15
}

extension CPU {
    /// Kinds of accesses that a breakpoint can watch, as R/W in DR7.
    enum BreakpointKind: UInt64 { case execute = 0, write, inputOutput, readWrite }

    private func breakpoint(_ n: Int) -> (kind: BreakpointKind, address: UInt64, size: UInt64)? {
        let dr7 = state.pointee.debugRegisters[7]
        guard dr7 >> UInt64(2 * n) & 3 != 0, let kind = BreakpointKind(rawValue: dr7 >> UInt64(16 + 4 * n) & 3) else {
            return nil
        }
        let size: UInt64
        switch dr7 >> UInt64(18 + 4 * n) & 3 {
        case 0: size = 1
        case 1: size = 2
        case 2: size = 8
        default: size = 4
        }
        return (kind, state.pointee.debugRegisters[n] & ~(size - 1), size)
    }

    /// MOV to DR6, DR7 or an address register, after the checks of the instruction.
    func writeDebugRegister(_ n: Int, _ value: UInt64) {
        switch n {
        case 6: state.pointee.debugRegisters[6] = value & 0xE00F | DR6.fixed1
        case 7: state.pointee.debugRegisters[7] = value & 0xFFFF_23FF | DR7.fixed1
        default: state.pointee.debugRegisters[n] = value
        }
        debugRegistersChanged()
    }

    /// Finds out which kinds are armed. Watched pages must leave the TLB, so that their accesses take the slow path.
    func debugRegistersChanged() {
        let armed = (0..<4).compactMap { breakpoint($0)?.kind }
        state.pointee.codeBreakpoints = armed.contains(.execute)
        state.pointee.dataBreakpoints = armed.contains(.write) || armed.contains(.readWrite)
        state.pointee.portBreakpoints = armed.contains(.inputOutput) && state.pointee.cr4 & CR4.de != 0
        if state.pointee.dataBreakpoints { flushTLB() }
    }

    /// Whether a page holds a watched byte: the paging code must not enter it in the TLB.
    func isWatched(page linear: UInt64) -> Bool {
        guard state.pointee.dataBreakpoints else { return false }
        return (0..<4).contains { n in
            guard let point = breakpoint(n), point.kind == .write || point.kind == .readWrite else { return false }
            return (point.address ^ linear) & ~0xFFF == 0
        }
    }

    /// Slow-path loads and stores report here; a hit becomes a trap after the instruction.
    func checkDataBreakpoints(_ linear: UInt64, size: Int, write: Bool) {
        for n in 0..<4 {
            guard let point = breakpoint(n), point.kind == .readWrite || point.kind == .write && write else { continue }
            if linear < point.address &+ point.size, point.address < linear &+ UInt64(size) {
                state.pointee.pendingDebug |= 1 << UInt64(n)
                kick()
            }
        }
    }

    func checkPortBreakpoints(_ port: UInt16, size: Int) {
        for n in 0..<4 {
            guard let point = breakpoint(n), point.kind == .inputOutput else { continue }
            if UInt64(port) < point.address &+ point.size, point.address < UInt64(port) + UInt64(size) {
                state.pointee.pendingDebug |= 1 << UInt64(n)
            }
        }
    }

    /// Asked by the loop before each instruction while `codeBreakpoints` is set. True: #DB is pending instead of it.
    /// RF lets one instruction pass.
    func instructionBreakpointHit(_ linear: UInt64) -> Bool {
        if state.pointee.flagsRest & RFLAGS.rf != 0 {
            state.pointee.flagsRest &= ~RFLAGS.rf
            return false
        }
        var hits: UInt64 = 0
        for n in 0..<4 {
            if let point = breakpoint(n), point.kind == .execute, point.address == linear { hits |= 1 << UInt64(n) }
        }
        guard hits != 0 else { return false }
        setDebugCauses(hits)
        // The frame of an instruction breakpoint keeps RF as it is; the handler sets it.
        raise(Vector.db)
        return true
    }

    /// What a debug exception tells in DR6: B0–B3 are its own, the others stay until software clears them.
    func setDebugCauses(_ causes: UInt64) {
        state.pointee.debugRegisters[6] = state.pointee.debugRegisters[6] & ~DR6.breakpoints | causes
    }

    /// The loop calls this before and `endStep` after an instruction while TF is set, running one at a time.
    func beginStep() { state.pointee.stepArmed = state.pointee.flagsRest & RFLAGS.tf != 0 }

    /// A completed instruction that began with TF set traps. Events that were delivered meanwhile cancel that, and so does
    /// MOV SS.
    func endStep() {
        if state.pointee.stepArmed, state.pointee.interruptShadow != .stackSegment {
            state.pointee.pendingDebug |= DR6.singleStep
        }
        state.pointee.stepArmed = false
    }
}
