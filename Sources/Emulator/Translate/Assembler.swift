/// What ModRM.rm of an encoded instruction names.
enum HostOperand {
    case register(Int)
    /// `[base + index << scale + displacement]`; base or index -1: none.
    case memory(base: Int, index: Int = -1, scale: Int = 0, displacement: Int32 = 0)
    /// `[rsp + offset]`: a field of `CPUState`.
    case state(Int)
}

/// Host registers that translated code uses for itself.
enum HostRegister {
    static let rax = 0, rcx = 1, rdx = 2, rsp = 4, rsi = 6, rdi = 7, r8 = 8, r9 = 9
    /// Scratch: hold nothing between two guest instructions.
    static let r10 = 10, r11 = 11
    /// The guest's RSP.
    static let stack = 15

    /// Where a guest register lives; nil: in the state. R10, R11 and R15 are the ones that compilers use least.
    @inline(__always) static func of(guest: Int) -> Int? {
        guest == 4 ? stack : guest == 10 || guest == 11 || guest == 15 || guest > 15 ? nil : guest
    }
    static let mapped: [(guest: Int, host: Int)] = (0..<16).compactMap { guest in of(guest: guest).map { (guest, $0) } }
}

/// Condition codes as in Jcc (SDM vol. 1, appendix B).
enum HostCondition {
    static let below = 2, aboveOrEqual = 3, equal = 4, notEqual = 5, belowOrEqual = 6, above = 7, sign = 8, notSign = 9
}

/// Writes host instructions (SDM vol. 2, chapter 2). Places are addresses where the code executes.
struct Assembler {
    private var cursor: UnsafeMutablePointer<UInt8>
    private let writable: UnsafeMutablePointer<UInt8>
    private let executable: UInt64

    init(writable: UnsafeMutablePointer<UInt8>, executable: UInt64) {
        cursor = writable
        self.writable = writable
        self.executable = executable
    }

    var here: UInt64 {
        get { executable &+ UInt64(cursor - writable) }
        set { cursor = writable + Int(newValue &- executable) }
    }

    func pointer(_ place: UInt64) -> UnsafeMutableRawPointer {
        UnsafeMutableRawPointer(writable + Int(place &- executable))
    }

    // MARK: Bytes

    @inline(__always) mutating func byte(_ value: UInt8) {
        // SAFETY: the translator makes room before it starts a region.
        cursor.pointee = value
        cursor += 1
    }
    @inline(__always) mutating func bytes(_ a: UInt8, _ b: UInt8) {
        byte(a)
        byte(b)
    }
    @inline(__always) mutating func bytes(_ a: UInt8, _ b: UInt8, _ c: UInt8) {
        bytes(a, b)
        byte(c)
    }
    mutating func bytes(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8, _ more: UInt8...) {
        bytes(a, b)
        bytes(c, d)
        for value in more { byte(value) }
    }
    @inline(__always) mutating func int32(_ value: Int32) {
        UnsafeMutableRawPointer(cursor).storeBytes(of: value, as: Int32.self)
        cursor += 4
    }
    @inline(__always) mutating func uint64(_ value: UInt64) {
        UnsafeMutableRawPointer(cursor).storeBytes(of: value, as: UInt64.self)
        cursor += 8
    }
    mutating func align(_ bytes: UInt64) { while here & (bytes - 1) != 0 { byte(0xCC) } }

    // MARK: One instruction with ModRM

    /// - Parameters: `map` of the opcode, `reg` for ModRM.reg, `wide` REX.W, `p66` and `repeatPrefix` as given, `forceREX` for
    ///   SPL to DIL.
    mutating func op(
        _ map: OpcodeRow.Map, _ opcode: UInt8, _ reg: Int, _ rm: HostOperand, wide: Bool = false, p66: Bool = false,
        repeatPrefix: UInt8 = 0, forceREX: Bool = false
    ) {
        if p66 { byte(0x66) }
        if repeatPrefix != 0 { byte(repeatPrefix) }
        var rex: UInt8 = (wide ? 8 : 0) | (reg >= 8 ? 4 : 0)
        switch rm {
        case .register(let register): if register >= 8 { rex |= 1 }
        case .memory(let base, let index, _, _):
            if base >= 8 { rex |= 1 }
            if index >= 8 { rex |= 2 }
        case .state: break
        }
        if rex != 0 || forceREX { byte(0x40 | rex) }
        if map != .one { byte(0x0F) }
        if map == .three38 { byte(0x38) } else if map == .three3A { byte(0x3A) }
        byte(opcode)
        modRM(UInt8(reg & 7) << 3, rm)
    }

    mutating func op(
        _ opcode: UInt8, _ reg: Int, _ rm: HostOperand, wide: Bool = false, p66: Bool = false, forceREX: Bool = false
    ) {
        op(.one, opcode, reg, rm, wide: wide, p66: p66, forceREX: forceREX)
    }

    private mutating func modRM(_ reg: UInt8, _ rm: HostOperand) {
        switch rm {
        case .register(let register): byte(0xC0 | reg | UInt8(register & 7))
        case .state(let offset):
            if offset >= -128 && offset < 128 {
                bytes(0x44 | reg, 0x24, UInt8(truncatingIfNeeded: offset))
            } else {
                bytes(0x84 | reg, 0x24)
                int32(Int32(truncatingIfNeeded: offset))
            }
        case .memory(let base, let index, let scale, let displacement):
            let sib = UInt8(scale) << 6 | UInt8(index < 0 ? 4 : index & 7) << 3
            if base < 0 {
                bytes(0x04 | reg, sib | 5)
                return int32(displacement)
            }
            let isSmall = displacement >= -128 && displacement < 128
            let mod: UInt8 = displacement == 0 && base & 7 != 5 ? 0 : isSmall ? 0x40 : 0x80
            if index >= 0 || base & 7 == 4 {
                bytes(mod | reg | 4, sib | UInt8(base & 7))
            } else {
                byte(mod | reg | UInt8(base & 7))
            }
            if mod == 0x40 { byte(UInt8(truncatingIfNeeded: displacement)) }
            if mod == 0x80 { int32(displacement) }
        }
    }

    // MARK: Frequent ones

    mutating func move(_ to: Int, _ from: Int) { op(0x8B, to, .register(from), wide: true) }
    mutating func load(_ to: Int, _ offset: Int) { op(0x8B, to, .state(offset), wide: true) }
    mutating func store(_ offset: Int, _ from: Int) { op(0x89, from, .state(offset), wide: true) }

    mutating func constant(_ to: Int, _ value: UInt64) {
        let signed = Int64(bitPattern: value)
        if value <= 0xFFFF_FFFF {
            if to >= 8 { byte(0x41) }
            byte(0xB8 | UInt8(to & 7))
            int32(Int32(bitPattern: UInt32(value)))
        } else if signed < 0, signed >= Int64(Int32.min) {
            op(0xC7, 0, .register(to), wide: true)
            int32(Int32(signed))
        } else {
            bytes(0x48 | (to >= 8 ? 1 : 0), 0xB8 | UInt8(to & 7))
            uint64(value)
        }
    }

    /// The address of a place in code memory.
    mutating func place(_ to: Int, _ place: UInt64) {
        bytes(0x48 | (to >= 8 ? 4 : 0), 0x8D, 0x05 | UInt8(to & 7) << 3)
        int32(0)
        fix(here &- 4, place)
    }

    /// Through `scratch` where the value needs more than 32 bits.
    mutating func storeConstant(_ offset: Int, _ value: UInt64, scratch: Int = HostRegister.r10) {
        if let small = Int32(exactly: Int64(bitPattern: value)) {
            op(0xC7, 0, .state(offset), wide: true)
            int32(small)
        } else {
            constant(scratch, value)
            store(offset, scratch)
        }
    }

    /// ADD 0, OR 1, ADC 2, SBB 3, AND 4, SUB 5, XOR 6, CMP 7 with an immediate.
    mutating func arithmetic(_ operation: Int, _ rm: HostOperand, _ value: Int32, wide: Bool = true) {
        if value >= -128 && value < 128 {
            op(0x83, operation, rm, wide: wide)
            byte(UInt8(truncatingIfNeeded: value))
        } else {
            op(0x81, operation, rm, wide: wide)
            int32(value)
        }
    }

    /// `cmp byte [state], value`.
    mutating func compareByte(_ offset: Int, _ value: UInt8) {
        op(0x80, 7, .state(offset))
        byte(value)
    }

    mutating func lea(_ to: Int, base: Int, _ displacement: Int32, wide: Bool = true) {
        op(0x8D, to, .memory(base: base, displacement: displacement), wide: wide)
    }

    // MARK: Jumps. A jump's place is that of its 32-bit distance.

    mutating func jump(_ condition: Int) -> UInt64 {
        bytes(0x0F, 0x80 | UInt8(condition))
        int32(0)
        return here &- 4
    }
    mutating func jump() -> UInt64 {
        byte(0xE9)
        int32(0)
        return here &- 4
    }
    mutating func jump(_ condition: Int, to target: UInt64) { fix(jump(condition), target) }
    mutating func jump(to target: UInt64) { fix(jump(), target) }
    mutating func call(_ target: UInt64) {
        byte(0xE8)
        int32(0)
        fix(here &- 4, target)
    }
    func fix(_ place: UInt64, _ target: UInt64) {
        pointer(place).storeBytes(
            of: Int32(truncatingIfNeeded: Int64(bitPattern: target &- place &- 4)), as: Int32.self)
    }
    mutating func bind(_ place: UInt64) { fix(place, here) }
}
