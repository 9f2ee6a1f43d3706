/// The arithmetic group (ADD OR ADC SBB AND SUB XOR CMP), TEST, INC, DEC, NEG, NOT.
///
/// Each takes values and sets flags; operand access is the forms' business below.
typealias Word = FixedWidthInteger & UnsignedInteger

/// One operation of the group, chosen at compile time.
protocol BinaryOperation {
    /// False for CMP and TEST, which only set flags.
    static var writes: Bool { get }
    static func apply<T: Word>(_ s: CPUPointer, _ a: T, _ b: T) -> T
}

enum Add: BinaryOperation {
    @inline(__always) static var writes: Bool { true }
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T, _ b: T) -> T {
        let result = a &+ b
        s.setAddFlags(a, b, result)
        return result
    }
}

enum Or: BinaryOperation {
    @inline(__always) static var writes: Bool { true }
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T, _ b: T) -> T {
        let result = a | b
        s.setLogicFlags(result)
        return result
    }
}

enum AddCarry: BinaryOperation {
    @inline(__always) static var writes: Bool { true }
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T, _ b: T) -> T {
        let result = a &+ b &+ (s.cf ? 1 : 0)
        s.setAddFlags(a, b, result)
        return result
    }
}

enum SubtractBorrow: BinaryOperation {
    @inline(__always) static var writes: Bool { true }
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T, _ b: T) -> T {
        let result = a &- b &- (s.cf ? 1 : 0)
        s.setSubFlags(a, b, result)
        return result
    }
}

enum And: BinaryOperation {
    @inline(__always) static var writes: Bool { true }
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T, _ b: T) -> T {
        let result = a & b
        s.setLogicFlags(result)
        return result
    }
}

enum Subtract: BinaryOperation {
    @inline(__always) static var writes: Bool { true }
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T, _ b: T) -> T {
        let result = a &- b
        s.setSubFlags(a, b, result)
        return result
    }
}

enum Xor: BinaryOperation {
    @inline(__always) static var writes: Bool { true }
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T, _ b: T) -> T {
        let result = a ^ b
        s.setLogicFlags(result)
        return result
    }
}

enum Compare: BinaryOperation {
    @inline(__always) static var writes: Bool { false }
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T, _ b: T) -> T {
        s.setSubFlags(a, b, a &- b)
        return a
    }
}

enum Test: BinaryOperation {
    @inline(__always) static var writes: Bool { false }
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T, _ b: T) -> T {
        s.setLogicFlags(a & b)
        return a
    }
}

/// One-operand operations.
protocol UnaryOperation {
    static func apply<T: Word>(_ s: CPUPointer, _ a: T) -> T
}

enum Increment: UnaryOperation {
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T) -> T {
        let result = a &+ 1
        s.setIncFlags(a, result)
        return result
    }
}

enum Decrement: UnaryOperation {
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T) -> T {
        let result = a &- 1
        s.setDecFlags(a, result)
        return result
    }
}

enum Not: UnaryOperation {
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T) -> T { ~a }
}

enum Negate: UnaryOperation {
    @inline(__always) static func apply<T: Word>(_ s: CPUPointer, _ a: T) -> T {
        let result = 0 &- a
        s.setSubFlags(0, a, result)
        return result
    }
}

typealias Op = UnsafePointer<DecodedOp>

/// The operand forms. All but the register ones return false when memory faulted.
extension CPUPointer {
    @inline(__always) func rr<O: BinaryOperation, T: Word>(_: O.Type, _: T.Type, _ op: Op) {
        let result = O.apply(self, register(op.pointee.reg, as: T.self), register(op.pointee.rm, as: T.self))
        if O.writes { setRegister(op.pointee.reg, result) }
    }

    @inline(__always) func ri<O: BinaryOperation, T: Word>(_: O.Type, _: T.Type, _ op: Op) {
        let immediate = T(truncatingIfNeeded: op.pointee.immediate)
        let result = O.apply(self, register(op.pointee.reg, as: T.self), immediate)
        if O.writes { setRegister(op.pointee.reg, result) }
    }

    @inline(__always) func rm<O: BinaryOperation, T: Word>(_: O.Type, _: T.Type, _ op: Op) -> Bool {
        guard let value = load(op, as: T.self) else { return false }
        let result = O.apply(self, register(op.pointee.reg, as: T.self), value)
        if O.writes { setRegister(op.pointee.reg, result) }
        return true
    }

    @inline(__always) func mr<O: BinaryOperation, T: Word>(_: O.Type, _: T.Type, _ op: Op) -> Bool {
        let source = register(op.pointee.reg, as: T.self)
        return memoryOperand(O.self, T.self, op, source)
    }

    @inline(__always) func mi<O: BinaryOperation, T: Word>(_: O.Type, _: T.Type, _ op: Op) -> Bool {
        memoryOperand(O.self, T.self, op, T(truncatingIfNeeded: op.pointee.immediate))
    }

    @inline(__always) private func memoryOperand<O: BinaryOperation, T: Word>(
        _: O.Type, _: T.Type, _ op: Op, _ source: T
    ) -> Bool {
        if O.writes { return modify(op, as: T.self) { O.apply(self, $0, source) } }
        guard let value = load(op, as: T.self) else { return false }
        _ = O.apply(self, value, source)
        return true
    }

    @inline(__always) func r<O: UnaryOperation, T: Word>(_: O.Type, _: T.Type, _ op: Op) {
        setRegister(op.pointee.reg, O.apply(self, register(op.pointee.reg, as: T.self)))
    }

    @inline(__always) func m<O: UnaryOperation, T: Word>(_: O.Type, _: T.Type, _ op: Op) -> Bool {
        modify(op, as: T.self) { O.apply(self, $0) }
    }
}
