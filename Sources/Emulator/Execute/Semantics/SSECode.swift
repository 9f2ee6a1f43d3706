/// Operations of the rows with attribute `sse`: MMX first, then what uses XMM registers or MXCSR, then what uses neither.
/// The order matters to `executeSSE`, which finds the group by comparing with `movups` and `lfence`.
enum SSECode: UInt16, CaseIterable {
    case movd_mm, movd_mm_store, movq_mm, movq_mm_store, movntq, maskmovq, pmovmskb_mm, pinsrw_mm, pextrw_mm
    case pshufw, pshufb_mm, palignr_mm, punpcklbw_mm, punpcklwd_mm, punpckldq_mm, punpckhbw_mm, punpckhwd_mm
    case punpckhdq_mm, packsswb_mm, packuswb_mm, packssdw_mm, pand_mm, pandn_mm, por_mm, pxor_mm, paddb_mm
    case paddw_mm, paddd_mm, paddq_mm, paddsb_mm, paddsw_mm, paddusb_mm, paddusw_mm, psubb_mm, psubw_mm
    case psubd_mm, psubq_mm, psubsb_mm, psubsw_mm, psubusb_mm, psubusw_mm, pmullw_mm, pmulhuw_mm, pmulhw_mm
    case pmuludq_mm, pmaddwd_mm, psadbw_mm, pavgb_mm, pavgw_mm, pminub_mm, pmaxub_mm, pminsw_mm, pmaxsw_mm
    case phaddw_mm, phaddd_mm, phaddsw_mm, pmaddubsw_mm, phsubw_mm, phsubd_mm, phsubsw_mm, psignb_mm, psignw_mm
    case psignd_mm, pmulhrsw_mm, pabsb_mm, pabsw_mm, pabsd_mm, pcmpeqb_mm, pcmpeqw_mm, pcmpeqd_mm, pcmpgtb_mm
    case pcmpgtw_mm, pcmpgtd_mm, psrlw_mm, psrld_mm, psrlq_mm, psraw_mm, psrad_mm, psllw_mm, pslld_mm, psllq_mm
    case psrlw_mm_imm, psraw_mm_imm, psllw_mm_imm, psrld_mm_imm, psrad_mm_imm, pslld_mm_imm, psrlq_mm_imm
    case psllq_mm_imm, emms

    case movups, movupd, movss, movsd, movups_store, movupd_store, movss_store, movsd_store, movlps, movhlps
    case movlpd, movsldup, movddup, movlps_store, movlpd_store, unpcklps, unpcklpd, unpckhps, unpckhpd, movhps
    case movlhps, movhpd, movshdup, movhps_store, movhpd_store, movaps, movapd, movaps_store, movapd_store
    case movntps, movntpd, movmskps, movmskpd, movd, movd_store, movdqa, movdqu, movdqa_store, movdqu_store
    case movq, movq_store, pmovmskb, movntdq, lddqu, maskmovdqu, movntdqa, sqrtps, sqrtpd, sqrtss, sqrtsd
    case rsqrtps, rsqrtss, rcpps, rcpss, addps, addpd, addss, addsd, mulps, mulpd, mulss, mulsd, subps, subpd
    case subss, subsd, minps, minpd, minss, minsd, divps, divpd, divss, divsd, maxps, maxpd, maxss, maxsd
    case haddpd, haddps, hsubpd, hsubps, addsubpd, addsubps, cmpps, cmppd, cmpss, cmpsd, ucomiss, ucomisd
    case comiss, comisd, roundps, roundpd, roundss, roundsd, dpps, dppd, cvtpi2ps, cvtpi2pd, cvtsi2ss, cvtsi2sd
    case cvttps2pi, cvttpd2pi, cvttss2si, cvttsd2si, cvtps2pi, cvtpd2pi, cvtss2si, cvtsd2si, cvtps2pd, cvtpd2ps
    case cvtss2sd, cvtsd2ss, cvtdq2ps, cvtps2dq, cvttps2dq, cvttpd2dq, cvtdq2pd, cvtpd2dq, andps, andpd, andnps
    case andnpd, orps, orpd, xorps, xorpd, pand, pandn, por, pxor, shufps, shufpd, pshufd, pshufhw, pshuflw
    case pshufb, palignr, punpcklbw, punpcklwd, punpckldq, punpcklqdq, punpckhbw, punpckhwd, punpckhdq
    case punpckhqdq, packsswb, packuswb, packssdw, packusdw, pblendvb, blendvps, blendvpd, blendps, blendpd
    case pblendw, ptest, pinsrw, pextrw, pextrb, pextrw_store, pextrd, extractps, pinsrb, insertps, pinsrd
    case pmovsxbw, pmovsxbd, pmovsxbq, pmovsxwd, pmovsxwq, pmovsxdq, pmovzxbw, pmovzxbd, pmovzxbq, pmovzxwd
    case pmovzxwq, pmovzxdq, paddb, paddw, paddd, paddq, paddsb, paddsw, paddusb, paddusw, psubb, psubw, psubd
    case psubq, psubsb, psubsw, psubusb, psubusw, pmullw, pmulhuw, pmulhw, pmuludq, pmaddwd, psadbw, pavgb
    case pavgw, pminub, pmaxub, pminsw, pmaxsw, phaddw, phaddd, phaddsw, pmaddubsw, phsubw, phsubd, phsubsw
    case psignb, psignw, psignd, pmulhrsw, pabsb, pabsw, pabsd, pmuldq, pminsb, pminsd, pminuw, pminud, pmaxsb
    case pmaxsd, pmaxuw, pmaxud, pmulld, phminposuw, mpsadbw, pcmpeqb, pcmpeqw, pcmpeqd, pcmpeqq, pcmpgtb
    case pcmpgtw, pcmpgtd, pcmpgtq, pcmpestrm, pcmpestri, pcmpistrm, pcmpistri, psrlw, psrld, psrlq, psraw
    case psrad, psllw, pslld, psllq, psrlw_imm, psraw_imm, psllw_imm, psrld_imm, psrad_imm, pslld_imm, psrlq_imm
    case psrldq_imm, psllq_imm, pslldq_imm, movq2dq, movdq2q, fxsave, fxrstor, ldmxcsr, stmxcsr, lfence, mfence
    case sfence, clflush, crc32b, crc32
}
