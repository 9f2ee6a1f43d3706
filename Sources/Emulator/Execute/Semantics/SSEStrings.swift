/// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 2, 4.1) and CRC32.
///
/// Control byte:
///
/// | bits | meaning |
/// | --- | --- |
/// | 0–1 | unsigned bytes, unsigned words, signed bytes, signed words |
/// | 2–3 | equal any, ranges, equal each, equal ordered |
/// | 4–5 | 01 negates the result, 11 only where the second string is valid |
/// | 6 | index: last instead of first; mask: whole elements instead of bits |
struct StringCompare {
    let control: UInt8
    /// Elements in a register: 16 bytes or 8 words.
    let count: Int

    init(control: UInt8) {
        self.control = control
        count = control & 1 != 0 ? 8 : 16
    }

    /// A register's elements, widened.
    typealias Elements = InlineArray<16, Int32>

    func elements(_ v: V128) -> Elements {
        var r = Elements(repeating: 0)
        for i in 0..<count {
            let bit = UInt64(i * (control & 1 != 0 ? 16 : 8))
            let raw = (bit < 64 ? v.low : v.high) >> (bit & 63)
            r[i] =
                switch control & 3 {
                case 0: Int32(UInt8(truncatingIfNeeded: raw))
                case 1: Int32(UInt16(truncatingIfNeeded: raw))
                case 2: Int32(Int8(truncatingIfNeeded: raw))
                default: Int32(Int16(truncatingIfNeeded: raw))
                }
        }
        return r
    }

    /// Length of a string that ends with a zero element.
    func implicitLength(_ v: Elements) -> Int {
        for i in 0..<count where v[i] == 0 { return i }
        return count
    }

    /// Length from rAX or rDX: its magnitude, at most a register full.
    func explicitLength(_ value: Int64) -> Int { Int(min(value.magnitude, UInt64(count))) }

    /// IntRes2: one bit for each element of the second string.
    func compare(_ a: Elements, _ lengthA: Int, _ b: Elements, _ lengthB: Int) -> UInt32 {
        var result: UInt32 = 0
        for j in 0..<count where matches(a, lengthA, b, lengthB, at: j) { result |= 1 << UInt32(j) }
        let all: UInt32 = (1 << UInt32(count)) - 1
        switch control >> 4 & 3 {
        case 1: return ~result & all
        case 3: return result ^ ((1 << UInt32(lengthB)) - 1)
        default: return result
        }
    }

    private func matches(_ a: Elements, _ lengthA: Int, _ b: Elements, _ lengthB: Int, at j: Int) -> Bool {
        switch control >> 2 & 3 {
        case 0:
            if j >= lengthB { return false }
            let value = b[j]
            for i in 0..<lengthA where a[i] == value { return true }
            return false
        case 1:
            if j >= lengthB { return false }
            let value = b[j]
            for i in stride(from: 0, to: lengthA - 1, by: 2) where value >= a[i] && value <= a[i + 1] {
                return true
            }
            return false
        case 2:
            if j >= lengthA || j >= lengthB { return j >= lengthA && j >= lengthB }
            return a[j] == b[j]
        default:
            // The first string at place j of the second; past the register's end it cannot fail.
            for i in 0..<lengthA where j + i < count {
                if j + i >= lengthB || a[i] != b[j + i] { return false }
            }
            return true
        }
    }

    func index(_ result: UInt32) -> UInt32 {
        if result == 0 { return UInt32(count) }
        return control & 0x40 != 0
            ? UInt32(31 - result.leadingZeroBitCount) : UInt32(result.trailingZeroBitCount)
    }

    func mask(_ result: UInt32) -> V128 {
        if control & 0x40 == 0 { return V128(low: UInt64(result), high: 0) }
        if count == 16 {
            var r = SIMD16<UInt8>()
            for i in 0..<16 where result >> UInt32(i) & 1 != 0 { r[i] = 0xFF }
            return V128(r)
        }
        var r = SIMD8<UInt16>()
        for i in 0..<8 where result >> UInt32(i) & 1 != 0 { r[i] = 0xFFFF }
        return V128(r)
    }
}

extension CPU {
    func stringCompare(_ op: Op, explicit: Bool, mask: Bool) -> Outcome {
        let isMemory = op.pointee.prefixes.contains(.memory)
        guard
            let source = isMemory
                ? memorySource128(op, aligned: false) : UnsafeRawPointer(state.xmm + Int(op.pointee.rm))
        else { return .fault }
        let unit = StringCompare(control: UInt8(truncatingIfNeeded: op.pointee.immediate))
        let a = unit.elements(state.xmm[Int(op.pointee.reg)])
        let b = unit.elements(source.loadUnaligned(as: V128.self))
        let lengthA: Int, lengthB: Int
        if explicit {
            func length(_ register: Int) -> Int {
                let value = Int64(bitPattern: state.gpr64(UInt8(register)))
                return unit.explicitLength(
                    op.pointee.prefixes.contains(.rexW) ? value : Int64(Int32(truncatingIfNeeded: value)))
            }
            lengthA = length(Register.rax)
            lengthB = length(Register.rdx)
        } else {
            lengthA = unit.implicitLength(a)
            lengthB = unit.implicitLength(b)
        }
        let result = unit.compare(a, lengthA, b, lengthB)
        if mask {
            state.xmm[0] = unit.mask(result)
        } else {
            state.setRegister(UInt8(Register.rcx), unit.index(result))
        }
        state.setArithmeticFlags(
            (result != 0 ? RFLAGS.cf : 0) | (lengthB < unit.count ? RFLAGS.zf : 0)
                | (lengthA < unit.count ? RFLAGS.sf : 0) | (result & 1 != 0 ? RFLAGS.of : 0))
        return .next
    }

    /// CRC-32C (polynomial 11EDC6F41h, reflected) of 1 << log2Size bytes.
    func crc32(_ op: Op, log2Size: UInt8) -> Outcome {
        let isMemory = op.pointee.prefixes.contains(.memory)
        let value: UInt64?
        switch log2Size {
        case 0:
            value = (isMemory ? state.load(op, as: UInt8.self) : state.register(op.pointee.rm, as: UInt8.self))
                .map(UInt64.init)
        case 1:
            value = (isMemory ? state.load(op, as: UInt16.self) : state.register(op.pointee.rm, as: UInt16.self))
                .map(UInt64.init)
        case 2:
            value = (isMemory ? state.load(op, as: UInt32.self) : state.register(op.pointee.rm, as: UInt32.self))
                .map(UInt64.init)
        default: value = isMemory ? state.load(op, as: UInt64.self) : state.register(op.pointee.rm, as: UInt64.self)
        }
        guard var rest = value else { return .fault }
        var crc = state.register(op.pointee.reg, as: UInt32.self)
        for _ in 0..<(1 << Int(log2Size)) {
            crc ^= UInt32(truncatingIfNeeded: rest & 0xFF)
            for _ in 0..<8 { crc = crc & 1 != 0 ? crc >> 1 ^ 0x82F6_3B78 : crc >> 1 }
            rest >>= 8
        }
        state.setRegister(op.pointee.reg, crc)
        return .next
    }
}
