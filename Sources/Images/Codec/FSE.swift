/// Finite state entropy, the asymmetric numeral system of LZFSE (FSE of J. Duda's tANS).
///
/// A table has N = 2^n states, dealt out to the symbols in order: a symbol of frequency f owns f states in a row. To
/// leave the i-th of them, f + i is doubled until it lies in N..<2N; the bits so made room for are read from the
/// stream, and the result less N is the next state. Frequencies that add up to N keep every state below N, whatever
/// the stream says.
enum FSE {
    /// Which state follows: `base` and the next `bits` bits.
    struct Step {
        private let base: UInt16
        private let bits: UInt16
        private let mask: UInt16

        /// The step from the state that stands for `value`, which is f + i, of a table of 2^`order` states.
        @inline(__always) init(_ value: Int, order: Int) {
            let shift = order &- (Int.bitWidth &- 1 &- value.leadingZeroBitCount)
            base = UInt16(truncatingIfNeeded: value &<< shift &- 1 &<< order)
            bits = UInt16(truncatingIfNeeded: shift)
            mask = 1 &<< bits &- 1
        }

        /// The state that follows by the bits of `word` below `bit`, which moves down.
        @inline(__always) func next(_ word: UInt64, _ bit: inout Int) -> Int {
            bit &-= Int(bits)
            return Int(base) &+ Int(truncatingIfNeeded: word &>> UInt64(truncatingIfNeeded: bit)) & Int(mask)
        }
    }

    /// A state that stands for a byte.
    struct ByteState {
        fileprivate let step: Step
        fileprivate let byte: UInt16

        /// The byte; `state` is the one that follows.
        @inline(__always) func take(_ word: UInt64, _ bit: inout Int, next state: inout Int) -> UInt8 {
            state = step.next(word, &bit)
            return UInt8(truncatingIfNeeded: byte)
        }
    }

    /// A state that stands for a class of numbers: `first` and the next `extraBits` bits.
    struct NumberState {
        fileprivate let step: Step
        fileprivate let extraBits: UInt16
        fileprivate let extraMask: UInt32
        fileprivate let first: UInt32

        /// The number, whose bits come behind those of the state that follows.
        @inline(__always) func take(_ word: UInt64, _ bit: inout Int, next state: inout Int) -> Int {
            state = step.next(word, &bit)
            bit &-= Int(extraBits)
            return Int(first)
                &+ Int(truncatingIfNeeded: word &>> UInt64(truncatingIfNeeded: bit)) & Int(extraMask)
        }
    }

    /// Numbers of one kind: how many bits follow each class. Every class begins where the one before it ends.
    struct Classes {
        let extraBits: [UInt8]
        let first: [UInt32]

        init(_ extraBits: [UInt8]) {
            self.extraBits = extraBits
            var next: UInt32 = 0
            first = extraBits.map { bits in
                defer { next += 1 << UInt32(bits) }
                return next
            }
        }
    }

    /// Whether frequencies add up to the number of states.
    static func fill(_ frequencies: UnsafeBufferPointer<UInt16>, order: Int) -> Bool {
        frequencies.reduce(0) { $0 &+ Int($1) } == 1 << order
    }

    /// Lays out a table of bytes. The frequencies fill its 2^`order` entries.
    static func build(
        _ table: UnsafeMutablePointer<ByteState>, order: Int, _ frequencies: UnsafeBufferPointer<UInt16>
    ) {
        var at = 0
        for symbol in 0..<frequencies.count {
            let frequency = Int(frequencies[symbol])
            for value in frequency..<2 &* frequency {
                // SAFETY: `at` is below the sum of the frequencies, which is the table's length.
                table[at] = ByteState(step: Step(value, order: order), byte: UInt16(truncatingIfNeeded: symbol))
                at &+= 1
            }
        }
    }

    /// Lays out a table of numbers. The frequencies, one for each class, fill its 2^`order` entries.
    static func build(
        _ table: UnsafeMutablePointer<NumberState>, order: Int, _ frequencies: UnsafeBufferPointer<UInt16>,
        _ classes: Classes
    ) {
        var at = 0
        for symbol in 0..<frequencies.count {
            let frequency = Int(frequencies[symbol])
            let extra = classes.extraBits[symbol]
            for value in frequency..<2 &* frequency {
                // SAFETY: `at` is below the sum of the frequencies, which is the table's length.
                table[at] = NumberState(
                    step: Step(value, order: order), extraBits: UInt16(extra),
                    extraMask: 1 &<< UInt32(extra) &- 1, first: classes.first[symbol])
                at &+= 1
            }
        }
    }
}

/// Bits that were written from first to last and are read from last to first, as FSE has it: eight bytes at a time are
/// loaded, of which the upper ones are unread.
struct FSEBits {
    private let base: UnsafeRawPointer
    /// Unread bits; below zero once more were read than there are.
    private(set) var left: Int

    /// `padding` zero bits stand above the last one. Nil where there are fewer bits than that, or they are not zero.
    ///
    /// Eight bytes in front of the payload are readable.
    init?(_ payload: UnsafeRawBufferPointer, padding: Int) {
        guard let start = payload.baseAddress else { return nil }
        base = start
        left = payload.count * 8 - padding
        guard left >= 0 else { return nil }
        if padding > 0, payload[payload.count - 1] >> UInt8(8 - padding) != 0 { return nil }
    }

    /// The word whose bits below `top` are read next: 57 of them at least.
    @inline(__always) func load() -> UInt64 {
        // SAFETY: left >= 0, and eight bytes in front of the payload are readable.
        base.loadUnaligned(fromByteOffset: (left &+ 7) &>> 3 &- 8, as: UInt64.self).littleEndian
    }

    /// The bit of the word at which reading goes on downwards.
    @inline(__always) var top: Int { 64 &- (0 &- left) & 7 }

    /// Notes how far a word was read; false beyond the first bit.
    @inline(__always) mutating func advance(from top: Int, to bottom: Int) -> Bool {
        left &-= top &- bottom
        return left >= 0
    }
}
