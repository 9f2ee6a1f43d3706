/// The x87, one case an operation (SDM vol. 1, chapter 8; vol. 2).
extension CPU {
    /// Executes one operation of `OpcodeTableX87`.
    func executeX87(_ op: Op) -> Outcome {
        // SAFETY: the decoder put the raw value of a case there; raw values count from 0 as the cases' own tags do.
        let code = unsafeBitCast(UInt8(truncatingIfNeeded: op.pointee.sub), to: X87Code.self)
        let s = state
        let i = op.pointee.rm
        if s.pointee.fpuTrapped {
            let mustTrap = code != .fwait ? true : s.pointee.cr0 & (CR0.mp | CR0.ts) == CR0.mp | CR0.ts
            if mustTrap { return raise(Vector.nm) }
        }
        switch code {
        // Control instructions that do not wait and leave the pointers alone.
        case .fnstcw: return s.store(op, s.pointee.fpu.control) ? .next : .fault
        case .fnstsw_m16: return s.store(op, statusWord) ? .next : .fault
        case .fnstsw_ax:
            s.setRegister(UInt8(Register.rax), statusWord)
            return .next
        case .fnclex:
            s.pointee.fpu.status &= 0x7F00
            return .next
        case .fninit:
            initializeX87()
            return .next
        case .fnstenv: return storeEnvironment(op)
        case .fnsave: return saveX87(op)
        case .fneni, .fndisi, .fnsetpm: return .next
        // Control instructions that wait.
        case .fwait, .fnop: return checkPendingX87() ? .next : .fault
        case .fldcw:
            guard checkPendingX87(), let word = s.load(op, as: UInt16.self) else { return .fault }
            loadControl(word)
            updateSummary()
            return .next
        case .fldenv: return checkPendingX87() ? loadEnvironment(op) : .fault
        case .frstor: return checkPendingX87() ? restoreX87(op) : .fault

        // Everything else waits for pending exceptions and notes where it stands.
        default: break
        }
        guard checkPendingX87() else { return .fault }
        notePointers(op)
        switch code {
        case .fadd_m32: return arithmetic(.add, memory: single(op))
        case .fadd_m64: return arithmetic(.add, memory: double(op))
        case .fiadd_i16: return arithmetic(.add, memory: integer16(op))
        case .fiadd_i32: return arithmetic(.add, memory: integer32(op))
        case .fadd_st0: return arithmetic(.add, 0, i)
        case .fadd_sti: return arithmetic(.add, i, 0)
        case .faddp: return arithmetic(.add, i, 0, pop: true)
        case .fmul_m32: return arithmetic(.multiply, memory: single(op))
        case .fmul_m64: return arithmetic(.multiply, memory: double(op))
        case .fimul_i16: return arithmetic(.multiply, memory: integer16(op))
        case .fimul_i32: return arithmetic(.multiply, memory: integer32(op))
        case .fmul_st0: return arithmetic(.multiply, 0, i)
        case .fmul_sti: return arithmetic(.multiply, i, 0)
        case .fmulp: return arithmetic(.multiply, i, 0, pop: true)
        case .fsub_m32: return arithmetic(.subtract, memory: single(op))
        case .fsub_m64: return arithmetic(.subtract, memory: double(op))
        case .fisub_i16: return arithmetic(.subtract, memory: integer16(op))
        case .fisub_i32: return arithmetic(.subtract, memory: integer32(op))
        case .fsub_st0: return arithmetic(.subtract, 0, i)
        case .fsub_sti: return arithmetic(.subtract, i, 0)
        case .fsubp: return arithmetic(.subtract, i, 0, pop: true)
        case .fsubr_m32: return arithmetic(.subtractReversed, memory: single(op))
        case .fsubr_m64: return arithmetic(.subtractReversed, memory: double(op))
        case .fisubr_i16: return arithmetic(.subtractReversed, memory: integer16(op))
        case .fisubr_i32: return arithmetic(.subtractReversed, memory: integer32(op))
        case .fsubr_st0: return arithmetic(.subtractReversed, 0, i)
        case .fsubr_sti: return arithmetic(.subtractReversed, i, 0)
        case .fsubrp: return arithmetic(.subtractReversed, i, 0, pop: true)
        case .fdiv_m32: return arithmetic(.divide, memory: single(op))
        case .fdiv_m64: return arithmetic(.divide, memory: double(op))
        case .fidiv_i16: return arithmetic(.divide, memory: integer16(op))
        case .fidiv_i32: return arithmetic(.divide, memory: integer32(op))
        case .fdiv_st0: return arithmetic(.divide, 0, i)
        case .fdiv_sti: return arithmetic(.divide, i, 0)
        case .fdivp: return arithmetic(.divide, i, 0, pop: true)
        case .fdivr_m32: return arithmetic(.divideReversed, memory: single(op))
        case .fdivr_m64: return arithmetic(.divideReversed, memory: double(op))
        case .fidivr_i16: return arithmetic(.divideReversed, memory: integer16(op))
        case .fidivr_i32: return arithmetic(.divideReversed, memory: integer32(op))
        case .fdivr_st0: return arithmetic(.divideReversed, 0, i)
        case .fdivr_sti: return arithmetic(.divideReversed, i, 0)
        case .fdivrp: return arithmetic(.divideReversed, i, 0, pop: true)
        case .fcom_m32: return compareMemory(single(op), pop: false)
        case .fcomp_m32: return compareMemory(single(op), pop: true)
        case .fcom_m64: return compareMemory(double(op), pop: false)
        case .fcomp_m64: return compareMemory(double(op), pop: true)
        case .ficom_i16: return compareMemory(integer16(op), pop: false)
        case .ficomp_i16: return compareMemory(integer16(op), pop: true)
        case .ficom_i32: return compareMemory(integer32(op), pop: false)
        case .ficomp_i32: return compareMemory(integer32(op), pop: true)
        case .fcom_sti: return compareRegister(i)
        case .fcomp_sti: return compareRegister(i, pops: 1)
        case .fcompp: return compareRegister(1, pops: 2)
        case .fucom: return compareRegister(i, quiet: true)
        case .fucomp: return compareRegister(i, quiet: true, pops: 1)
        case .fucompp: return compareRegister(1, quiet: true, pops: 2)
        case .ftst: return compare(.zero(sign: false))
        case .fxam: return examine()
        case .fcomi: return compareToFlags(i, quiet: false, pop: false)
        case .fcomip: return compareToFlags(i, quiet: false, pop: true)
        case .fucomi: return compareToFlags(i, quiet: true, pop: false)
        case .fucomip: return compareToFlags(i, quiet: true, pop: true)
        case .fld_m32: return loadFloat(single(op))
        case .fld_m64: return loadFloat(double(op))
        case .fld_m80:
            guard let value = load80(op) else { return .fault }
            return push(raw: value)
        case .fld_sti: return loadRegister(i)
        case .fild_i16:
            guard let value = integer16(op) else { return .fault }
            return push(raw: value.extended)
        case .fist_i16: return storeInteger(op, bits: 16, pop: false)
        case .fistp_i16: return storeInteger(op, bits: 16, pop: true)
        case .fisttp_i16: return storeInteger(op, bits: 16, truncate: true, pop: true)
        case .fild_i32:
            guard let value = integer32(op) else { return .fault }
            return push(raw: value.extended)
        case .fist_i32: return storeInteger(op, bits: 32, pop: false)
        case .fistp_i32: return storeInteger(op, bits: 32, pop: true)
        case .fisttp_i32: return storeInteger(op, bits: 32, truncate: true, pop: true)
        case .fild_i64:
            guard let value = integer64(op) else { return .fault }
            return push(raw: value.extended)
        case .fistp_i64: return storeInteger(op, bits: 64, pop: true)
        case .fisttp_i64: return storeInteger(op, bits: 64, truncate: true, pop: true)
        case .fst_m32: return storeFloat(.single, pop: false) { state.store(op, $0.single) }
        case .fstp_m32: return storeFloat(.single, pop: true) { state.store(op, $0.single) }
        case .fst_m64: return storeFloat(.double, pop: false) { state.store(op, $0.double) }
        case .fstp_m64: return storeFloat(.double, pop: true) { state.store(op, $0.double) }
        case .fstp_m80: return storeExtended(op)
        case .fst_sti: return storeRegister(i, pop: false)
        case .fstp_sti: return storeRegister(i, pop: true)
        case .fbld: return loadDecimal(op)
        case .fbstp: return storeDecimal(op)
        case .fxch: return exchange(i)
        case .fchs: return changeSign { $0 ^ 0x8000 }
        case .fabs: return changeSign { $0 & 0x7FFF }
        case .ffree:
            clearC1()
            s.pointee.fpu.emptyMask |= 1 << UInt8(physical(i))
            return .next
        case .ffreep:
            clearC1()
            s.pointee.fpu.emptyMask |= 1 << UInt8(physical(i))
            popX87()
            return .next
        case .fdecstp:
            clearC1()
            s.pointee.fpu.top = (s.pointee.fpu.top &- 1) & 7
            return .next
        case .fincstp:
            clearC1()
            s.pointee.fpu.top = (s.pointee.fpu.top &+ 1) & 7
            return .next
        case .fcmovb: return moveIf(s.cf, i)
        case .fcmove: return moveIf(s.zf, i)
        case .fcmovbe: return moveIf(s.cf || s.zf, i)
        case .fcmovu: return moveIf(s.pf, i)
        case .fcmovnb: return moveIf(!s.cf, i)
        case .fcmovne: return moveIf(!s.zf, i)
        case .fcmovnbe: return moveIf(!s.cf && !s.zf, i)
        case .fcmovnu: return moveIf(!s.pf, i)
        case .fld1: return push(raw: X87Register(significand: 1 << 63, signExponent: 0x3FFF))
        case .fldz: return push(raw: X87Register(significand: 0, signExponent: 0))
        case .fldl2t: return loadConstant(0xD49A_784B_CD1B_8AFE, 1, roundedUp: false)
        case .fldl2e: return loadConstant(0xB8AA_3B29_5C17_F0BC, 0, roundedUp: true)
        case .fldpi: return loadConstant(0xC90F_DAA2_2168_C235, 1, roundedUp: true)
        case .fldlg2: return loadConstant(0x9A20_9A84_FBCF_F799, -2, roundedUp: true)
        case .fldln2: return loadConstant(0xB172_17F7_D1CF_79AC, -1, roundedUp: true)
        case .fsqrt:
            let format = x87Format
            return unary { FloatArithmetic.squareRoot($0, format, &$1) }
        case .frndint:
            return unary { a, context in
                if a.isDenormal { context.flags |= FloatFlag.denormal }
                return FloatArithmetic.roundToIntegral(a, &context)
            }
        case .f2xm1: return unary { Transcendental.exponentialMinus1($0, &$1) }
        case .fyl2x: return binary(pop: true) { Transcendental.yLog2X(y: $0, x: $1, &$2) }
        case .fyl2xp1: return binary(pop: true) { Transcendental.yLog2XPlus1(y: $0, x: $1, &$2) }
        case .fpatan: return binary(pop: true) { Transcendental.arcTangent(y: $0, x: $1, &$2) }
        case .fptan, .fsin, .fcos, .fsincos: return trigonometric(code)
        case .fprem: return remainder(nearest: false)
        case .fprem1: return remainder(nearest: true)
        case .fscale: return scale()
        case .fxtract: return extract()
        case .fwait, .fnop, .fnstcw, .fnstsw_m16, .fnstsw_ax, .fnclex, .fninit, .fnstenv, .fnsave, .fneni, .fndisi,
            .fnsetpm,
            .fldcw, .fldenv, .frstor:
            return .next
        }
    }
}
