/// Status word bits (SDM vol. 1, 8.1.3). Bits 0–5 are `FloatFlag`s.
enum X87Status {
    static let stackFault: UInt16 = 0x40, summary: UInt16 = 0x80, busy: UInt16 = 0x8000
    static let c0: UInt16 = 0x100, c1: UInt16 = 0x200, c2: UInt16 = 0x400, c3: UInt16 = 0x4000
    static let conditions: UInt16 = 0x4700
}

/// The register stack, exceptions and the instruction pointers of the x87.
extension CPU {
    // MARK: Stack

    @inline(__always) func physical(_ i: UInt8) -> Int { Int((state.pointee.fpu.top &+ i) & 7) }
    @inline(__always) func isEmpty(_ i: UInt8) -> Bool { state.pointee.fpu.emptyMask >> UInt8(physical(i)) & 1 != 0 }
    @inline(__always) func st(_ i: UInt8) -> FloatParts {
        FloatParts(extended: state.pointee.fpu.registers[physical(i)])
    }
    @inline(__always) func setST(_ i: UInt8, _ value: FloatParts) { setST(i, raw: value.extended) }
    @inline(__always) func setST(_ i: UInt8, raw: X87Register) {
        let at = physical(i)
        state.pointee.fpu.registers[at] = raw
        state.pointee.fpu.emptyMask &= ~(1 &<< UInt8(at))
    }
    @inline(__always) func popX87() {
        state.pointee.fpu.emptyMask |= 1 &<< (state.pointee.fpu.top & 7)
        state.pointee.fpu.top = (state.pointee.fpu.top &+ 1) & 7
    }
    @inline(__always) func pushX87(raw: X87Register) {
        state.pointee.fpu.top = (state.pointee.fpu.top &- 1) & 7
        setST(0, raw: raw)
    }

    // MARK: Control word

    @inline(__always) var x87Context: FloatContext {
        let control = state.pointee.fpu.control
        return FloatContext(
            rounding: UInt8(truncatingIfNeeded: control >> 10 & 3), masks: UInt8(truncatingIfNeeded: control & 0x3F))
    }

    /// Format that precision control selects; the exponent's range stays that of extended numbers.
    @inline(__always) var x87Format: FloatFormat {
        switch state.pointee.fpu.control >> 8 & 3 {
        case 0: FloatFormat(precision: 24, minExponent: -16382, maxExponent: 16383)
        case 2: FloatFormat(precision: 53, minExponent: -16382, maxExponent: 16383)
        default: .extended
        }
    }

    // MARK: Exceptions

    @inline(__always) func clearC1() { state.pointee.fpu.status &= ~X87Status.c1 }

    /// Enters an operation's flags and C1 into the status word.
    /// - Parameter suppressing: flags beyond `FloatFlag.before` that, unmasked, forbid the result.
    @inline(__always) func note(_ context: FloatContext, suppressing: UInt8 = 0) {
        if context.flags & ~context.masks != 0 { return noteUnmasked(context, suppressing) }
        var status = state.pointee.fpu.status & ~X87Status.c1 | UInt16(context.flags)
        if context.roundedUp { status |= X87Status.c1 }
        state.pointee.fpu.status = status
    }

    /// A result that is not stored was not rounded either: what rounding found is not reported.
    @inline(never) private func noteUnmasked(_ context: FloatContext, _ suppressing: UInt8) {
        var flags = context.flags, roundedUp = context.roundedUp
        if isSuppressed(context, also: suppressing) {
            flags &= isSuppressed(context) ? FloatFlag.before : ~FloatFlag.inexact
            roundedUp = false
        }
        state.pointee.fpu.status =
            state.pointee.fpu.status & ~X87Status.c1 | UInt16(flags) | (roundedUp ? X87Status.c1 : 0)
        signalX87()
    }

    /// Whether an unmasked exception forbids the result.
    @inline(__always) func isSuppressed(_ context: FloatContext, also flags: UInt8 = 0) -> Bool {
        context.flags & ~context.masks & (FloatFlag.before | flags) != 0
    }

    /// An unmasked exception is pending for the next waiting instruction.
    @inline(never) func signalX87() {
        state.pointee.fpu.status |= X87Status.summary | X87Status.busy
        if state.pointee.cr0 & CR0.ne == 0 { floatingPointError() }
    }

    /// Recomputes ES and B after the control or status word was loaded.
    func updateSummary() {
        let fpu = state.pointee.fpu
        let isPending = fpu.status & ~fpu.control & 0x3F != 0
        let bits = X87Status.summary | X87Status.busy
        state.pointee.fpu.status = isPending ? fpu.status | bits : fpu.status & ~bits
    }

    /// Stack underflow or overflow. Returns true when it is masked and the indefinite is the result.
    @inline(never) func stackFault(overflow: Bool) -> Bool {
        var status = state.pointee.fpu.status & ~X87Status.c1
        status |= UInt16(FloatFlag.invalid) | X87Status.stackFault | (overflow ? X87Status.c1 : 0)
        state.pointee.fpu.status = status
        if state.pointee.fpu.control & UInt16(FloatFlag.invalid) != 0 { return true }
        signalX87()
        return false
    }

    /// Delivers a pending exception before a waiting instruction: #MF, or FERR# when CR0.NE is clear (the board then
    /// raises IRQ 13, and the instruction goes on as with IGNNE#). False: #MF is pending.
    @inline(__always) func checkPendingX87() -> Bool {
        if state.pointee.fpu.status & X87Status.summary == 0 { return true }
        if state.pointee.cr0 & CR0.ne == 0 {
            floatingPointError()
            return true
        }
        raise(Vector.mf)
        return false
    }

    // MARK: Pointers

    /// FIP, FCS, and for a memory operand FDP and FDS.
    @inline(__always) func notePointers(_ op: Op) {
        state.pointee.fpu.lastInstruction = state.pointee.rip &- UInt64(op.pointee.length)
        state.pointee.fpu.lastInstructionSelector = state.pointee.segments[SegmentIndex.cs].selector
        if op.pointee.prefixes.contains(.memory) { noteOperand(op) }
    }

    @inline(__always) private func noteOperand(_ op: Op) {
        state.pointee.fpu.lastOperand = state.effectiveOffset(op)
        let segment = Int(op.pointee.segment)
        let index =
            op.pointee.segment == SegmentIndex.flat
            ? (op.pointee.prefixes.contains(.stackSegment) ? SegmentIndex.ss : SegmentIndex.ds) : segment & 7
        state.pointee.fpu.lastOperandSelector = state.pointee.segments[index].selector
    }
}
