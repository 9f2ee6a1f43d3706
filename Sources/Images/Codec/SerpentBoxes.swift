/// The eight substitution boxes of Serpent and their inverses, as boolean functions of four words.
///
/// Bit n of the words `x0` to `x3` makes nibble n, `x0` its lowest bit; the comment of each function is the table that it
/// computes. The functions were found by a search for short sequences of and, or, exclusive or and not over the tables;
/// `BlockCipherTests` holds each against its table.
enum SerpentBoxes {
    /// One word of each of four blocks.
    typealias Lanes = SerpentLanes

    /// The four words of four blocks.
    struct State {
        var x0, x1, x2, x3: Lanes

        @inline(__always) init(_ x0: Lanes, _ x1: Lanes, _ x2: Lanes, _ x3: Lanes) {
            (self.x0, self.x1, self.x2, self.x3) = (x0, x1, x2, x3)
        }
    }

    /// Box `number`; for the key schedule, where nothing is known of the number in advance.
    static func substitute(_ number: Int, _ x: State) -> State {
        switch number {
        case 0: s0(x)
        case 1: s1(x)
        case 2: s2(x)
        case 3: s3(x)
        case 4: s4(x)
        case 5: s5(x)
        case 6: s6(x)
        default: s7(x)
        }
    }

    /// 38f1a65bed42709c
    @inline(__always) static func s0(_ x: State) -> State {
        let a = x.x3 | x.x0
        let b = x.x2 ^ x.x1
        let c = a ^ b
        let d = ~x.x3
        let e = x.x3 ^ x.x0
        let f = e & ~x.x1
        let g = f ^ d
        let h = x.x2 ^ x.x0
        let i = h ^ f
        let j = i & ~c
        let k = j ^ g
        let l = k ^ i
        let m = i ^ x.x1
        let n = g & x.x2
        let o = m ^ n
        return State(l, k, o, c)
    }

    /// fc27905a1be86d34
    @inline(__always) static func s1(_ x: State) -> State {
        let a = ~x.x1
        let b = a | x.x0
        let c = b ^ x.x2
        let d = x.x3 ^ c
        let e = c & ~x.x0
        let f = a ^ x.x0
        let g = f | c
        let h = g & x.x3
        let i = h ^ e
        let j = i ^ x.x1
        let k = h | f
        let l = e ^ d
        let m = k ^ l
        let n = m & ~j
        let o = n ^ c
        return State(o, j, d, m)
    }

    /// 86793cafd1e40b52
    @inline(__always) static func s2(_ x: State) -> State {
        let a = x.x2 & ~x.x0
        let b = a ^ x.x3
        let c = b ^ x.x2
        let d = ~c
        let e = d & ~x.x1
        let f = e ^ b
        let g = f ^ x.x0
        let h = f & d
        let i = h ^ x.x1
        let j = i & g
        let k = j ^ d
        let l = b ^ x.x1
        let m = g & ~k
        let n = m ^ i
        return State(l, k, n, g)
    }

    /// 0fb8c963d124a75e
    @inline(__always) static func s3(_ x: State) -> State {
        let a = x.x1 | x.x0
        let b = a ^ x.x3
        let c = b | x.x0
        let d = c ^ x.x1
        let e = d & x.x2
        let f = e ^ b
        let g = f ^ x.x2
        let h = g | x.x0
        let i = h & ~d
        let j = i ^ f
        let k = j ^ x.x0
        let l = g | d
        let m = k ^ l
        let n = m & ~j
        let o = n ^ d
        return State(o, m, j, g)
    }

    /// 1f83c0b6254a9e7d
    @inline(__always) static func s4(_ x: State) -> State {
        let a = x.x0 & ~x.x3
        let b = a ^ x.x2
        let c = ~x.x0
        let d = c ^ x.x3
        let e = d & ~x.x1
        let f = e ^ b
        let g = f & ~x.x1
        let h = g ^ d
        let i = d ^ x.x1
        let j = c ^ b
        let k = j & f
        let l = k ^ i
        let m = k | x.x1
        let n = j & ~a
        let o = m ^ n
        return State(f, o, l, h)
    }

    /// f52b4a9c03e8d671
    @inline(__always) static func s5(_ x: State) -> State {
        let a = x.x1 | x.x0
        let b = a ^ x.x2
        let c = x.x1 ^ x.x0
        let d = ~c
        let e = d & ~x.x3
        let f = e ^ b
        let g = f ^ x.x1
        let h = g & b
        let i = d ^ x.x3
        let j = h ^ i
        let k = j & ~h
        let l = c ^ b
        let m = k ^ l
        let n = g & ~x.x3
        let o = n ^ c
        return State(g, o, j, m)
    }

    /// 72c5846be91fd3a0
    @inline(__always) static func s6(_ x: State) -> State {
        let a = x.x3 & x.x0
        let b = a ^ x.x2
        let c = ~x.x1
        let d = c ^ b
        let e = d ^ x.x3
        let f = e ^ x.x0
        let g = f | x.x1
        let h = g ^ x.x3
        let i = h & b
        let j = i ^ f
        let k = j & b
        let l = k ^ h
        let m = l & ~j
        let n = m ^ b
        return State(j, d, l, n)
    }

    /// 1df0e82b74ca9356
    @inline(__always) static func s7(_ x: State) -> State {
        let a = x.x2 ^ x.x1
        let b = a & x.x2
        let c = x.x3 ^ x.x0
        let d = b ^ c
        let e = d & x.x0
        let f = e ^ a
        let g = f & ~a
        let h = d ^ x.x1
        let i = g ^ h
        let j = h & f
        let k = x.x3 & ~b
        let l = j ^ k
        let m = j & ~x.x0
        let n = m ^ d
        let o = ~x.x3
        let p = o ^ f
        let q = p & ~h
        let r = q ^ n
        return State(r, i, l, f)
    }

    /// d3b0a65c1e47f982
    @inline(__always) static func inverse0(_ x: State) -> State {
        let a = x.x3 ^ x.x2
        let b = ~x.x0
        let c = b & ~x.x1
        let d = c ^ a
        let e = x.x3 | x.x0
        let f = e ^ x.x1
        let g = f | x.x3
        let h = g ^ b
        let i = h & d
        let j = i ^ f
        let k = j ^ c
        let l = h ^ x.x2
        let m = k ^ l
        let n = m & j
        let o = n ^ h
        return State(j, o, d, m)
    }

    /// 582ef6c3b4791da0
    @inline(__always) static func inverse1(_ x: State) -> State {
        let a = x.x3 & ~x.x1
        let b = x.x2 ^ x.x0
        let c = a ^ b
        let d = x.x1 & ~x.x3
        let e = ~x.x0
        let f = e ^ d
        let g = x.x2 & ~f
        let h = g ^ x.x1
        let i = h & c
        let j = i ^ f
        let k = j & c
        let l = k ^ h
        let m = k ^ x.x2
        let n = f | x.x3
        let o = m ^ n
        return State(j, l, o, c)
    }

    /// c9f4be12036d58a7
    @inline(__always) static func inverse2(_ x: State) -> State {
        let a = x.x3 & ~x.x1
        let b = a ^ x.x2
        let c = b & x.x3
        let d = c ^ x.x1
        let e = d & ~x.x0
        let f = e ^ b
        let g = b | x.x1
        let h = x.x3 ^ x.x0
        let i = g ^ h
        let j = ~d
        let k = j ^ f
        let l = k ^ x.x0
        let m = l & i
        let n = m ^ j
        return State(i, f, l, n)
    }

    /// 09a7be6d35c248f1
    @inline(__always) static func inverse3(_ x: State) -> State {
        let a = x.x3 ^ x.x2
        let b = a ^ x.x1
        let c = x.x1 & ~x.x2
        let d = c ^ x.x0
        let e = d & ~x.x3
        let f = e ^ b
        let g = f | x.x3
        let h = g & ~d
        let i = h ^ a
        let j = g & d
        let k = f & ~x.x2
        let l = j | k
        let m = l ^ b
        let n = a | x.x1
        let o = n & ~j
        return State(f, o, i, m)
    }

    /// 5083a97e2cb64fd1
    @inline(__always) static func inverse4(_ x: State) -> State {
        let a = x.x1 ^ x.x0
        let b = a & x.x0
        let c = b ^ x.x2
        let d = c & ~x.x3
        let e = d ^ a
        let f = x.x0 & ~e
        let g = f | x.x3
        let h = g ^ c
        let i = ~c
        let j = i ^ x.x1
        let k = x.x3 ^ x.x0
        let l = k & h
        let m = l ^ j
        let n = m & ~e
        let o = l ^ x.x3
        let p = n ^ o
        return State(m, h, p, e)
    }

    /// 8f2941deb6537ca0
    @inline(__always) static func inverse5(_ x: State) -> State {
        let a = ~x.x1
        let b = a ^ x.x2
        let c = x.x1 & ~b
        let d = c ^ x.x3
        let e = d & x.x0
        let f = e ^ b
        let g = a & ~f
        let h = x.x0 & ~g
        let i = h ^ d
        let j = i ^ x.x1
        let k = x.x0 & ~f
        let l = j ^ k
        let m = l & i
        let n = j ^ x.x0
        let o = m ^ n
        let p = o ^ g
        return State(l, i, p, f)
    }

    /// fa1d536049e72c8b
    @inline(__always) static func inverse6(_ x: State) -> State {
        let a = x.x2 & ~x.x0
        let b = a ^ x.x3
        let c = ~x.x1
        let d = c ^ b
        let e = x.x2 ^ x.x0
        let f = e ^ d
        let g = e & b
        let h = g ^ x.x0
        let i = h & c
        let j = i ^ f
        let k = j ^ h
        let l = k ^ x.x1
        let m = l & j
        let n = m ^ b
        return State(l, d, n, j)
    }

    /// 306d9ef85cb7a142
    @inline(__always) static func inverse7(_ x: State) -> State {
        let a = x.x3 | x.x0
        let b = a ^ x.x2
        let c = b | x.x3
        let d = ~c
        let e = d ^ x.x0
        let f = e & ~x.x1
        let g = f ^ b
        let h = g & ~x.x3
        let i = x.x2 & ~e
        let j = h ^ i
        let k = j ^ x.x1
        let l = k ^ x.x3
        let m = g & e
        let n = l ^ m
        let o = n & ~k
        let p = c ^ x.x0
        let q = o ^ p
        return State(g, k, n, q)
    }
}
