#if arch(x86_64)
    import _Builtin_intrinsics.intel
#endif

/// Four words of 32 bits on which Serpent's boolean functions work at once.
///
/// The standard library's vectors do not serve here: their operators go lane by lane, and the compiler puts short
/// expressions of them together to vectors again, but not 32 rounds (2.5 times slower). So where there is SSE2 each
/// operator is its instruction.
struct SerpentLanes {
    #if arch(x86_64)
        private var vector: SIMD2<Int64>

        @inline(__always) private init(vector: SIMD2<Int64>) { self.vector = vector }

        @inline(__always) init(_ words: SIMD4<UInt32>) { vector = unsafeBitCast(words, to: SIMD2<Int64>.self) }
        @inline(__always) var words: SIMD4<UInt32> { unsafeBitCast(vector, to: SIMD4<UInt32>.self) }

        @inline(__always) static func ^ (a: Self, b: Self) -> Self { Self(vector: _mm_xor_si128(a.vector, b.vector)) }
        @inline(__always) static func | (a: Self, b: Self) -> Self { Self(vector: _mm_or_si128(a.vector, b.vector)) }
        @inline(__always) static func & (a: Self, b: Self) -> Self { Self(vector: _mm_and_si128(a.vector, b.vector)) }

        @inline(__always) func shiftedLeft(_ bits: Int32) -> Self { Self(vector: _mm_slli_epi32(vector, bits)) }
        @inline(__always) func shiftedRight(_ bits: Int32) -> Self { Self(vector: _mm_srli_epi32(vector, bits)) }
    #else
        private(set) var words: SIMD4<UInt32>

        @inline(__always) init(_ words: SIMD4<UInt32>) { self.words = words }

        @inline(__always) static func ^ (a: Self, b: Self) -> Self { Self(a.words ^ b.words) }
        @inline(__always) static func | (a: Self, b: Self) -> Self { Self(a.words | b.words) }
        @inline(__always) static func & (a: Self, b: Self) -> Self { Self(a.words & b.words) }

        @inline(__always) func shiftedLeft(_ bits: Int32) -> Self { Self(words &<< UInt32(bits)) }
        @inline(__always) func shiftedRight(_ bits: Int32) -> Self { Self(words &>> UInt32(bits)) }
    #endif

    @inline(__always) init(repeating word: UInt32) { self.init(SIMD4(repeating: word)) }

    @inline(__always) static prefix func ~ (a: Self) -> Self { a ^ Self(repeating: .max) }

    @inline(__always) func rotated(_ bits: Int32) -> Self { shiftedLeft(bits) | shiftedRight(32 - bits) }
}
