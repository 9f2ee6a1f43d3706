/// BCD adjustments DAA, DAS, AAA, AAS, AAM, AAD (SDM vol. 2); not in 64-bit mode.
extension CPU {
    /// - Parameter op: `sub` is the distance from `Mnemonic.daa`.
    @inline(never) func decimal(_ op: Op) -> Outcome {
        let s = state
        let al = s.register(0, as: UInt8.self), ah = s.register(1, as: UInt8.self)
        let oldCarry = s.cf, oldAdjust = s.af
        switch op.pointee.sub {
        case 0, 1:
            let isAdd = op.pointee.sub == 0
            let low = al & 0xF > 9 || oldAdjust
            let high = al > 0x99 || oldCarry
            var correction: UInt8 = low ? 6 : 0
            if high { correction &+= 0x60 }
            let result = isAdd ? al &+ correction : al &- correction
            // DAS also borrows when the low correction does.
            let carry = high || !isAdd && low && al < 6
            s.setRegister(0, result)
            setDecimalFlags(result, cf: carry, af: low)
        case 2, 3:
            let adjust = al & 0xF > 9 || oldAdjust
            if adjust {
                let ax = s.register(0, as: UInt16.self)
                s.setRegister(0, op.pointee.sub == 2 ? ax &+ 0x106 : ax &- 0x106)
            }
            let result = s.register(0, as: UInt8.self) & 0xF
            s.setRegister(0, result)
            setDecimalFlags(result, cf: adjust, af: adjust)
        case 4:
            let base = UInt8(truncatingIfNeeded: op.pointee.immediate)
            guard base != 0 else { return raise(Vector.de) }
            s.setRegister(1, al / base)
            s.setRegister(0, al % base)
            s.setLogicFlags(al % base)
        default:
            let base = UInt8(truncatingIfNeeded: op.pointee.immediate)
            let result = al &+ ah &* base
            s.setRegister(0, UInt16(result))
            s.setLogicFlags(result)
        }
        return .next
    }

    private func setDecimalFlags(_ result: UInt8, cf: Bool, af: Bool) {
        state.setFlags(result, cf: cf, of: false)
        if af { state.pointee.flagAux |= 8 }
    }
}
