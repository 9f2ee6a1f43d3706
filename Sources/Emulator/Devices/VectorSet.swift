/// 256 interrupt vectors, one bit each: the local APIC's IRR, ISR and TMR.
struct VectorSet {
    private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    var isEmpty: Bool { words.0 | words.1 | words.2 | words.3 == 0 }

    /// The highest vector in the set.
    var highest: UInt8? {
        if words.3 != 0 { return UInt8(255 - words.3.leadingZeroBitCount) }
        if words.2 != 0 { return UInt8(191 - words.2.leadingZeroBitCount) }
        if words.1 != 0 { return UInt8(127 - words.1.leadingZeroBitCount) }
        if words.0 != 0 { return UInt8(63 - words.0.leadingZeroBitCount) }
        return nil
    }

    private func word(_ index: UInt8) -> UInt64 {
        switch index {
        case 0: words.0
        case 1: words.1
        case 2: words.2
        default: words.3
        }
    }

    subscript(vector: UInt8) -> Bool {
        get { word(vector >> 6) >> UInt64(vector & 63) & 1 != 0 }
        set {
            let bit: UInt64 = 1 << UInt64(vector & 63)
            let changed = newValue ? word(vector >> 6) | bit : word(vector >> 6) & ~bit
            switch vector >> 6 {
            case 0: words.0 = changed
            case 1: words.1 = changed
            case 2: words.2 = changed
            default: words.3 = changed
            }
        }
    }

    mutating func exchange(_ c: StateCoder) {
        c.field("0", &words.0)
        c.field("1", &words.1)
        c.field("2", &words.2)
        c.field("3", &words.3)
    }

    /// One of the eight 32-bit registers that show the set.
    func register(_ index: Int) -> UInt32 {
        UInt32(truncatingIfNeeded: word(UInt8(index >> 1 & 3)) >> (index & 1 != 0 ? 32 : 0))
    }
}
