/// Executes one operation: one exhaustive switch over `OpCode` (docs/HOTPATH.md, rule 3).
///
/// Cases are one line each: fast operations are inlined functions of Semantics/, rare ones calls on the CPU that return an `Outcome`. The
/// interpreter's loop has this in line; single steps and translated code call it.
extension CPU {
    /// How an operation ended.
    enum Step: UInt8 {
        /// Go on with the next operation of the block.
        case done
        /// The block ended: go on behind it, at its branch target, or at an address computed just now. `rip` is there.
        case next, taken, indirect
        /// `rip` is where to go on, but everything must be looked at first.
        case leave
        /// A fault is pending; registers are as before.
        case fault
        /// The block was thrown away: look this very instruction up again.
        case stale
    }

    /// - Parameter start: instruction pointer of the block's first byte, which is also in `Register.blockIP`.
    @inline(__always) func perform(_ op: Op, _ start: UInt64) -> Step {
        let s = state
        switch op.pointee.code {
        // MARK: Block control
        case .endOfBlock:
            s.pointee.rip = start &+ UInt64(op.pointee.offset)
            return .next
        case .stale:
            return .stale
        case .undefined:
            logUndefined(op)
            undefinedOpcode()
            return .fault

        // MARK: Arithmetic group
        case .addRR8: s.rr(Add.self, UInt8.self, op)
        case .addRR16: s.rr(Add.self, UInt16.self, op)
        case .addRR32: s.rr(Add.self, UInt32.self, op)
        case .addRR64: s.rr(Add.self, UInt64.self, op)
        case .addRM8: if !s.rm(Add.self, UInt8.self, op) { return .fault }
        case .addRM16: if !s.rm(Add.self, UInt16.self, op) { return .fault }
        case .addRM32: if !s.rm(Add.self, UInt32.self, op) { return .fault }
        case .addRM64: if !s.rm(Add.self, UInt64.self, op) { return .fault }
        case .addMR8: if !s.mr(Add.self, UInt8.self, op) { return .fault }
        case .addMR16: if !s.mr(Add.self, UInt16.self, op) { return .fault }
        case .addMR32: if !s.mr(Add.self, UInt32.self, op) { return .fault }
        case .addMR64: if !s.mr(Add.self, UInt64.self, op) { return .fault }
        case .addRI8: s.ri(Add.self, UInt8.self, op)
        case .addRI16: s.ri(Add.self, UInt16.self, op)
        case .addRI32: s.ri(Add.self, UInt32.self, op)
        case .addRI64: s.ri(Add.self, UInt64.self, op)
        case .addMI8: if !s.mi(Add.self, UInt8.self, op) { return .fault }
        case .addMI16: if !s.mi(Add.self, UInt16.self, op) { return .fault }
        case .addMI32: if !s.mi(Add.self, UInt32.self, op) { return .fault }
        case .addMI64: if !s.mi(Add.self, UInt64.self, op) { return .fault }
        case .orRR8: s.rr(Or.self, UInt8.self, op)
        case .orRR16: s.rr(Or.self, UInt16.self, op)
        case .orRR32: s.rr(Or.self, UInt32.self, op)
        case .orRR64: s.rr(Or.self, UInt64.self, op)
        case .orRM8: if !s.rm(Or.self, UInt8.self, op) { return .fault }
        case .orRM16: if !s.rm(Or.self, UInt16.self, op) { return .fault }
        case .orRM32: if !s.rm(Or.self, UInt32.self, op) { return .fault }
        case .orRM64: if !s.rm(Or.self, UInt64.self, op) { return .fault }
        case .orMR8: if !s.mr(Or.self, UInt8.self, op) { return .fault }
        case .orMR16: if !s.mr(Or.self, UInt16.self, op) { return .fault }
        case .orMR32: if !s.mr(Or.self, UInt32.self, op) { return .fault }
        case .orMR64: if !s.mr(Or.self, UInt64.self, op) { return .fault }
        case .orRI8: s.ri(Or.self, UInt8.self, op)
        case .orRI16: s.ri(Or.self, UInt16.self, op)
        case .orRI32: s.ri(Or.self, UInt32.self, op)
        case .orRI64: s.ri(Or.self, UInt64.self, op)
        case .orMI8: if !s.mi(Or.self, UInt8.self, op) { return .fault }
        case .orMI16: if !s.mi(Or.self, UInt16.self, op) { return .fault }
        case .orMI32: if !s.mi(Or.self, UInt32.self, op) { return .fault }
        case .orMI64: if !s.mi(Or.self, UInt64.self, op) { return .fault }
        case .adcRR8: s.rr(AddCarry.self, UInt8.self, op)
        case .adcRR16: s.rr(AddCarry.self, UInt16.self, op)
        case .adcRR32: s.rr(AddCarry.self, UInt32.self, op)
        case .adcRR64: s.rr(AddCarry.self, UInt64.self, op)
        case .adcRM8: if !s.rm(AddCarry.self, UInt8.self, op) { return .fault }
        case .adcRM16: if !s.rm(AddCarry.self, UInt16.self, op) { return .fault }
        case .adcRM32: if !s.rm(AddCarry.self, UInt32.self, op) { return .fault }
        case .adcRM64: if !s.rm(AddCarry.self, UInt64.self, op) { return .fault }
        case .adcMR8: if !s.mr(AddCarry.self, UInt8.self, op) { return .fault }
        case .adcMR16: if !s.mr(AddCarry.self, UInt16.self, op) { return .fault }
        case .adcMR32: if !s.mr(AddCarry.self, UInt32.self, op) { return .fault }
        case .adcMR64: if !s.mr(AddCarry.self, UInt64.self, op) { return .fault }
        case .adcRI8: s.ri(AddCarry.self, UInt8.self, op)
        case .adcRI16: s.ri(AddCarry.self, UInt16.self, op)
        case .adcRI32: s.ri(AddCarry.self, UInt32.self, op)
        case .adcRI64: s.ri(AddCarry.self, UInt64.self, op)
        case .adcMI8: if !s.mi(AddCarry.self, UInt8.self, op) { return .fault }
        case .adcMI16: if !s.mi(AddCarry.self, UInt16.self, op) { return .fault }
        case .adcMI32: if !s.mi(AddCarry.self, UInt32.self, op) { return .fault }
        case .adcMI64: if !s.mi(AddCarry.self, UInt64.self, op) { return .fault }
        case .sbbRR8: s.rr(SubtractBorrow.self, UInt8.self, op)
        case .sbbRR16: s.rr(SubtractBorrow.self, UInt16.self, op)
        case .sbbRR32: s.rr(SubtractBorrow.self, UInt32.self, op)
        case .sbbRR64: s.rr(SubtractBorrow.self, UInt64.self, op)
        case .sbbRM8: if !s.rm(SubtractBorrow.self, UInt8.self, op) { return .fault }
        case .sbbRM16: if !s.rm(SubtractBorrow.self, UInt16.self, op) { return .fault }
        case .sbbRM32: if !s.rm(SubtractBorrow.self, UInt32.self, op) { return .fault }
        case .sbbRM64: if !s.rm(SubtractBorrow.self, UInt64.self, op) { return .fault }
        case .sbbMR8: if !s.mr(SubtractBorrow.self, UInt8.self, op) { return .fault }
        case .sbbMR16: if !s.mr(SubtractBorrow.self, UInt16.self, op) { return .fault }
        case .sbbMR32: if !s.mr(SubtractBorrow.self, UInt32.self, op) { return .fault }
        case .sbbMR64: if !s.mr(SubtractBorrow.self, UInt64.self, op) { return .fault }
        case .sbbRI8: s.ri(SubtractBorrow.self, UInt8.self, op)
        case .sbbRI16: s.ri(SubtractBorrow.self, UInt16.self, op)
        case .sbbRI32: s.ri(SubtractBorrow.self, UInt32.self, op)
        case .sbbRI64: s.ri(SubtractBorrow.self, UInt64.self, op)
        case .sbbMI8: if !s.mi(SubtractBorrow.self, UInt8.self, op) { return .fault }
        case .sbbMI16: if !s.mi(SubtractBorrow.self, UInt16.self, op) { return .fault }
        case .sbbMI32: if !s.mi(SubtractBorrow.self, UInt32.self, op) { return .fault }
        case .sbbMI64: if !s.mi(SubtractBorrow.self, UInt64.self, op) { return .fault }
        case .andRR8: s.rr(And.self, UInt8.self, op)
        case .andRR16: s.rr(And.self, UInt16.self, op)
        case .andRR32: s.rr(And.self, UInt32.self, op)
        case .andRR64: s.rr(And.self, UInt64.self, op)
        case .andRM8: if !s.rm(And.self, UInt8.self, op) { return .fault }
        case .andRM16: if !s.rm(And.self, UInt16.self, op) { return .fault }
        case .andRM32: if !s.rm(And.self, UInt32.self, op) { return .fault }
        case .andRM64: if !s.rm(And.self, UInt64.self, op) { return .fault }
        case .andMR8: if !s.mr(And.self, UInt8.self, op) { return .fault }
        case .andMR16: if !s.mr(And.self, UInt16.self, op) { return .fault }
        case .andMR32: if !s.mr(And.self, UInt32.self, op) { return .fault }
        case .andMR64: if !s.mr(And.self, UInt64.self, op) { return .fault }
        case .andRI8: s.ri(And.self, UInt8.self, op)
        case .andRI16: s.ri(And.self, UInt16.self, op)
        case .andRI32: s.ri(And.self, UInt32.self, op)
        case .andRI64: s.ri(And.self, UInt64.self, op)
        case .andMI8: if !s.mi(And.self, UInt8.self, op) { return .fault }
        case .andMI16: if !s.mi(And.self, UInt16.self, op) { return .fault }
        case .andMI32: if !s.mi(And.self, UInt32.self, op) { return .fault }
        case .andMI64: if !s.mi(And.self, UInt64.self, op) { return .fault }
        case .subRR8: s.rr(Subtract.self, UInt8.self, op)
        case .subRR16: s.rr(Subtract.self, UInt16.self, op)
        case .subRR32: s.rr(Subtract.self, UInt32.self, op)
        case .subRR64: s.rr(Subtract.self, UInt64.self, op)
        case .subRM8: if !s.rm(Subtract.self, UInt8.self, op) { return .fault }
        case .subRM16: if !s.rm(Subtract.self, UInt16.self, op) { return .fault }
        case .subRM32: if !s.rm(Subtract.self, UInt32.self, op) { return .fault }
        case .subRM64: if !s.rm(Subtract.self, UInt64.self, op) { return .fault }
        case .subMR8: if !s.mr(Subtract.self, UInt8.self, op) { return .fault }
        case .subMR16: if !s.mr(Subtract.self, UInt16.self, op) { return .fault }
        case .subMR32: if !s.mr(Subtract.self, UInt32.self, op) { return .fault }
        case .subMR64: if !s.mr(Subtract.self, UInt64.self, op) { return .fault }
        case .subRI8: s.ri(Subtract.self, UInt8.self, op)
        case .subRI16: s.ri(Subtract.self, UInt16.self, op)
        case .subRI32: s.ri(Subtract.self, UInt32.self, op)
        case .subRI64: s.ri(Subtract.self, UInt64.self, op)
        case .subMI8: if !s.mi(Subtract.self, UInt8.self, op) { return .fault }
        case .subMI16: if !s.mi(Subtract.self, UInt16.self, op) { return .fault }
        case .subMI32: if !s.mi(Subtract.self, UInt32.self, op) { return .fault }
        case .subMI64: if !s.mi(Subtract.self, UInt64.self, op) { return .fault }
        case .xorRR8: s.rr(Xor.self, UInt8.self, op)
        case .xorRR16: s.rr(Xor.self, UInt16.self, op)
        case .xorRR32: s.rr(Xor.self, UInt32.self, op)
        case .xorRR64: s.rr(Xor.self, UInt64.self, op)
        case .xorRM8: if !s.rm(Xor.self, UInt8.self, op) { return .fault }
        case .xorRM16: if !s.rm(Xor.self, UInt16.self, op) { return .fault }
        case .xorRM32: if !s.rm(Xor.self, UInt32.self, op) { return .fault }
        case .xorRM64: if !s.rm(Xor.self, UInt64.self, op) { return .fault }
        case .xorMR8: if !s.mr(Xor.self, UInt8.self, op) { return .fault }
        case .xorMR16: if !s.mr(Xor.self, UInt16.self, op) { return .fault }
        case .xorMR32: if !s.mr(Xor.self, UInt32.self, op) { return .fault }
        case .xorMR64: if !s.mr(Xor.self, UInt64.self, op) { return .fault }
        case .xorRI8: s.ri(Xor.self, UInt8.self, op)
        case .xorRI16: s.ri(Xor.self, UInt16.self, op)
        case .xorRI32: s.ri(Xor.self, UInt32.self, op)
        case .xorRI64: s.ri(Xor.self, UInt64.self, op)
        case .xorMI8: if !s.mi(Xor.self, UInt8.self, op) { return .fault }
        case .xorMI16: if !s.mi(Xor.self, UInt16.self, op) { return .fault }
        case .xorMI32: if !s.mi(Xor.self, UInt32.self, op) { return .fault }
        case .xorMI64: if !s.mi(Xor.self, UInt64.self, op) { return .fault }
        case .cmpRR8: s.rr(Compare.self, UInt8.self, op)
        case .cmpRR16: s.rr(Compare.self, UInt16.self, op)
        case .cmpRR32: s.rr(Compare.self, UInt32.self, op)
        case .cmpRR64: s.rr(Compare.self, UInt64.self, op)
        case .cmpRM8: if !s.rm(Compare.self, UInt8.self, op) { return .fault }
        case .cmpRM16: if !s.rm(Compare.self, UInt16.self, op) { return .fault }
        case .cmpRM32: if !s.rm(Compare.self, UInt32.self, op) { return .fault }
        case .cmpRM64: if !s.rm(Compare.self, UInt64.self, op) { return .fault }
        case .cmpMR8: if !s.mr(Compare.self, UInt8.self, op) { return .fault }
        case .cmpMR16: if !s.mr(Compare.self, UInt16.self, op) { return .fault }
        case .cmpMR32: if !s.mr(Compare.self, UInt32.self, op) { return .fault }
        case .cmpMR64: if !s.mr(Compare.self, UInt64.self, op) { return .fault }
        case .cmpRI8: s.ri(Compare.self, UInt8.self, op)
        case .cmpRI16: s.ri(Compare.self, UInt16.self, op)
        case .cmpRI32: s.ri(Compare.self, UInt32.self, op)
        case .cmpRI64: s.ri(Compare.self, UInt64.self, op)
        case .cmpMI8: if !s.mi(Compare.self, UInt8.self, op) { return .fault }
        case .cmpMI16: if !s.mi(Compare.self, UInt16.self, op) { return .fault }
        case .cmpMI32: if !s.mi(Compare.self, UInt32.self, op) { return .fault }
        case .cmpMI64: if !s.mi(Compare.self, UInt64.self, op) { return .fault }
        case .testRR8: s.rr(Test.self, UInt8.self, op)
        case .testRR16: s.rr(Test.self, UInt16.self, op)
        case .testRR32: s.rr(Test.self, UInt32.self, op)
        case .testRR64: s.rr(Test.self, UInt64.self, op)
        case .testMR8: if !s.mr(Test.self, UInt8.self, op) { return .fault }
        case .testMR16: if !s.mr(Test.self, UInt16.self, op) { return .fault }
        case .testMR32: if !s.mr(Test.self, UInt32.self, op) { return .fault }
        case .testMR64: if !s.mr(Test.self, UInt64.self, op) { return .fault }
        case .testRI8: s.ri(Test.self, UInt8.self, op)
        case .testRI16: s.ri(Test.self, UInt16.self, op)
        case .testRI32: s.ri(Test.self, UInt32.self, op)
        case .testRI64: s.ri(Test.self, UInt64.self, op)
        case .testMI8: if !s.mi(Test.self, UInt8.self, op) { return .fault }
        case .testMI16: if !s.mi(Test.self, UInt16.self, op) { return .fault }
        case .testMI32: if !s.mi(Test.self, UInt32.self, op) { return .fault }
        case .testMI64: if !s.mi(Test.self, UInt64.self, op) { return .fault }

        // MARK: Moves
        case .movRR8: s.movRR(UInt8.self, op)
        case .movRR16: s.movRR(UInt16.self, op)
        case .movRR32: s.movRR(UInt32.self, op)
        case .movRR64: s.movRR(UInt64.self, op)
        case .movRM8: if !s.movRM(UInt8.self, op) { return .fault }
        case .movRM16: if !s.movRM(UInt16.self, op) { return .fault }
        case .movRM32: if !s.movRM(UInt32.self, op) { return .fault }
        case .movRM64: if !s.movRM(UInt64.self, op) { return .fault }
        case .movMR8: if !s.movMR(UInt8.self, op) { return .fault }
        case .movMR16: if !s.movMR(UInt16.self, op) { return .fault }
        case .movMR32: if !s.movMR(UInt32.self, op) { return .fault }
        case .movMR64: if !s.movMR(UInt64.self, op) { return .fault }
        case .movRI8: s.movRI(UInt8.self, op)
        case .movRI16: s.movRI(UInt16.self, op)
        case .movRI32: s.movRI(UInt32.self, op)
        case .movRI64: s.movRI(UInt64.self, op)
        case .movMI8: if !s.movMI(UInt8.self, op) { return .fault }
        case .movMI16: if !s.movMI(UInt16.self, op) { return .fault }
        case .movMI32: if !s.movMI(UInt32.self, op) { return .fault }
        case .movMI64: if !s.movMI(UInt64.self, op) { return .fault }
        case .movzxR8x16: s.zeroExtendR(UInt8.self, UInt16.self, op)
        case .movzxR8x32: s.zeroExtendR(UInt8.self, UInt32.self, op)
        case .movzxR16x32: s.zeroExtendR(UInt16.self, UInt32.self, op)
        case .movzxM8x16: if !s.zeroExtendM(UInt8.self, UInt16.self, op) { return .fault }
        case .movzxM8x32: if !s.zeroExtendM(UInt8.self, UInt32.self, op) { return .fault }
        case .movzxM16x32: if !s.zeroExtendM(UInt16.self, UInt32.self, op) { return .fault }
        case .movsxR8x16: s.signExtendR(UInt8.self, UInt16.self, op)
        case .movsxR8x32: s.signExtendR(UInt8.self, UInt32.self, op)
        case .movsxR8x64: s.signExtendR(UInt8.self, UInt64.self, op)
        case .movsxR16x32: s.signExtendR(UInt16.self, UInt32.self, op)
        case .movsxR16x64: s.signExtendR(UInt16.self, UInt64.self, op)
        case .movsxR32x64: s.signExtendR(UInt32.self, UInt64.self, op)
        case .movsxM8x16: if !s.signExtendM(UInt8.self, UInt16.self, op) { return .fault }
        case .movsxM8x32: if !s.signExtendM(UInt8.self, UInt32.self, op) { return .fault }
        case .movsxM8x64: if !s.signExtendM(UInt8.self, UInt64.self, op) { return .fault }
        case .movsxM16x32: if !s.signExtendM(UInt16.self, UInt32.self, op) { return .fault }
        case .movsxM16x64: if !s.signExtendM(UInt16.self, UInt64.self, op) { return .fault }
        case .movsxM32x64: if !s.signExtendM(UInt32.self, UInt64.self, op) { return .fault }
        case .lea16: s.lea(UInt16.self, op)
        case .lea32: s.lea(UInt32.self, op)
        case .lea64: s.lea(UInt64.self, op)
        case .xchgRR8: s.xchgRR(UInt8.self, op)
        case .xchgRR16: s.xchgRR(UInt16.self, op)
        case .xchgRR32: s.xchgRR(UInt32.self, op)
        case .xchgRR64: s.xchgRR(UInt64.self, op)
        case .xchgMR8: if !s.xchgMR(UInt8.self, op) { return .fault }
        case .xchgMR16: if !s.xchgMR(UInt16.self, op) { return .fault }
        case .xchgMR32: if !s.xchgMR(UInt32.self, op) { return .fault }
        case .xchgMR64: if !s.xchgMR(UInt64.self, op) { return .fault }
        case .cmovR16: s.cmovR(UInt16.self, op)
        case .cmovR32: s.cmovR(UInt32.self, op)
        case .cmovR64: s.cmovR(UInt64.self, op)
        case .cmovM16: if !s.cmovM(UInt16.self, op) { return .fault }
        case .cmovM32: if !s.cmovM(UInt32.self, op) { return .fault }
        case .cmovM64: if !s.cmovM(UInt64.self, op) { return .fault }
        case .setccR:
            s.setRegister(op.pointee.reg, UInt8(s.condition(UInt8(truncatingIfNeeded: op.pointee.sub)) ? 1 : 0))
        case .setccM:
            if !s.store(op, UInt8(s.condition(UInt8(truncatingIfNeeded: op.pointee.sub)) ? 1 : 0)) {
                return .fault
            }
        case .bswap32: s.setRegister(op.pointee.reg, s.register(op.pointee.reg, as: UInt32.self).byteSwapped)
        case .bswap64: s.setRegister(op.pointee.reg, s.register(op.pointee.reg, as: UInt64.self).byteSwapped)

        // MARK: One operand
        case .incR8: s.r(Increment.self, UInt8.self, op)
        case .incR16: s.r(Increment.self, UInt16.self, op)
        case .incR32: s.r(Increment.self, UInt32.self, op)
        case .incR64: s.r(Increment.self, UInt64.self, op)
        case .incM8: if !s.m(Increment.self, UInt8.self, op) { return .fault }
        case .incM16: if !s.m(Increment.self, UInt16.self, op) { return .fault }
        case .incM32: if !s.m(Increment.self, UInt32.self, op) { return .fault }
        case .incM64: if !s.m(Increment.self, UInt64.self, op) { return .fault }
        case .decR8: s.r(Decrement.self, UInt8.self, op)
        case .decR16: s.r(Decrement.self, UInt16.self, op)
        case .decR32: s.r(Decrement.self, UInt32.self, op)
        case .decR64: s.r(Decrement.self, UInt64.self, op)
        case .decM8: if !s.m(Decrement.self, UInt8.self, op) { return .fault }
        case .decM16: if !s.m(Decrement.self, UInt16.self, op) { return .fault }
        case .decM32: if !s.m(Decrement.self, UInt32.self, op) { return .fault }
        case .decM64: if !s.m(Decrement.self, UInt64.self, op) { return .fault }
        case .notR8: s.r(Not.self, UInt8.self, op)
        case .notR16: s.r(Not.self, UInt16.self, op)
        case .notR32: s.r(Not.self, UInt32.self, op)
        case .notR64: s.r(Not.self, UInt64.self, op)
        case .notM8: if !s.m(Not.self, UInt8.self, op) { return .fault }
        case .notM16: if !s.m(Not.self, UInt16.self, op) { return .fault }
        case .notM32: if !s.m(Not.self, UInt32.self, op) { return .fault }
        case .notM64: if !s.m(Not.self, UInt64.self, op) { return .fault }
        case .negR8: s.r(Negate.self, UInt8.self, op)
        case .negR16: s.r(Negate.self, UInt16.self, op)
        case .negR32: s.r(Negate.self, UInt32.self, op)
        case .negR64: s.r(Negate.self, UInt64.self, op)
        case .negM8: if !s.m(Negate.self, UInt8.self, op) { return .fault }
        case .negM16: if !s.m(Negate.self, UInt16.self, op) { return .fault }
        case .negM32: if !s.m(Negate.self, UInt32.self, op) { return .fault }
        case .negM64: if !s.m(Negate.self, UInt64.self, op) { return .fault }

        // MARK: Shifts
        case .shlRI32: s.shlRI(UInt32.self, op)
        case .shlRI64: s.shlRI(UInt64.self, op)
        case .shlRC32: s.byCL(UInt32.self, op) { s.shiftLeft($0, $1) }
        case .shlRC64: s.byCL(UInt64.self, op) { s.shiftLeft($0, $1) }
        case .shrRI32: s.shrRI(UInt32.self, op)
        case .shrRI64: s.shrRI(UInt64.self, op)
        case .shrRC32: s.byCL(UInt32.self, op) { s.shiftRight($0, $1) }
        case .shrRC64: s.byCL(UInt64.self, op) { s.shiftRight($0, $1) }
        case .sarRI32: s.sarRI(UInt32.self, op)
        case .sarRI64: s.sarRI(UInt64.self, op)
        case .sarRC32: s.byCL(UInt32.self, op) { s.shiftArithmetic($0, $1) }
        case .sarRC64: s.byCL(UInt64.self, op) { s.shiftArithmetic($0, $1) }
        case .shiftR8, .shiftR16, .shiftR32, .shiftR64:
            if shift(op) != .next { return .fault }
        case .shiftM8, .shiftM16, .shiftM32, .shiftM64:
            if shift(op) != .next { return .fault }
        case .doubleShift: if doubleShift(op) != .next { return .fault }

        // MARK: Multiplication and division
        case .imulRR16: s.imulRR(UInt16.self, op)
        case .imulRR32: s.imulRR(UInt32.self, op)
        case .imulRR64: s.imulRR(UInt64.self, op)
        case .imulRM16: if !s.imulRM(UInt16.self, op) { return .fault }
        case .imulRM32: if !s.imulRM(UInt32.self, op) { return .fault }
        case .imulRM64: if !s.imulRM(UInt64.self, op) { return .fault }
        case .imulRRI16: s.imulRRI(UInt16.self, op)
        case .imulRRI32: s.imulRRI(UInt32.self, op)
        case .imulRRI64: s.imulRRI(UInt64.self, op)
        case .imulRMI16: if !s.imulRMI(UInt16.self, op) { return .fault }
        case .imulRMI32: if !s.imulRMI(UInt32.self, op) { return .fault }
        case .imulRMI64: if !s.imulRMI(UInt64.self, op) { return .fault }
        case .mulWide: if wide(.mul, op) != .next { return .fault }
        case .imulWide: if wide(.imul, op) != .next { return .fault }
        case .divide: if wide(.div, op) != .next { return .fault }
        case .idivide: if wide(.idiv, op) != .next { return .fault }

        // MARK: Stack
        case .pushR64: if !s.push64(s.gpr64(op.pointee.reg)) { return .fault }
        case .pushI64: if !s.push64(UInt64(bitPattern: op.pointee.immediate)) { return .fault }
        case .pushR32: if !s.push32(s.register(op.pointee.reg, as: UInt32.self)) { return .fault }
        case .pushI32:
            if !s.push32(UInt32(truncatingIfNeeded: op.pointee.immediate)) { return .fault }
        case .popR64:
            guard let value = s.pop64() else { return .fault }
            s.setGPR64(op.pointee.reg, value)
        case .popR32:
            guard let value = s.pop32() else { return .fault }
            s.setGPR64(op.pointee.reg, UInt64(value))
        case .pushGeneral: if pushGeneral(op) != .next { return .fault }
        case .popGeneral: if popGeneral(op) != .next { return .fault }
        case .pushAll: if pushAll(op) != .next { return .fault }
        case .popAll: if popAll(op) != .next { return .fault }
        case .enter: if enter(op) != .next { return .fault }
        case .leaveGeneral: if leaveGeneral(op) != .next { return .fault }
        case .leave64: if !s.leave64() { return .fault }

        // MARK: Near control flow
        case .jo: return s.branch(op, start, s.of)
        case .jno: return s.branch(op, start, !s.of)
        case .jb: return s.branch(op, start, s.cf)
        case .jae: return s.branch(op, start, !s.cf)
        case .je: return s.branch(op, start, s.zf)
        case .jne: return s.branch(op, start, !s.zf)
        case .jbe: return s.branch(op, start, s.cf || s.zf)
        case .ja: return s.branch(op, start, !(s.cf || s.zf))
        case .js: return s.branch(op, start, s.sf)
        case .jns: return s.branch(op, start, !s.sf)
        case .jp: return s.branch(op, start, s.pf)
        case .jnp: return s.branch(op, start, !s.pf)
        case .jl: return s.branch(op, start, s.sf != s.of)
        case .jge: return s.branch(op, start, s.sf == s.of)
        case .jle: return s.branch(op, start, s.zf || s.sf != s.of)
        case .jg: return s.branch(op, start, !s.zf && s.sf == s.of)
        case .loopFamily:
            let counter = s.gpr64(UInt8(Register.rcx))
            let step = s.branch(op, start, loopTaken(op))
            if step == .fault { s.setGPR64(UInt8(Register.rcx), counter) }
            return step
        case .jmpRelative: return s.branch(op, start, true)
        case .jmpR:
            let target = s.gpr64(op.pointee.reg) & pointerMask(op.pointee.size)
            if !isNearTarget(target) { return .fault }
            s.pointee.rip = target
            return .indirect
        case .jmpM:
            guard let target = loadOperand(op, register: 0), isNearTarget(target) else {
                return .fault
            }
            s.pointee.rip = target
            return .indirect
        case .callRelative64:
            let target = start &+ UInt64(bitPattern: op.pointee.immediate)
            guard isNearTarget(target), s.push64(start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)) else {
                return .fault
            }
            s.pointee.rip = target
            return .taken
        case .callR64:
            let target = s.gpr64(op.pointee.reg)
            guard isNearTarget(target),
                s.push64(start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length))
            else { return .fault }
            s.pointee.rip = target
            return .indirect
        case .callM64:
            guard let target = s.load(op, as: UInt64.self), isNearTarget(target),
                s.push64(start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length))
            else { return .fault }
            s.pointee.rip = target
            return .indirect
        case .ret64:
            let pointer = s.gpr64(UInt8(Register.rsp))
            guard let target = s.load(pointer, as: UInt64.self) else {
                stackAccessFaulted()
                return .fault
            }
            if !isNearTarget(target) { return .fault }
            s.setGPR64(UInt8(Register.rsp), pointer &+ 8 &+ UInt64(bitPattern: op.pointee.immediate))
            s.pointee.rip = target
            return .indirect
        case .callRelativeGeneral:
            s.pointee.rip = start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
            return callRelative(op) == .leave ? .indirect : .fault
        case .callIndirectGeneral:
            s.pointee.rip = start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
            return callIndirect(op) == .leave ? .indirect : .fault
        case .retGeneral:
            s.pointee.rip = start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
            return ret(op) == .leave ? .indirect : .fault

        // MARK: Bits
        case .bitTestRR32: s.bitTestRR(UInt32.self, op)
        case .bitTestRR64: s.bitTestRR(UInt64.self, op)
        case .bitTestRI32: s.bitTestRI(UInt32.self, op)
        case .bitTestRI64: s.bitTestRI(UInt64.self, op)
        case .bitTestGeneral: if bitTestGeneral(op) != .next { return .fault }
        case .bitScan: if bitScan(op) != .next { return .fault }
        case .bitManipulation: if bitManipulation(op) != .next { return .fault }

        // MARK: Rarer
        case .cmpxchg: if cmpxchg(op) != .next { return .fault }
        case .xadd: if xadd(op) != .next { return .fault }
        case .cmpxchg8b: if cmpxchg8b(op) != .next { return .fault }
        case .movbe: if movbe(op) != .next { return .fault }
        case .xlat: if xlat(op) != .next { return .fault }
        case .decimal: if decimal(op) != .next { return .fault }
        case .string:
            s.pointee.rip = start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
            let outcome = string(op)
            if outcome != .next { return outcome == .leave ? .leave : .fault }
        case .cbw: s.setRegister(0, UInt16(truncatingIfNeeded: signExtended(s.register(0, as: UInt8.self))))
        case .cwde: s.setRegister(0, UInt32(truncatingIfNeeded: signExtended(s.register(0, as: UInt16.self))))
        case .cdqe: s.setRegister(0, signExtended(s.register(0, as: UInt32.self)))
        case .cwd:
            s.setRegister(
                UInt8(Register.rdx),
                UInt16(truncatingIfNeeded: signExtended(s.register(0, as: UInt16.self)) >> 16))
        case .cdq:
            s.setRegister(
                UInt8(Register.rdx),
                UInt32(truncatingIfNeeded: signExtended(s.register(0, as: UInt32.self)) >> 32))
        case .cqo: s.setGPR64(UInt8(Register.rdx), Int64(bitPattern: s.gpr64(0)) < 0 ? ~0 : 0)
        case .sahf: s.setArithmeticFlags(UInt32(s.register(1, as: UInt8.self)) & 0xD5 | (s.of ? RFLAGS.of : 0))
        case .lahf: s.setRegister(1, UInt8(truncatingIfNeeded: s.arithmeticFlags & 0xD5 | RFLAGS.fixed1))
        case .clc: s.setCarry(false)
        case .stc: s.setCarry(true)
        case .cmc: s.setCarry(!s.cf)
        case .cld: s.pointee.flagsRest &= ~RFLAGS.df
        case .std: s.pointee.flagsRest |= RFLAGS.df
        case .salc: s.setRegister(0, UInt8(s.cf ? 0xFF : 0))
        case .nop: break
        case .pause:
            // At once: firmware lets others have a lock for just this instruction.
            s.pointee.rip = start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
            giveUpTurn()
            return .leave

        // MARK: Families
        case .x87:
            s.pointee.rip = start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
            let outcome = executeX87(op)
            if outcome != .next { return outcome == .leave ? .leave : .fault }
        case .sse:
            s.pointee.rip = start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
            let outcome = executeSSE(op)
            if outcome != .next { return outcome == .leave ? .leave : .fault }
        case .system:
            s.pointee.rip = start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
            let outcome = executeSystem(op)
            if outcome != .next { return outcome == .leave ? .leave : .fault }
        }
        return .done
    }

    /// `perform` for callers outside of the loop.
    @inline(never) func performOne(_ op: Op, _ start: UInt64) -> Step {
        state.setGPR64(UInt8(Register.blockIP), start)
        let step = perform(op, start)
        if step == .fault { operationFaulted(op) }
        return step
    }
}

extension CPUPointer {
    /// Sets `rip` to the next instruction, or to the branch target if that may be fetched from.
    @inline(__always) func branch(_ op: Op, _ start: UInt64, _ isTaken: Bool) -> CPU.Step {
        let shift = UInt64(op.pointee.addressShift)
        let after = start &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
        let target = start &+ UInt64(bitPattern: op.pointee.immediate)
        if !isTaken {
            pointee.rip = after
            return .next
        }
        let masked = (target &<< shift) &>> shift
        if !cpu.isNearTarget(masked) { return .fault }
        pointee.rip = masked
        return .taken
    }
}
