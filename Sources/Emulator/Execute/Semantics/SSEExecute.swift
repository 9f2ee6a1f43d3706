/// MMX and SSE, one case an operation (SDM vol. 2; vol. 1, chapters 9 to 12).
extension CPU {
    /// Executes one operation of `OpcodeTableSSE` or `OpcodeTableMMX`.
    func executeSSE(_ op: Op) -> Outcome {
        // SAFETY: the decoder put the raw value of a case there; raw values count from 0 as the cases' own tags do.
        let code = unsafeBitCast(op.pointee.sub, to: SSECode.self)
        if state.pointee.fpuTrapped || state.pointee.cr4 & CR4.osfxsr == 0 || op.pointee.sub < SSECode.movups.rawValue {
            guard mayExecute(code) else { return .fault }
        }
        let control = UInt8(truncatingIfNeeded: op.pointee.immediate)
        switch code {
        // Moves
        case .movups, .movupd, .movdqu, .lddqu: return loadPackedUnaligned(op)
        case .movups_store, .movupd_store, .movdqu_store: return storePacked(op, aligned: false)
        case .movaps, .movapd, .movdqa, .movntdqa: return packed(op) { _, b in b }
        case .movaps_store, .movapd_store, .movdqa_store, .movntps, .movntpd, .movntdq:
            return storePacked(op, aligned: true)
        case .movss: return moveScalar(op, single: true)
        case .movsd: return moveScalar(op, single: false)
        case .movss_store: return storeScalar(op, single: true)
        case .movsd_store: return storeScalar(op, single: false)
        case .movlps, .movlpd: return loadHalf(op, high: false)
        case .movhps, .movhpd: return loadHalf(op, high: true)
        case .movhlps: return packed(op) { V128(low: $1.high, high: $0.high) }
        case .movlhps: return packed(op) { V128(low: $0.low, high: $1.low) }
        case .movlps_store, .movlpd_store: return state.store(op, state.xmm[Int(op.pointee.reg)].low) ? .next : .fault
        case .movhps_store, .movhpd_store: return state.store(op, state.xmm[Int(op.pointee.reg)].high) ? .next : .fault
        case .movsldup: return packed(op) { _, b in Packed.shuffle32(b, b, 0xA0) }
        case .movshdup: return packed(op) { _, b in Packed.shuffle32(b, b, 0xF5) }
        case .movddup: return widen64(op) { V128(low: $0, high: $0) }
        case .movmskps:
            return signMask(op) { UInt64($0 >> 31 & 1 | $0 >> 62 & 2) | UInt64($1 >> 29 & 4 | $1 >> 60 & 8) }
        case .movmskpd: return signMask(op) { $0 >> 63 | $1 >> 62 & 2 }
        case .pmovmskb: return signMask(op) { Packed.byteSigns($0) | Packed.byteSigns($1) << 8 }
        case .movd: return moveFromGeneral(op)
        case .movd_store: return moveToGeneral(op, state.xmm[Int(op.pointee.reg)].low)
        case .movq: return widen64(op) { V128(low: $0, high: 0) }
        case .movq_store: return storeQuad(op)
        case .maskmovdqu:
            return storeMasked(op, state.xmm[Int(op.pointee.reg)], state.xmm[Int(op.pointee.rm)], count: 16)

        // Floating point
        case .sqrtps: return packedSingle(op) { $0.single(.squareRoot, $1, $2) }
        case .sqrtpd: return packedDouble(op) { $0.double(.squareRoot, $1, $2) }
        case .sqrtss: return scalarSingle(op) { $0.single(.squareRoot, $1, $2) }
        case .sqrtsd: return scalarDouble(op) { $0.double(.squareRoot, $1, $2) }
        case .addps: return packedSingle(op) { $0.single(.add, $1, $2) }
        case .addpd: return packedDouble(op) { $0.double(.add, $1, $2) }
        case .addss: return scalarSingle(op) { $0.single(.add, $1, $2) }
        case .addsd: return scalarDouble(op) { $0.double(.add, $1, $2) }
        case .mulps: return packedSingle(op) { $0.single(.multiply, $1, $2) }
        case .mulpd: return packedDouble(op) { $0.double(.multiply, $1, $2) }
        case .mulss: return scalarSingle(op) { $0.single(.multiply, $1, $2) }
        case .mulsd: return scalarDouble(op) { $0.double(.multiply, $1, $2) }
        case .subps: return packedSingle(op) { $0.single(.subtract, $1, $2) }
        case .subpd: return packedDouble(op) { $0.double(.subtract, $1, $2) }
        case .subss: return scalarSingle(op) { $0.single(.subtract, $1, $2) }
        case .subsd: return scalarDouble(op) { $0.double(.subtract, $1, $2) }
        case .divps: return packedSingle(op) { $0.single(.divide, $1, $2) }
        case .divpd: return packedDouble(op) { $0.double(.divide, $1, $2) }
        case .divss: return scalarSingle(op) { $0.single(.divide, $1, $2) }
        case .divsd: return scalarDouble(op) { $0.double(.divide, $1, $2) }
        case .minps: return packedSingle(op) { $0.select($1, $2, wanted: .less) }
        case .minpd: return packedDouble(op) { $0.select($1, $2, wanted: .less) }
        case .minss: return scalarSingle(op) { $0.select($1, $2, wanted: .less) }
        case .minsd: return scalarDouble(op) { $0.select($1, $2, wanted: .less) }
        case .maxps: return packedSingle(op) { $0.select($1, $2, wanted: .greater) }
        case .maxpd: return packedDouble(op) { $0.select($1, $2, wanted: .greater) }
        case .maxss: return scalarSingle(op) { $0.select($1, $2, wanted: .greater) }
        case .maxsd: return scalarDouble(op) { $0.select($1, $2, wanted: .greater) }
        case .rcpps: return packedSingle(op) { _, _, b in SSEContext.reciprocal(b) }
        case .rsqrtps: return packedSingle(op) { _, _, b in SSEContext.reciprocalRoot(b) }
        case .rcpss: return scalarSingle(op) { _, _, b in SSEContext.reciprocal(b) }
        case .rsqrtss: return scalarSingle(op) { _, _, b in SSEContext.reciprocalRoot(b) }
        case .haddps: return horizontalSingle(op, .add)
        case .hsubps: return horizontalSingle(op, .subtract)
        case .haddpd: return horizontalDouble(op, .add)
        case .hsubpd: return horizontalDouble(op, .subtract)
        case .addsubps: return addSubtractSingle(op)
        case .addsubpd: return addSubtractDouble(op)
        case .cmpps: return packedSingle(op) { $0.predicate(control, $1, $2) }
        case .cmppd: return packedDouble(op) { $0.predicate(control, $1, $2) }
        case .cmpss: return scalarSingle(op) { $0.predicate(control, $1, $2) }
        case .cmpsd: return scalarDouble(op) { $0.predicate(control, $1, $2) }
        case .ucomiss: return compareSingle(op, ordered: false)
        case .ucomisd: return compareDouble(op, ordered: false)
        case .comiss: return compareSingle(op, ordered: true)
        case .comisd: return compareDouble(op, ordered: true)
        case .roundps: return packedSingle(op) { c, _, b in c.integral(single: b, control: control) }
        case .roundpd: return packedDouble(op) { c, _, b in c.integral(double: b, control: control) }
        case .roundss: return scalarSingle(op) { c, _, b in c.integral(single: b, control: control) }
        case .roundsd: return scalarDouble(op) { c, _, b in c.integral(double: b, control: control) }
        case .dpps: return dotProductSingle(op)
        case .dppd: return dotProductDouble(op)

        // Conversions
        case .cvtpi2ps: return mmxToSingle(op)
        case .cvtpi2pd: return mmxToDouble(op)
        case .cvtsi2ss: return integerToSingle(op)
        case .cvtsi2sd: return integerToDouble(op)
        case .cvttps2pi: return singleToMMX(op, truncate: true)
        case .cvtps2pi: return singleToMMX(op, truncate: false)
        case .cvttpd2pi: return doubleToMMX(op, truncate: true)
        case .cvtpd2pi: return doubleToMMX(op, truncate: false)
        case .cvttss2si: return scalarToInteger(op, double: false, truncate: true)
        case .cvttsd2si: return scalarToInteger(op, double: true, truncate: true)
        case .cvtss2si: return scalarToInteger(op, double: false, truncate: false)
        case .cvtsd2si: return scalarToInteger(op, double: true, truncate: false)
        case .cvtps2pd: return packedSingleToDouble(op)
        case .cvtpd2ps: return packedDoubleToSingle(op)
        case .cvtss2sd: return singleToDouble(op)
        case .cvtsd2ss: return doubleToSingle(op)
        case .cvtdq2ps: return packedIntegerToSingle(op)
        case .cvtps2dq: return packedSingleToInteger(op, truncate: false)
        case .cvttps2dq: return packedSingleToInteger(op, truncate: true)
        case .cvtpd2dq: return packedDoubleToInteger(op, truncate: false)
        case .cvttpd2dq: return packedDoubleToInteger(op, truncate: true)
        case .cvtdq2pd: return packedIntegerToDouble(op)

        // Bitwise, shuffles, blends
        case .andps, .andpd, .pand: return packed(op) { V128($0.q & $1.q) }
        case .pand_mm: return mmx(op) { V128($0.q & $1.q) }
        case .andnps, .andnpd, .pandn: return packed(op) { V128(~$0.q & $1.q) }
        case .pandn_mm: return mmx(op) { V128(~$0.q & $1.q) }
        case .orps, .orpd, .por: return packed(op) { V128($0.q | $1.q) }
        case .por_mm: return mmx(op) { V128($0.q | $1.q) }
        case .xorps, .xorpd, .pxor: return packed(op) { V128($0.q ^ $1.q) }
        case .pxor_mm: return mmx(op) { V128($0.q ^ $1.q) }
        case .shufps: return packed(op) { Packed.shuffle32($0, $1, control) }
        case .shufpd:
            return packed(op) {
                V128(low: control & 1 != 0 ? $0.high : $0.low, high: control & 2 != 0 ? $1.high : $1.low)
            }
        case .pshufd: return packed(op) { _, b in Packed.shuffle32(b, b, control) }
        case .pshufhw: return packed(op) { _, b in V128(low: b.low, high: Packed.shuffle16(b.high, control)) }
        case .pshuflw: return packed(op) { _, b in V128(low: Packed.shuffle16(b.low, control), high: b.high) }
        case .pshufw: return mmx(op) { _, b in V128(low: Packed.shuffle16(b.low, control), high: 0) }
        case .pshufb: return packed(op) { Packed.shuffleBytes($0, $1, mask: 15) }
        case .pshufb_mm: return mmx(op) { Packed.shuffleBytes($0, $1, mask: 7) }
        case .palignr: return packed(op) { Packed.align($0, $1, control) }
        case .palignr_mm: return mmx(op) { Packed.shiftRightBytes(V128(low: $1.low, high: $0.low), control) }
        case .punpcklbw: return packed(op) { Packed.interleave8($0.low, $1.low) }
        case .punpckhbw: return packed(op) { Packed.interleave8($0.high, $1.high) }
        case .punpcklbw_mm: return mmxLow(op) { Packed.interleave8($0, $1).low }
        case .punpckhbw_mm: return mmx(op) { V128(low: Packed.interleave8($0.low, $1.low).high, high: 0) }
        case .punpcklwd: return packed(op) { Packed.interleave16($0.low, $1.low) }
        case .punpckhwd: return packed(op) { Packed.interleave16($0.high, $1.high) }
        case .punpcklwd_mm: return mmxLow(op) { Packed.interleave16($0, $1).low }
        case .punpckhwd_mm: return mmx(op) { V128(low: Packed.interleave16($0.low, $1.low).high, high: 0) }
        case .punpckldq, .unpcklps: return packed(op) { Packed.interleave32($0.low, $1.low) }
        case .punpckhdq, .unpckhps: return packed(op) { Packed.interleave32($0.high, $1.high) }
        case .punpckldq_mm: return mmxLow(op) { Packed.interleave32($0, $1).low }
        case .punpckhdq_mm: return mmx(op) { V128(low: Packed.interleave32($0.low, $1.low).high, high: 0) }
        case .punpcklqdq, .unpcklpd: return packed(op) { V128(low: $0.low, high: $1.low) }
        case .punpckhqdq, .unpckhpd: return packed(op) { V128(low: $0.high, high: $1.high) }
        case .packsswb: return packed(op) { Packed.packSigned16($0, $1) }
        case .packsswb_mm: return mmxJoined(op) { Packed.packSigned16($0, $1) }
        case .packuswb: return packed(op) { Packed.packUnsigned16($0, $1) }
        case .packuswb_mm: return mmxJoined(op) { Packed.packUnsigned16($0, $1) }
        case .packssdw: return packed(op) { Packed.packSigned32($0, $1) }
        case .packssdw_mm: return mmxJoined(op) { Packed.packSigned32($0, $1) }
        case .packusdw: return packed(op) { Packed.packUnsigned32($0, $1) }
        case .pblendvb: return packed(op) { blend($0, $1) { V128($0.i8 &>> 7) } }
        case .blendvps: return packed(op) { blend($0, $1) { V128($0.i32 &>> 31) } }
        case .blendvpd: return packed(op) { blend($0, $1) { V128($0.i64 &>> 63) } }
        case .blendps: return packed(op) { Self.select($0, $1, lanes: UInt64(control), width: 4) }
        case .blendpd: return packed(op) { Self.select($0, $1, lanes: UInt64(control), width: 8) }
        case .pblendw: return packed(op) { Self.select($0, $1, lanes: UInt64(control), width: 2) }
        case .ptest: return testBits(op)
        case .pinsrw: return insertWord(op)
        case .pinsrb: return insertByte(op)
        case .pinsrd: return insertDoubleword(op)
        case .pinsrw_mm: return insertWordMMX(op)
        case .pextrw: return extractWord(op, state.xmm[Int(op.pointee.rm)])
        case .pextrw_mm:
            return extractWord(
                op, V128(low: state.pointee.fpu.registers[Int(op.pointee.rm)].significand, high: 0), mask: 3)
        case .pextrb, .pextrw_store, .pextrd, .extractps: return extract(op, code)
        case .insertps: return insertSingle(op)
        case .pmovsxbw: return widen64(op) { V128(SIMD8<Int16>(truncatingIfNeeded: V128(low: $0, high: 0).i8.lowHalf)) }
        case .pmovsxbd:
            return widen32(op) {
                V128(SIMD4<Int32>(truncatingIfNeeded: V128(low: UInt64($0), high: 0).i8.lowHalf.lowHalf))
            }
        case .pmovsxwd:
            return widen64(op) { V128(SIMD4<Int32>(truncatingIfNeeded: V128(low: $0, high: 0).i16.lowHalf)) }
        case .pmovsxwq:
            return widen32(op) {
                V128(SIMD2<Int64>(truncatingIfNeeded: V128(low: UInt64($0), high: 0).i16.lowHalf.lowHalf))
            }
        case .pmovsxdq:
            return widen64(op) { V128(SIMD2<Int64>(truncatingIfNeeded: V128(low: $0, high: 0).i32.lowHalf)) }
        case .pmovsxbq: return widenBytesToQuads(op, signed: true)
        case .pmovzxbw:
            return widen64(op) { V128(SIMD8<UInt16>(truncatingIfNeeded: V128(low: $0, high: 0).u8.lowHalf)) }
        case .pmovzxbd:
            return widen32(op) {
                V128(SIMD4<UInt32>(truncatingIfNeeded: V128(low: UInt64($0), high: 0).u8.lowHalf.lowHalf))
            }
        case .pmovzxwd:
            return widen64(op) { V128(SIMD4<UInt32>(truncatingIfNeeded: V128(low: $0, high: 0).u16.lowHalf)) }
        case .pmovzxwq:
            return widen32(op) {
                V128(SIMD2<UInt64>(truncatingIfNeeded: V128(low: UInt64($0), high: 0).u16.lowHalf.lowHalf))
            }
        case .pmovzxdq:
            return widen64(op) { V128(SIMD2<UInt64>(truncatingIfNeeded: V128(low: $0, high: 0).u32.lowHalf)) }
        case .pmovzxbq: return widenBytesToQuads(op, signed: false)

        // Integer arithmetic
        case .paddb: return packed(op) { V128($0.u8 &+ $1.u8) }
        case .paddb_mm: return mmx(op) { V128($0.u8 &+ $1.u8) }
        case .paddw: return packed(op) { V128($0.u16 &+ $1.u16) }
        case .paddw_mm: return mmx(op) { V128($0.u16 &+ $1.u16) }
        case .paddd: return packed(op) { V128($0.u32 &+ $1.u32) }
        case .paddd_mm: return mmx(op) { V128($0.u32 &+ $1.u32) }
        case .paddq: return packed(op) { V128($0.q &+ $1.q) }
        case .paddq_mm: return mmx(op) { V128($0.q &+ $1.q) }
        case .paddsb: return packed(op) { V128(Packed.addSigned($0.i8, $1.i8)) }
        case .paddsb_mm: return mmx(op) { V128(Packed.addSigned($0.i8, $1.i8)) }
        case .paddsw: return packed(op) { V128(Packed.addSigned($0.i16, $1.i16)) }
        case .paddsw_mm: return mmx(op) { V128(Packed.addSigned($0.i16, $1.i16)) }
        case .paddusb: return packed(op) { V128(Packed.addUnsigned($0.u8, $1.u8)) }
        case .paddusb_mm: return mmx(op) { V128(Packed.addUnsigned($0.u8, $1.u8)) }
        case .paddusw: return packed(op) { V128(Packed.addUnsigned($0.u16, $1.u16)) }
        case .paddusw_mm: return mmx(op) { V128(Packed.addUnsigned($0.u16, $1.u16)) }
        case .psubb: return packed(op) { V128($0.u8 &- $1.u8) }
        case .psubb_mm: return mmx(op) { V128($0.u8 &- $1.u8) }
        case .psubw: return packed(op) { V128($0.u16 &- $1.u16) }
        case .psubw_mm: return mmx(op) { V128($0.u16 &- $1.u16) }
        case .psubd: return packed(op) { V128($0.u32 &- $1.u32) }
        case .psubd_mm: return mmx(op) { V128($0.u32 &- $1.u32) }
        case .psubq: return packed(op) { V128($0.q &- $1.q) }
        case .psubq_mm: return mmx(op) { V128($0.q &- $1.q) }
        case .psubsb: return packed(op) { V128(Packed.subSigned($0.i8, $1.i8)) }
        case .psubsb_mm: return mmx(op) { V128(Packed.subSigned($0.i8, $1.i8)) }
        case .psubsw: return packed(op) { V128(Packed.subSigned($0.i16, $1.i16)) }
        case .psubsw_mm: return mmx(op) { V128(Packed.subSigned($0.i16, $1.i16)) }
        case .psubusb: return packed(op) { V128(Packed.subUnsigned($0.u8, $1.u8)) }
        case .psubusb_mm: return mmx(op) { V128(Packed.subUnsigned($0.u8, $1.u8)) }
        case .psubusw: return packed(op) { V128(Packed.subUnsigned($0.u16, $1.u16)) }
        case .psubusw_mm: return mmx(op) { V128(Packed.subUnsigned($0.u16, $1.u16)) }
        case .pmullw: return packed(op) { V128($0.u16 &* $1.u16) }
        case .pmullw_mm: return mmx(op) { V128($0.u16 &* $1.u16) }
        case .pmulhuw: return packed(op) { Packed.mulHighUnsigned($0, $1) }
        case .pmulhuw_mm: return mmx(op) { Packed.mulHighUnsigned($0, $1) }
        case .pmulhw: return packed(op) { Packed.mulHighSigned($0, $1) }
        case .pmulhw_mm: return mmx(op) { Packed.mulHighSigned($0, $1) }
        case .pmulhrsw: return packed(op) { Packed.mulRounded($0, $1) }
        case .pmulhrsw_mm: return mmx(op) { Packed.mulRounded($0, $1) }
        case .pmuludq: return packed(op) { Packed.multiplyEvenUnsigned($0, $1) }
        case .pmuludq_mm: return mmx(op) { Packed.multiplyEvenUnsigned($0, $1) }
        case .pmaddwd: return packed(op) { Packed.multiplyAdd($0, $1) }
        case .pmaddwd_mm: return mmx(op) { Packed.multiplyAdd($0, $1) }
        case .pmaddubsw: return packed(op) { Packed.multiplyAddBytes($0, $1) }
        case .pmaddubsw_mm: return mmx(op) { Packed.multiplyAddBytes($0, $1) }
        case .psadbw: return packed(op) { Packed.sumOfDifferences($0, $1) }
        case .psadbw_mm: return mmx(op) { Packed.sumOfDifferences($0, $1) }
        case .pavgb: return packed(op) { Packed.average8($0, $1) }
        case .pavgb_mm: return mmx(op) { Packed.average8($0, $1) }
        case .pavgw: return packed(op) { Packed.average16($0, $1) }
        case .pavgw_mm: return mmx(op) { Packed.average16($0, $1) }
        case .pmuldq: return packed(op) { Packed.multiplyEvenSigned($0, $1) }
        case .pmulld: return packed(op) { Packed.multiplyLow32($0, $1) }
        case .pminub: return packed(op) { V128(pointwiseMin($0.u8, $1.u8)) }
        case .pminub_mm: return mmx(op) { V128(pointwiseMin($0.u8, $1.u8)) }
        case .pminsw: return packed(op) { V128(pointwiseMin($0.i16, $1.i16)) }
        case .pminsw_mm: return mmx(op) { V128(pointwiseMin($0.i16, $1.i16)) }
        case .pminsb: return packed(op) { V128(pointwiseMin($0.i8, $1.i8)) }
        case .pminsd: return packed(op) { V128(pointwiseMin($0.i32, $1.i32)) }
        case .pminuw: return packed(op) { V128(pointwiseMin($0.u16, $1.u16)) }
        case .pminud: return packed(op) { V128(pointwiseMin($0.u32, $1.u32)) }
        case .pmaxub: return packed(op) { V128(pointwiseMax($0.u8, $1.u8)) }
        case .pmaxub_mm: return mmx(op) { V128(pointwiseMax($0.u8, $1.u8)) }
        case .pmaxsw: return packed(op) { V128(pointwiseMax($0.i16, $1.i16)) }
        case .pmaxsw_mm: return mmx(op) { V128(pointwiseMax($0.i16, $1.i16)) }
        case .pmaxsb: return packed(op) { V128(pointwiseMax($0.i8, $1.i8)) }
        case .pmaxsd: return packed(op) { V128(pointwiseMax($0.i32, $1.i32)) }
        case .pmaxuw: return packed(op) { V128(pointwiseMax($0.u16, $1.u16)) }
        case .pmaxud: return packed(op) { V128(pointwiseMax($0.u32, $1.u32)) }
        case .phaddw: return packed(op) { Packed.horizontalAdd16($0, $1) }
        case .phaddw_mm: return mmxJoined(op) { Packed.horizontalAdd16($0, $1) }
        case .phaddd: return packed(op) { Packed.horizontalAdd32($0, $1) }
        case .phaddd_mm: return mmxJoined(op) { Packed.horizontalAdd32($0, $1) }
        case .phaddsw: return packed(op) { Packed.horizontalAddSaturated($0, $1) }
        case .phaddsw_mm: return mmxJoined(op) { Packed.horizontalAddSaturated($0, $1) }
        case .phsubw: return packed(op) { Packed.horizontalSub16($0, $1) }
        case .phsubw_mm: return mmxJoined(op) { Packed.horizontalSub16($0, $1) }
        case .phsubd: return packed(op) { Packed.horizontalSub32($0, $1) }
        case .phsubd_mm: return mmxJoined(op) { Packed.horizontalSub32($0, $1) }
        case .phsubsw: return packed(op) { Packed.horizontalSubSaturated($0, $1) }
        case .phsubsw_mm: return mmxJoined(op) { Packed.horizontalSubSaturated($0, $1) }
        case .psignb: return packed(op) { V128(Packed.sign($0.i8, $1.i8)) }
        case .psignb_mm: return mmx(op) { V128(Packed.sign($0.i8, $1.i8)) }
        case .pabsb: return packed(op) { _, b in V128(Packed.absolute(b.i8)) }
        case .pabsb_mm: return mmx(op) { _, b in V128(Packed.absolute(b.i8)) }
        case .psignw: return packed(op) { V128(Packed.sign($0.i16, $1.i16)) }
        case .psignw_mm: return mmx(op) { V128(Packed.sign($0.i16, $1.i16)) }
        case .pabsw: return packed(op) { _, b in V128(Packed.absolute(b.i16)) }
        case .pabsw_mm: return mmx(op) { _, b in V128(Packed.absolute(b.i16)) }
        case .psignd: return packed(op) { V128(Packed.sign($0.i32, $1.i32)) }
        case .psignd_mm: return mmx(op) { V128(Packed.sign($0.i32, $1.i32)) }
        case .pabsd: return packed(op) { _, b in V128(Packed.absolute(b.i32)) }
        case .pabsd_mm: return mmx(op) { _, b in V128(Packed.absolute(b.i32)) }
        case .phminposuw: return packed(op) { _, b in Packed.minimumPosition(b) }
        case .mpsadbw: return packed(op) { Packed.multipleSums($0, $1, control) }

        // Compares
        case .pcmpeqb: return packed(op) { Packed.ones(SIMD16<UInt8>.self, where: $0.u8 .== $1.u8) }
        case .pcmpeqb_mm: return mmx(op) { Packed.ones(SIMD16<UInt8>.self, where: $0.u8 .== $1.u8) }
        case .pcmpeqw: return packed(op) { Packed.ones(SIMD8<UInt16>.self, where: $0.u16 .== $1.u16) }
        case .pcmpeqw_mm: return mmx(op) { Packed.ones(SIMD8<UInt16>.self, where: $0.u16 .== $1.u16) }
        case .pcmpeqd: return packed(op) { Packed.ones(SIMD4<UInt32>.self, where: $0.u32 .== $1.u32) }
        case .pcmpeqd_mm: return mmx(op) { Packed.ones(SIMD4<UInt32>.self, where: $0.u32 .== $1.u32) }
        case .pcmpgtb: return packed(op) { Packed.ones(SIMD16<Int8>.self, where: $0.i8 .> $1.i8) }
        case .pcmpgtb_mm: return mmx(op) { Packed.ones(SIMD16<Int8>.self, where: $0.i8 .> $1.i8) }
        case .pcmpgtw: return packed(op) { Packed.ones(SIMD8<Int16>.self, where: $0.i16 .> $1.i16) }
        case .pcmpgtw_mm: return mmx(op) { Packed.ones(SIMD8<Int16>.self, where: $0.i16 .> $1.i16) }
        case .pcmpgtd: return packed(op) { Packed.ones(SIMD4<Int32>.self, where: $0.i32 .> $1.i32) }
        case .pcmpgtd_mm: return mmx(op) { Packed.ones(SIMD4<Int32>.self, where: $0.i32 .> $1.i32) }
        case .pcmpeqq: return packed(op) { Packed.ones(SIMD2<UInt64>.self, where: $0.q .== $1.q) }
        case .pcmpgtq: return packed(op) { Packed.ones(SIMD2<Int64>.self, where: $0.i64 .> $1.i64) }
        case .pcmpestrm: return stringCompare(op, explicit: true, mask: true)
        case .pcmpestri: return stringCompare(op, explicit: true, mask: false)
        case .pcmpistrm: return stringCompare(op, explicit: false, mask: true)
        case .pcmpistri: return stringCompare(op, explicit: false, mask: false)

        // Shifts
        case .psrlw: return packed(op) { Packed.shiftRight16($0, $1.low) }
        case .psrlw_mm: return mmx(op) { Packed.shiftRight16($0, $1.low) }
        case .psrlw_imm: return shiftImmediate(op, Packed.shiftRight16)
        case .psrlw_mm_imm: return mmxShiftImmediate(op, Packed.shiftRight16)
        case .psrld: return packed(op) { Packed.shiftRight32($0, $1.low) }
        case .psrld_mm: return mmx(op) { Packed.shiftRight32($0, $1.low) }
        case .psrld_imm: return shiftImmediate(op, Packed.shiftRight32)
        case .psrld_mm_imm: return mmxShiftImmediate(op, Packed.shiftRight32)
        case .psrlq: return packed(op) { Packed.shiftRight64($0, $1.low) }
        case .psrlq_mm: return mmx(op) { Packed.shiftRight64($0, $1.low) }
        case .psrlq_imm: return shiftImmediate(op, Packed.shiftRight64)
        case .psrlq_mm_imm: return mmxShiftImmediate(op, Packed.shiftRight64)
        case .psraw: return packed(op) { Packed.shiftSigned16($0, $1.low) }
        case .psraw_mm: return mmx(op) { Packed.shiftSigned16($0, $1.low) }
        case .psraw_imm: return shiftImmediate(op, Packed.shiftSigned16)
        case .psraw_mm_imm: return mmxShiftImmediate(op, Packed.shiftSigned16)
        case .psrad: return packed(op) { Packed.shiftSigned32($0, $1.low) }
        case .psrad_mm: return mmx(op) { Packed.shiftSigned32($0, $1.low) }
        case .psrad_imm: return shiftImmediate(op, Packed.shiftSigned32)
        case .psrad_mm_imm: return mmxShiftImmediate(op, Packed.shiftSigned32)
        case .psllw: return packed(op) { Packed.shiftLeft16($0, $1.low) }
        case .psllw_mm: return mmx(op) { Packed.shiftLeft16($0, $1.low) }
        case .psllw_imm: return shiftImmediate(op, Packed.shiftLeft16)
        case .psllw_mm_imm: return mmxShiftImmediate(op, Packed.shiftLeft16)
        case .pslld: return packed(op) { Packed.shiftLeft32($0, $1.low) }
        case .pslld_mm: return mmx(op) { Packed.shiftLeft32($0, $1.low) }
        case .pslld_imm: return shiftImmediate(op, Packed.shiftLeft32)
        case .pslld_mm_imm: return mmxShiftImmediate(op, Packed.shiftLeft32)
        case .psllq: return packed(op) { Packed.shiftLeft64($0, $1.low) }
        case .psllq_mm: return mmx(op) { Packed.shiftLeft64($0, $1.low) }
        case .psllq_imm: return shiftImmediate(op, Packed.shiftLeft64)
        case .psllq_mm_imm: return mmxShiftImmediate(op, Packed.shiftLeft64)
        case .psrldq_imm: return shiftImmediate(op) { Packed.shiftRightBytes($0, UInt8(truncatingIfNeeded: $1)) }
        case .pslldq_imm: return shiftImmediate(op) { Packed.shiftLeftBytes($0, UInt8(truncatingIfNeeded: $1)) }

        // MMX moves
        case .movd_mm: return moveFromGeneralMMX(op)
        case .movd_mm_store:
            let outcome = moveToGeneral(op, state.pointee.fpu.registers[Int(op.pointee.reg)].significand)
            if outcome == .next { enterMMX() }
            return outcome
        case .movq_mm: return mmx(op) { _, b in b }
        case .movq_mm_store, .movntq: return storeMMX(op)
        case .maskmovq: return storeMaskedMMX(op)
        case .pmovmskb_mm:
            enterMMX()
            state.setRegister(
                op.pointee.reg,
                UInt32(
                    truncatingIfNeeded: Packed.byteSigns(state.pointee.fpu.registers[Int(op.pointee.rm)].significand)))
            return .next
        case .emms:
            state.pointee.fpu.top = 0
            state.pointee.fpu.emptyMask = 0xFF
            return .next
        case .movq2dq:
            enterMMX()
            state.xmm[Int(op.pointee.reg)] = V128(
                low: state.pointee.fpu.registers[Int(op.pointee.rm)].significand, high: 0)
            return .next
        case .movdq2q:
            setMMX(op.pointee.reg, state.xmm[Int(op.pointee.rm)].low)
            return .next

        // Ciphers and hashes
        case .aesenc:
            return packed(op) { V128(AES.mix(AES.shiftAndSubstitute($0, backwards: false), backwards: false).q ^ $1.q) }
        case .aesenclast: return packed(op) { V128(AES.shiftAndSubstitute($0, backwards: false).q ^ $1.q) }
        case .aesdec:
            return packed(op) { V128(AES.mix(AES.shiftAndSubstitute($0, backwards: true), backwards: true).q ^ $1.q) }
        case .aesdeclast: return packed(op) { V128(AES.shiftAndSubstitute($0, backwards: true).q ^ $1.q) }
        case .aesimc: return packed(op) { _, b in AES.mix(b, backwards: true) }
        case .aeskeygenassist: return packed(op) { _, b in AES.keyAssist(b, control) }
        case .pclmulqdq:
            return packed(op) {
                CarryLess.multiply(control & 1 != 0 ? $0.high : $0.low, control & 0x10 != 0 ? $1.high : $1.low)
            }
        case .sha1nexte: return packed(op) { SHA.nextE($0, $1) }
        case .sha1msg1: return packed(op) { SHA.message1First($0, $1) }
        case .sha1msg2: return packed(op) { SHA.message1Second($0, $1) }
        case .sha1rnds4: return packed(op) { SHA.rounds1($0, $1, control) }
        case .sha256rnds2:
            let keys = state.xmm[0]
            return packed(op) { SHA.rounds256($0, $1, keys: keys) }
        case .sha256msg1: return packed(op) { SHA.message256First($0, $1) }
        case .sha256msg2: return packed(op) { SHA.message256Second($0, $1) }

        // State
        case .fxsave: return fxsave(op)
        case .fxrstor: return fxrstor(op)
        case .ldmxcsr: return loadMXCSR(op)
        case .stmxcsr: return state.store(op, state.pointee.fpu.mxcsr) ? .next : .fault
        case .lfence, .mfence, .sfence: return .next
        case .clflush, .clflushopt, .clwb: return state.load(op, as: UInt8.self) == nil ? .fault : .next
        case .crc32b: return crc32(op, log2Size: 0)
        case .crc32: return crc32(op, log2Size: op.pointee.size)
        }
    }
}
