/// SSE to SSE4.2 and what came with them (SDM vol. 2, tables ).
///
/// A suffix after `_` tells encodings of one mnemonic apart: `_store` writes ModRM.rm, `_xr` and `_rx` move between
/// XMM and general registers. Rows of packed operations stand by what they do, not by opcode.
enum OpcodeTableSSE {
    static let text: StaticString = """
        # Moves
        NP 0F 10 /r  movups        Vps,Wps       sse una
        66 0F 10 /r  movupd        Vpd,Wpd       sse una
        F3 0F 10 /r  movss         Vss,Wss       sse
        F2 0F 10 /r  movsd         Vsd,Wsd       sse
        NP 0F 11 /r  movups_store  Wps,Vps       sse una
        66 0F 11 /r  movupd_store  Wpd,Vpd       sse una
        F3 0F 11 /r  movss_store   Wss,Vss       sse
        F2 0F 11 /r  movsd_store   Wsd,Vsd       sse
        NP 0F 12 /rm movlps        Vq,Mq         sse
        NP 0F 12 /rr movhlps       Vq,Uq         sse
        66 0F 12 /rm movlpd        Vq,Mq         sse
        F3 0F 12 /r  movsldup      Vx,Wx         sse
        F2 0F 12 /r  movddup       Vx,Wq         sse
        NP 0F 13 /rm movlps_store  Mq,Vq         sse
        66 0F 13 /rm movlpd_store  Mq,Vq         sse
        NP 0F 14 /r  unpcklps      Vx,Wx         sse
        66 0F 14 /r  unpcklpd      Vx,Wx         sse
        NP 0F 15 /r  unpckhps      Vx,Wx         sse
        66 0F 15 /r  unpckhpd      Vx,Wx         sse
        NP 0F 16 /rm movhps        Vq,Mq         sse
        NP 0F 16 /rr movlhps       Vq,Uq         sse
        66 0F 16 /rm movhpd        Vq,Mq         sse
        F3 0F 16 /r  movshdup      Vx,Wx         sse
        NP 0F 17 /rm movhps_store  Mq,Vq         sse
        66 0F 17 /rm movhpd_store  Mq,Vq         sse
        NP 0F 28 /r  movaps        Vx,Wx         sse
        66 0F 28 /r  movapd        Vx,Wx         sse
        NP 0F 29 /r  movaps_store  Wx,Vx         sse
        66 0F 29 /r  movapd_store  Wx,Vx         sse
        NP 0F 2B /rm movntps       Mx,Vx         sse
        66 0F 2B /rm movntpd       Mx,Vx         sse
        NP 0F 50 /rr movmskps      Gd,Ux         sse
        66 0F 50 /rr movmskpd      Gd,Ux         sse
        66 0F 6E /r  movd          Vd,Ey         sse
        66 0F 7E /r  movd_store    Ey,Vd         sse
        66 0F 6F /r  movdqa        Vx,Wx         sse
        F3 0F 6F /r  movdqu        Vx,Wx         sse una
        66 0F 7F /r  movdqa_store  Wx,Vx         sse
        F3 0F 7F /r  movdqu_store  Wx,Vx         sse una
        F3 0F 7E /r  movq          Vq,Wq         sse
        66 0F D6 /r  movq_store    Wq,Vq         sse
        66 0F D7 /rr pmovmskb      Gd,Ux         sse
        66 0F E7 /rm movntdq       Mx,Vx         sse
        F2 0F F0 /rm lddqu         Vx,Mx         sse una
        66 0F F7 /rr maskmovdqu    Vx,Ux         sse call
        66 0F 38 2A /rm movntdqa   Vx,Mx         sse

        # Floating-point arithmetic
        NP 0F 51 /r  sqrtps        Vps,Wps       sse
        66 0F 51 /r  sqrtpd        Vpd,Wpd       sse
        F3 0F 51 /r  sqrtss        Vss,Wss       sse
        F2 0F 51 /r  sqrtsd        Vsd,Wsd       sse
        NP 0F 52 /r  rsqrtps       Vps,Wps       sse call
        F3 0F 52 /r  rsqrtss       Vss,Wss       sse call
        NP 0F 53 /r  rcpps         Vps,Wps       sse call
        F3 0F 53 /r  rcpss         Vss,Wss       sse call
        NP 0F 58 /r  addps         Vps,Wps       sse
        66 0F 58 /r  addpd         Vpd,Wpd       sse
        F3 0F 58 /r  addss         Vss,Wss       sse
        F2 0F 58 /r  addsd         Vsd,Wsd       sse
        NP 0F 59 /r  mulps         Vps,Wps       sse
        66 0F 59 /r  mulpd         Vpd,Wpd       sse
        F3 0F 59 /r  mulss         Vss,Wss       sse
        F2 0F 59 /r  mulsd         Vsd,Wsd       sse
        NP 0F 5C /r  subps         Vps,Wps       sse
        66 0F 5C /r  subpd         Vpd,Wpd       sse
        F3 0F 5C /r  subss         Vss,Wss       sse
        F2 0F 5C /r  subsd         Vsd,Wsd       sse
        NP 0F 5D /r  minps         Vps,Wps       sse
        66 0F 5D /r  minpd         Vpd,Wpd       sse
        F3 0F 5D /r  minss         Vss,Wss       sse
        F2 0F 5D /r  minsd         Vsd,Wsd       sse
        NP 0F 5E /r  divps         Vps,Wps       sse
        66 0F 5E /r  divpd         Vpd,Wpd       sse
        F3 0F 5E /r  divss         Vss,Wss       sse
        F2 0F 5E /r  divsd         Vsd,Wsd       sse
        NP 0F 5F /r  maxps         Vps,Wps       sse
        66 0F 5F /r  maxpd         Vpd,Wpd       sse
        F3 0F 5F /r  maxss         Vss,Wss       sse
        F2 0F 5F /r  maxsd         Vsd,Wsd       sse
        66 0F 7C /r  haddpd        Vpd,Wpd       sse
        F2 0F 7C /r  haddps        Vps,Wps       sse
        66 0F 7D /r  hsubpd        Vpd,Wpd       sse
        F2 0F 7D /r  hsubps        Vps,Wps       sse
        66 0F D0 /r  addsubpd      Vpd,Wpd       sse
        F2 0F D0 /r  addsubps      Vps,Wps       sse
        NP 0F C2 /r  cmpps         Vps,Wps,Ib    sse
        66 0F C2 /r  cmppd         Vpd,Wpd,Ib    sse
        F3 0F C2 /r  cmpss         Vss,Wss,Ib    sse
        F2 0F C2 /r  cmpsd         Vsd,Wsd,Ib    sse
        NP 0F 2E /r  ucomiss       Vss,Wss       sse w:oszapc
        66 0F 2E /r  ucomisd       Vsd,Wsd       sse w:oszapc
        NP 0F 2F /r  comiss        Vss,Wss       sse w:oszapc
        66 0F 2F /r  comisd        Vsd,Wsd       sse w:oszapc
        66 0F 3A 08 /r roundps     Vps,Wps,Ib    sse
        66 0F 3A 09 /r roundpd     Vpd,Wpd,Ib    sse
        66 0F 3A 0A /r roundss     Vss,Wss,Ib    sse
        66 0F 3A 0B /r roundsd     Vsd,Wsd,Ib    sse
        66 0F 3A 40 /r dpps        Vps,Wps,Ib    sse
        66 0F 3A 41 /r dppd        Vpd,Wpd,Ib    sse

        # Conversions
        NP 0F 2A /r  cvtpi2ps      Vps,Qq        sse
        66 0F 2A /r  cvtpi2pd      Vpd,Qq        sse
        F3 0F 2A /r  cvtsi2ss      Vss,Ey        sse
        F2 0F 2A /r  cvtsi2sd      Vsd,Ey        sse
        NP 0F 2C /r  cvttps2pi     Pq,Wps        sse
        66 0F 2C /r  cvttpd2pi     Pq,Wpd        sse
        F3 0F 2C /r  cvttss2si     Gy,Wss        sse
        F2 0F 2C /r  cvttsd2si     Gy,Wsd        sse
        NP 0F 2D /r  cvtps2pi      Pq,Wps        sse
        66 0F 2D /r  cvtpd2pi      Pq,Wpd        sse
        F3 0F 2D /r  cvtss2si      Gy,Wss        sse
        F2 0F 2D /r  cvtsd2si      Gy,Wsd        sse
        NP 0F 5A /r  cvtps2pd      Vpd,Wps       sse mq
        66 0F 5A /r  cvtpd2ps      Vps,Wpd       sse
        F3 0F 5A /r  cvtss2sd      Vsd,Wss       sse
        F2 0F 5A /r  cvtsd2ss      Vss,Wsd       sse
        NP 0F 5B /r  cvtdq2ps      Vps,Wx        sse
        66 0F 5B /r  cvtps2dq      Vx,Wps        sse
        F3 0F 5B /r  cvttps2dq     Vx,Wps        sse
        66 0F E6 /r  cvttpd2dq     Vx,Wpd        sse
        F3 0F E6 /r  cvtdq2pd      Vpd,Wx        sse mq
        F2 0F E6 /r  cvtpd2dq      Vx,Wpd        sse

        # Bitwise, shuffles, blends
        NP 0F 54 /r  andps         Vx,Wx         sse
        66 0F 54 /r  andpd         Vx,Wx         sse
        NP 0F 55 /r  andnps        Vx,Wx         sse
        66 0F 55 /r  andnpd        Vx,Wx         sse
        NP 0F 56 /r  orps          Vx,Wx         sse
        66 0F 56 /r  orpd          Vx,Wx         sse
        NP 0F 57 /r  xorps         Vx,Wx         sse
        66 0F 57 /r  xorpd         Vx,Wx         sse
        66 0F DB /r  pand          Vx,Wx         sse
        66 0F DF /r  pandn         Vx,Wx         sse
        66 0F EB /r  por           Vx,Wx         sse
        66 0F EF /r  pxor          Vx,Wx         sse
        NP 0F C6 /r  shufps        Vx,Wx,Ib      sse
        66 0F C6 /r  shufpd        Vx,Wx,Ib      sse
        66 0F 70 /r  pshufd        Vx,Wx,Ib      sse
        F3 0F 70 /r  pshufhw       Vx,Wx,Ib      sse
        F2 0F 70 /r  pshuflw       Vx,Wx,Ib      sse
        66 0F 38 00 /r pshufb      Vx,Wx         sse
        66 0F 3A 0F /r palignr     Vx,Wx,Ib      sse
        66 0F 60 /r  punpcklbw     Vx,Wx         sse
        66 0F 61 /r  punpcklwd     Vx,Wx         sse
        66 0F 62 /r  punpckldq     Vx,Wx         sse
        66 0F 6C /r  punpcklqdq    Vx,Wx         sse
        66 0F 68 /r  punpckhbw     Vx,Wx         sse
        66 0F 69 /r  punpckhwd     Vx,Wx         sse
        66 0F 6A /r  punpckhdq     Vx,Wx         sse
        66 0F 6D /r  punpckhqdq    Vx,Wx         sse
        66 0F 63 /r  packsswb      Vx,Wx         sse
        66 0F 67 /r  packuswb      Vx,Wx         sse
        66 0F 6B /r  packssdw      Vx,Wx         sse
        66 0F 38 2B /r packusdw    Vx,Wx         sse
        66 0F 38 10 /r pblendvb    Vx,Wx         sse
        66 0F 38 14 /r blendvps    Vx,Wx         sse
        66 0F 38 15 /r blendvpd    Vx,Wx         sse
        66 0F 3A 0C /r blendps     Vx,Wx,Ib      sse
        66 0F 3A 0D /r blendpd     Vx,Wx,Ib      sse
        66 0F 3A 0E /r pblendw     Vx,Wx,Ib      sse
        66 0F 38 17 /r ptest       Vx,Wx         sse w:oszapc
        66 0F C4 /r  pinsrw        Vx,Ed,Ib      sse mw
        66 0F C5 /rr pextrw        Gd,Ux,Ib      sse
        66 0F 3A 14 /r pextrb      Ed,Vx,Ib      sse mb
        66 0F 3A 15 /r pextrw_store Ed,Vx,Ib     sse mw
        66 0F 3A 16 /r pextrd      Ey,Vx,Ib      sse
        66 0F 3A 17 /r extractps   Ed,Vx,Ib      sse
        66 0F 3A 20 /r pinsrb      Vx,Ed,Ib      sse mb
        66 0F 3A 21 /r insertps    Vx,Wd,Ib      sse
        66 0F 3A 22 /r pinsrd      Vx,Ey,Ib      sse
        66 0F 38 20 /r pmovsxbw    Vx,Wq         sse
        66 0F 38 21 /r pmovsxbd    Vx,Wd         sse
        66 0F 38 22 /r pmovsxbq    Vx,Ww         sse
        66 0F 38 23 /r pmovsxwd    Vx,Wq         sse
        66 0F 38 24 /r pmovsxwq    Vx,Wd         sse
        66 0F 38 25 /r pmovsxdq    Vx,Wq         sse
        66 0F 38 30 /r pmovzxbw    Vx,Wq         sse
        66 0F 38 31 /r pmovzxbd    Vx,Wd         sse
        66 0F 38 32 /r pmovzxbq    Vx,Ww         sse
        66 0F 38 33 /r pmovzxwd    Vx,Wq         sse
        66 0F 38 34 /r pmovzxwq    Vx,Wd         sse
        66 0F 38 35 /r pmovzxdq    Vx,Wq         sse

        # Integer arithmetic
        66 0F FC /r  paddb         Vx,Wx         sse
        66 0F FD /r  paddw         Vx,Wx         sse
        66 0F FE /r  paddd         Vx,Wx         sse
        66 0F D4 /r  paddq         Vx,Wx         sse
        66 0F EC /r  paddsb        Vx,Wx         sse
        66 0F ED /r  paddsw        Vx,Wx         sse
        66 0F DC /r  paddusb       Vx,Wx         sse
        66 0F DD /r  paddusw       Vx,Wx         sse
        66 0F F8 /r  psubb         Vx,Wx         sse
        66 0F F9 /r  psubw         Vx,Wx         sse
        66 0F FA /r  psubd         Vx,Wx         sse
        66 0F FB /r  psubq         Vx,Wx         sse
        66 0F E8 /r  psubsb        Vx,Wx         sse
        66 0F E9 /r  psubsw        Vx,Wx         sse
        66 0F D8 /r  psubusb       Vx,Wx         sse
        66 0F D9 /r  psubusw       Vx,Wx         sse
        66 0F D5 /r  pmullw        Vx,Wx         sse
        66 0F E4 /r  pmulhuw       Vx,Wx         sse
        66 0F E5 /r  pmulhw        Vx,Wx         sse
        66 0F F4 /r  pmuludq       Vx,Wx         sse
        66 0F F5 /r  pmaddwd       Vx,Wx         sse
        66 0F F6 /r  psadbw        Vx,Wx         sse
        66 0F E0 /r  pavgb         Vx,Wx         sse
        66 0F E3 /r  pavgw         Vx,Wx         sse
        66 0F DA /r  pminub        Vx,Wx         sse
        66 0F DE /r  pmaxub        Vx,Wx         sse
        66 0F EA /r  pminsw        Vx,Wx         sse
        66 0F EE /r  pmaxsw        Vx,Wx         sse
        66 0F 38 01 /r phaddw      Vx,Wx         sse
        66 0F 38 02 /r phaddd      Vx,Wx         sse
        66 0F 38 03 /r phaddsw     Vx,Wx         sse
        66 0F 38 04 /r pmaddubsw   Vx,Wx         sse
        66 0F 38 05 /r phsubw      Vx,Wx         sse
        66 0F 38 06 /r phsubd      Vx,Wx         sse
        66 0F 38 07 /r phsubsw     Vx,Wx         sse
        66 0F 38 08 /r psignb      Vx,Wx         sse
        66 0F 38 09 /r psignw      Vx,Wx         sse
        66 0F 38 0A /r psignd      Vx,Wx         sse
        66 0F 38 0B /r pmulhrsw    Vx,Wx         sse
        66 0F 38 1C /r pabsb       Vx,Wx         sse
        66 0F 38 1D /r pabsw       Vx,Wx         sse
        66 0F 38 1E /r pabsd       Vx,Wx         sse
        66 0F 38 28 /r pmuldq      Vx,Wx         sse
        66 0F 38 38 /r pminsb      Vx,Wx         sse
        66 0F 38 39 /r pminsd      Vx,Wx         sse
        66 0F 38 3A /r pminuw      Vx,Wx         sse
        66 0F 38 3B /r pminud      Vx,Wx         sse
        66 0F 38 3C /r pmaxsb      Vx,Wx         sse
        66 0F 38 3D /r pmaxsd      Vx,Wx         sse
        66 0F 38 3E /r pmaxuw      Vx,Wx         sse
        66 0F 38 3F /r pmaxud      Vx,Wx         sse
        66 0F 38 40 /r pmulld      Vx,Wx         sse
        66 0F 38 41 /r phminposuw  Vx,Wx         sse
        66 0F 3A 42 /r mpsadbw     Vx,Wx,Ib      sse

        # Compares
        66 0F 74 /r  pcmpeqb       Vx,Wx         sse
        66 0F 75 /r  pcmpeqw       Vx,Wx         sse
        66 0F 76 /r  pcmpeqd       Vx,Wx         sse
        66 0F 38 29 /r pcmpeqq     Vx,Wx         sse
        66 0F 64 /r  pcmpgtb       Vx,Wx         sse
        66 0F 65 /r  pcmpgtw       Vx,Wx         sse
        66 0F 66 /r  pcmpgtd       Vx,Wx         sse
        66 0F 38 37 /r pcmpgtq     Vx,Wx         sse
        66 0F 3A 60 /r pcmpestrm   Vx,Wx,Ib      sse w:oszapc una
        66 0F 3A 61 /r pcmpestri   Vx,Wx,Ib      sse w:oszapc una
        66 0F 3A 62 /r pcmpistrm   Vx,Wx,Ib      sse w:oszapc una
        66 0F 3A 63 /r pcmpistri   Vx,Wx,Ib      sse w:oszapc una

        # Shifts: by the low quadword of the source, then by an immediate
        66 0F D1 /r  psrlw         Vx,Wx         sse
        66 0F D2 /r  psrld         Vx,Wx         sse
        66 0F D3 /r  psrlq         Vx,Wx         sse
        66 0F E1 /r  psraw         Vx,Wx         sse
        66 0F E2 /r  psrad         Vx,Wx         sse
        66 0F F1 /r  psllw         Vx,Wx         sse
        66 0F F2 /r  pslld         Vx,Wx         sse
        66 0F F3 /r  psllq         Vx,Wx         sse
        66 0F 71 /2r psrlw_imm     Ux,Ib         sse
        66 0F 71 /4r psraw_imm     Ux,Ib         sse
        66 0F 71 /6r psllw_imm     Ux,Ib         sse
        66 0F 72 /2r psrld_imm     Ux,Ib         sse
        66 0F 72 /4r psrad_imm     Ux,Ib         sse
        66 0F 72 /6r pslld_imm     Ux,Ib         sse
        66 0F 73 /2r psrlq_imm     Ux,Ib         sse
        66 0F 73 /3r psrldq_imm    Ux,Ib         sse
        66 0F 73 /6r psllq_imm     Ux,Ib         sse
        66 0F 73 /7r pslldq_imm    Ux,Ib         sse

        # Between MMX and XMM
        F3 0F D6 /rr movq2dq       Vq,Nq         sse
        F2 0F D6 /rr movdq2q       Pq,Uq         sse

        # State
        NP 0F AE /0m fxsave        M             sse call
        NP 0F AE /1m fxrstor       M             sse call
        NP 0F AE /2m ldmxcsr       Md            sse call
        NP 0F AE /3m stmxcsr       Md            sse call

        # No register file of their own: neither CR0.TS nor CR4.OSFXSR matters
        NP 0F AE /5r lfence        -             sse
        NP 0F AE /6r mfence        -             sse
        NP 0F AE /7r sfence        -             sse
        NP 0F AE /7m clflush       Mb            sse call
        F2 0F 38 F0 /r crc32b      Gy,Eb         sse
        F2 0F 38 F1 /r crc32       Gy,Ev         sse
        """
}
