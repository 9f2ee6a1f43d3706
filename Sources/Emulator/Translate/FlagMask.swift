/// Sets of the six arithmetic flags, for liveness.
struct FlagMask: OptionSet {
    let rawValue: UInt8
    static let carry = FlagMask(rawValue: 1), parity = FlagMask(rawValue: 2), adjust = FlagMask(rawValue: 4)
    static let zero = FlagMask(rawValue: 8), sign = FlagMask(rawValue: 16), overflow = FlagMask(rawValue: 32)
    static let all = FlagMask(rawValue: 63)

    init(rawValue: UInt8) { self.rawValue = rawValue }

    /// As RFLAGS bits.
    var rflags: UInt32 {
        (contains(.carry) ? RFLAGS.cf : 0) | (contains(.parity) ? RFLAGS.pf : 0) | (contains(.adjust) ? RFLAGS.af : 0)
            | (contains(.zero) ? RFLAGS.zf : 0) | (contains(.sign) ? RFLAGS.sf : 0)
            | (contains(.overflow) ? RFLAGS.of : 0)
    }

    /// From RFLAGS bits, as the opcode rows have them.
    init(rflags: UInt32) {
        var mask: UInt8 = 0
        if rflags & RFLAGS.cf != 0 { mask |= 1 }
        if rflags & RFLAGS.pf != 0 { mask |= 2 }
        if rflags & RFLAGS.af != 0 { mask |= 4 }
        if rflags & RFLAGS.zf != 0 { mask |= 8 }
        if rflags & RFLAGS.sf != 0 { mask |= 16 }
        if rflags & RFLAGS.of != 0 { mask |= 32 }
        rawValue = mask
    }
}
