/// SSE to SSE4.2 and what came with them (SDM vol. 2, tables ).
///
/// A suffix after `_` tells encodings of one mnemonic apart: `_store` writes ModRM.rm, `_xr` and `_rx` move between
/// XMM and general registers. Rows of packed operations stand by what they do, not by opcode.
enum OpcodeTableSSE {
    static let text: StaticString = """
        # Moves
        NP 0F 10 /r  movups        Vps,Wps       sse una f:sse
        66 0F 10 /r  movupd        Vpd,Wpd       sse una f:sse2
        F3 0F 10 /r  movss         Vss,Wss       sse f:sse
        F2 0F 10 /r  movsd         Vsd,Wsd       sse f:sse2
        NP 0F 11 /r  movups_store  Wps,Vps       sse una f:sse
        66 0F 11 /r  movupd_store  Wpd,Vpd       sse una f:sse2
        F3 0F 11 /r  movss_store   Wss,Vss       sse f:sse
        F2 0F 11 /r  movsd_store   Wsd,Vsd       sse f:sse2
        NP 0F 12 /rm movlps        Vq,Mq         sse f:sse
        NP 0F 12 /rr movhlps       Vq,Uq         sse f:sse
        66 0F 12 /rm movlpd        Vq,Mq         sse f:sse2
        F3 0F 12 /r  movsldup      Vx,Wx         sse f:sse3
        F2 0F 12 /r  movddup       Vx,Wq         sse f:sse3
        NP 0F 13 /rm movlps_store  Mq,Vq         sse f:sse
        66 0F 13 /rm movlpd_store  Mq,Vq         sse f:sse2
        NP 0F 14 /r  unpcklps      Vx,Wx         sse f:sse
        66 0F 14 /r  unpcklpd      Vx,Wx         sse f:sse2
        NP 0F 15 /r  unpckhps      Vx,Wx         sse f:sse
        66 0F 15 /r  unpckhpd      Vx,Wx         sse f:sse2
        NP 0F 16 /rm movhps        Vq,Mq         sse f:sse
        NP 0F 16 /rr movlhps       Vq,Uq         sse f:sse
        66 0F 16 /rm movhpd        Vq,Mq         sse f:sse2
        F3 0F 16 /r  movshdup      Vx,Wx         sse f:sse3
        NP 0F 17 /rm movhps_store  Mq,Vq         sse f:sse
        66 0F 17 /rm movhpd_store  Mq,Vq         sse f:sse2
        NP 0F 28 /r  movaps        Vx,Wx         sse f:sse
        66 0F 28 /r  movapd        Vx,Wx         sse f:sse2
        NP 0F 29 /r  movaps_store  Wx,Vx         sse f:sse
        66 0F 29 /r  movapd_store  Wx,Vx         sse f:sse2
        NP 0F 2B /rm movntps       Mx,Vx         sse f:sse
        66 0F 2B /rm movntpd       Mx,Vx         sse f:sse2
        NP 0F 50 /rr movmskps      Gd,Ux         sse f:sse
        66 0F 50 /rr movmskpd      Gd,Ux         sse f:sse2
        66 0F 6E /r  movd          Vd,Ey         sse f:sse2
        66 0F 7E /r  movd_store    Ey,Vd         sse f:sse2
        66 0F 6F /r  movdqa        Vx,Wx         sse f:sse2
        F3 0F 6F /r  movdqu        Vx,Wx         sse una f:sse2
        66 0F 7F /r  movdqa_store  Wx,Vx         sse f:sse2
        F3 0F 7F /r  movdqu_store  Wx,Vx         sse una f:sse2
        F3 0F 7E /r  movq          Vq,Wq         sse f:sse2
        66 0F D6 /r  movq_store    Wq,Vq         sse f:sse2
        66 0F D7 /rr pmovmskb      Gd,Ux         sse f:sse2
        66 0F E7 /rm movntdq       Mx,Vx         sse f:sse2
        F2 0F F0 /rm lddqu         Vx,Mx         sse una f:sse3
        66 0F F7 /rr maskmovdqu    Vx,Ux,DI         sse call f:sse2
        66 0F 38 2A /rm movntdqa   Vx,Mx         sse f:sse4.1

        # Floating-point arithmetic
        NP 0F 51 /r  sqrtps        Vps,Wps       sse f:sse
        66 0F 51 /r  sqrtpd        Vpd,Wpd       sse f:sse2
        F3 0F 51 /r  sqrtss        Vss,Wss       sse f:sse
        F2 0F 51 /r  sqrtsd        Vsd,Wsd       sse f:sse2
        NP 0F 52 /r  rsqrtps       Vps,Wps       sse call f:sse
        F3 0F 52 /r  rsqrtss       Vss,Wss       sse call f:sse
        NP 0F 53 /r  rcpps         Vps,Wps       sse call f:sse
        F3 0F 53 /r  rcpss         Vss,Wss       sse call f:sse
        NP 0F 58 /r  addps         Vps,Wps       sse f:sse
        66 0F 58 /r  addpd         Vpd,Wpd       sse f:sse2
        F3 0F 58 /r  addss         Vss,Wss       sse f:sse
        F2 0F 58 /r  addsd         Vsd,Wsd       sse f:sse2
        NP 0F 59 /r  mulps         Vps,Wps       sse f:sse
        66 0F 59 /r  mulpd         Vpd,Wpd       sse f:sse2
        F3 0F 59 /r  mulss         Vss,Wss       sse f:sse
        F2 0F 59 /r  mulsd         Vsd,Wsd       sse f:sse2
        NP 0F 5C /r  subps         Vps,Wps       sse f:sse
        66 0F 5C /r  subpd         Vpd,Wpd       sse f:sse2
        F3 0F 5C /r  subss         Vss,Wss       sse f:sse
        F2 0F 5C /r  subsd         Vsd,Wsd       sse f:sse2
        NP 0F 5D /r  minps         Vps,Wps       sse f:sse
        66 0F 5D /r  minpd         Vpd,Wpd       sse f:sse2
        F3 0F 5D /r  minss         Vss,Wss       sse f:sse
        F2 0F 5D /r  minsd         Vsd,Wsd       sse f:sse2
        NP 0F 5E /r  divps         Vps,Wps       sse f:sse
        66 0F 5E /r  divpd         Vpd,Wpd       sse f:sse2
        F3 0F 5E /r  divss         Vss,Wss       sse f:sse
        F2 0F 5E /r  divsd         Vsd,Wsd       sse f:sse2
        NP 0F 5F /r  maxps         Vps,Wps       sse f:sse
        66 0F 5F /r  maxpd         Vpd,Wpd       sse f:sse2
        F3 0F 5F /r  maxss         Vss,Wss       sse f:sse
        F2 0F 5F /r  maxsd         Vsd,Wsd       sse f:sse2
        66 0F 7C /r  haddpd        Vpd,Wpd       sse f:sse3
        F2 0F 7C /r  haddps        Vps,Wps       sse f:sse3
        66 0F 7D /r  hsubpd        Vpd,Wpd       sse f:sse3
        F2 0F 7D /r  hsubps        Vps,Wps       sse f:sse3
        66 0F D0 /r  addsubpd      Vpd,Wpd       sse f:sse3
        F2 0F D0 /r  addsubps      Vps,Wps       sse f:sse3
        NP 0F C2 /r  cmpps         Vps,Wps,Ib    sse f:sse
        66 0F C2 /r  cmppd         Vpd,Wpd,Ib    sse f:sse2
        F3 0F C2 /r  cmpss         Vss,Wss,Ib    sse f:sse
        F2 0F C2 /r  cmpsd         Vsd,Wsd,Ib    sse f:sse2
        NP 0F 2E /r  ucomiss       Vss,Wss       sse w:oszapc f:sse
        66 0F 2E /r  ucomisd       Vsd,Wsd       sse w:oszapc f:sse2
        NP 0F 2F /r  comiss        Vss,Wss       sse w:oszapc f:sse
        66 0F 2F /r  comisd        Vsd,Wsd       sse w:oszapc f:sse2
        66 0F 3A 08 /r roundps     Vps,Wps,Ib    sse f:sse4.1
        66 0F 3A 09 /r roundpd     Vpd,Wpd,Ib    sse f:sse4.1
        66 0F 3A 0A /r roundss     Vss,Wss,Ib    sse f:sse4.1
        66 0F 3A 0B /r roundsd     Vsd,Wsd,Ib    sse f:sse4.1
        66 0F 3A 40 /r dpps        Vps,Wps,Ib    sse f:sse4.1
        66 0F 3A 41 /r dppd        Vpd,Wpd,Ib    sse f:sse4.1

        # Conversions
        NP 0F 2A /r  cvtpi2ps      Vps,Qq        sse f:sse
        66 0F 2A /r  cvtpi2pd      Vpd,Qq        sse f:sse2
        F3 0F 2A /r  cvtsi2ss      Vss,Ey        sse f:sse
        F2 0F 2A /r  cvtsi2sd      Vsd,Ey        sse f:sse2
        NP 0F 2C /r  cvttps2pi     Pq,Wps        sse f:sse
        66 0F 2C /r  cvttpd2pi     Pq,Wpd        sse f:sse2
        F3 0F 2C /r  cvttss2si     Gy,Wss        sse f:sse
        F2 0F 2C /r  cvttsd2si     Gy,Wsd        sse f:sse2
        NP 0F 2D /r  cvtps2pi      Pq,Wps        sse f:sse
        66 0F 2D /r  cvtpd2pi      Pq,Wpd        sse f:sse2
        F3 0F 2D /r  cvtss2si      Gy,Wss        sse f:sse
        F2 0F 2D /r  cvtsd2si      Gy,Wsd        sse f:sse2
        NP 0F 5A /r  cvtps2pd      Vpd,Wps       sse mq f:sse2
        66 0F 5A /r  cvtpd2ps      Vps,Wpd       sse f:sse2
        F3 0F 5A /r  cvtss2sd      Vsd,Wss       sse f:sse2
        F2 0F 5A /r  cvtsd2ss      Vss,Wsd       sse f:sse2
        NP 0F 5B /r  cvtdq2ps      Vps,Wx        sse f:sse2
        66 0F 5B /r  cvtps2dq      Vx,Wps        sse f:sse2
        F3 0F 5B /r  cvttps2dq     Vx,Wps        sse f:sse2
        66 0F E6 /r  cvttpd2dq     Vx,Wpd        sse f:sse2
        F3 0F E6 /r  cvtdq2pd      Vpd,Wx        sse mq f:sse2
        F2 0F E6 /r  cvtpd2dq      Vx,Wpd        sse f:sse2

        # Bitwise, shuffles, blends
        NP 0F 54 /r  andps         Vx,Wx         sse f:sse
        66 0F 54 /r  andpd         Vx,Wx         sse f:sse2
        NP 0F 55 /r  andnps        Vx,Wx         sse f:sse
        66 0F 55 /r  andnpd        Vx,Wx         sse f:sse2
        NP 0F 56 /r  orps          Vx,Wx         sse f:sse
        66 0F 56 /r  orpd          Vx,Wx         sse f:sse2
        NP 0F 57 /r  xorps         Vx,Wx         sse f:sse
        66 0F 57 /r  xorpd         Vx,Wx         sse f:sse2
        66 0F DB /r  pand          Vx,Wx         sse f:sse2
        66 0F DF /r  pandn         Vx,Wx         sse f:sse2
        66 0F EB /r  por           Vx,Wx         sse f:sse2
        66 0F EF /r  pxor          Vx,Wx         sse f:sse2
        NP 0F C6 /r  shufps        Vx,Wx,Ib      sse f:sse
        66 0F C6 /r  shufpd        Vx,Wx,Ib      sse f:sse2
        66 0F 70 /r  pshufd        Vx,Wx,Ib      sse f:sse2
        F3 0F 70 /r  pshufhw       Vx,Wx,Ib      sse f:sse2
        F2 0F 70 /r  pshuflw       Vx,Wx,Ib      sse f:sse2
        66 0F 38 00 /r pshufb      Vx,Wx         sse f:ssse3
        66 0F 3A 0F /r palignr     Vx,Wx,Ib      sse f:ssse3
        66 0F 60 /r  punpcklbw     Vx,Wx         sse f:sse2
        66 0F 61 /r  punpcklwd     Vx,Wx         sse f:sse2
        66 0F 62 /r  punpckldq     Vx,Wx         sse f:sse2
        66 0F 6C /r  punpcklqdq    Vx,Wx         sse f:sse2
        66 0F 68 /r  punpckhbw     Vx,Wx         sse f:sse2
        66 0F 69 /r  punpckhwd     Vx,Wx         sse f:sse2
        66 0F 6A /r  punpckhdq     Vx,Wx         sse f:sse2
        66 0F 6D /r  punpckhqdq    Vx,Wx         sse f:sse2
        66 0F 63 /r  packsswb      Vx,Wx         sse f:sse2
        66 0F 67 /r  packuswb      Vx,Wx         sse f:sse2
        66 0F 6B /r  packssdw      Vx,Wx         sse f:sse2
        66 0F 38 2B /r packusdw    Vx,Wx         sse f:sse4.1
        66 0F 38 10 /r pblendvb    Vx,Wx         sse f:sse4.1
        66 0F 38 14 /r blendvps    Vx,Wx         sse f:sse4.1
        66 0F 38 15 /r blendvpd    Vx,Wx         sse f:sse4.1
        66 0F 3A 0C /r blendps     Vx,Wx,Ib      sse f:sse4.1
        66 0F 3A 0D /r blendpd     Vx,Wx,Ib      sse f:sse4.1
        66 0F 3A 0E /r pblendw     Vx,Wx,Ib      sse f:sse4.1
        66 0F 38 17 /r ptest       Vx,Wx         sse w:oszapc f:sse4.1
        66 0F C4 /r  pinsrw        Vx,Ed,Ib      sse mw f:sse2
        66 0F C5 /rr pextrw        Gd,Ux,Ib      sse f:sse2
        66 0F 3A 14 /r pextrb      Ed,Vx,Ib      sse mb f:sse4.1
        66 0F 3A 15 /r pextrw_store Ed,Vx,Ib     sse mw f:sse4.1
        66 0F 3A 16 /r pextrd      Ey,Vx,Ib      sse f:sse4.1
        66 0F 3A 17 /r extractps   Ed,Vx,Ib      sse f:sse4.1
        66 0F 3A 20 /r pinsrb      Vx,Ed,Ib      sse mb f:sse4.1
        66 0F 3A 21 /r insertps    Vx,Wd,Ib      sse f:sse4.1
        66 0F 3A 22 /r pinsrd      Vx,Ey,Ib      sse f:sse4.1
        66 0F 38 20 /r pmovsxbw    Vx,Wq         sse f:sse4.1
        66 0F 38 21 /r pmovsxbd    Vx,Wd         sse f:sse4.1
        66 0F 38 22 /r pmovsxbq    Vx,Ww         sse f:sse4.1
        66 0F 38 23 /r pmovsxwd    Vx,Wq         sse f:sse4.1
        66 0F 38 24 /r pmovsxwq    Vx,Wd         sse f:sse4.1
        66 0F 38 25 /r pmovsxdq    Vx,Wq         sse f:sse4.1
        66 0F 38 30 /r pmovzxbw    Vx,Wq         sse f:sse4.1
        66 0F 38 31 /r pmovzxbd    Vx,Wd         sse f:sse4.1
        66 0F 38 32 /r pmovzxbq    Vx,Ww         sse f:sse4.1
        66 0F 38 33 /r pmovzxwd    Vx,Wq         sse f:sse4.1
        66 0F 38 34 /r pmovzxwq    Vx,Wd         sse f:sse4.1
        66 0F 38 35 /r pmovzxdq    Vx,Wq         sse f:sse4.1

        # Integer arithmetic
        66 0F FC /r  paddb         Vx,Wx         sse f:sse2
        66 0F FD /r  paddw         Vx,Wx         sse f:sse2
        66 0F FE /r  paddd         Vx,Wx         sse f:sse2
        66 0F D4 /r  paddq         Vx,Wx         sse f:sse2
        66 0F EC /r  paddsb        Vx,Wx         sse f:sse2
        66 0F ED /r  paddsw        Vx,Wx         sse f:sse2
        66 0F DC /r  paddusb       Vx,Wx         sse f:sse2
        66 0F DD /r  paddusw       Vx,Wx         sse f:sse2
        66 0F F8 /r  psubb         Vx,Wx         sse f:sse2
        66 0F F9 /r  psubw         Vx,Wx         sse f:sse2
        66 0F FA /r  psubd         Vx,Wx         sse f:sse2
        66 0F FB /r  psubq         Vx,Wx         sse f:sse2
        66 0F E8 /r  psubsb        Vx,Wx         sse f:sse2
        66 0F E9 /r  psubsw        Vx,Wx         sse f:sse2
        66 0F D8 /r  psubusb       Vx,Wx         sse f:sse2
        66 0F D9 /r  psubusw       Vx,Wx         sse f:sse2
        66 0F D5 /r  pmullw        Vx,Wx         sse f:sse2
        66 0F E4 /r  pmulhuw       Vx,Wx         sse f:sse2
        66 0F E5 /r  pmulhw        Vx,Wx         sse f:sse2
        66 0F F4 /r  pmuludq       Vx,Wx         sse f:sse2
        66 0F F5 /r  pmaddwd       Vx,Wx         sse f:sse2
        66 0F F6 /r  psadbw        Vx,Wx         sse f:sse2
        66 0F E0 /r  pavgb         Vx,Wx         sse f:sse2
        66 0F E3 /r  pavgw         Vx,Wx         sse f:sse2
        66 0F DA /r  pminub        Vx,Wx         sse f:sse2
        66 0F DE /r  pmaxub        Vx,Wx         sse f:sse2
        66 0F EA /r  pminsw        Vx,Wx         sse f:sse2
        66 0F EE /r  pmaxsw        Vx,Wx         sse f:sse2
        66 0F 38 01 /r phaddw      Vx,Wx         sse f:ssse3
        66 0F 38 02 /r phaddd      Vx,Wx         sse f:ssse3
        66 0F 38 03 /r phaddsw     Vx,Wx         sse f:ssse3
        66 0F 38 04 /r pmaddubsw   Vx,Wx         sse f:ssse3
        66 0F 38 05 /r phsubw      Vx,Wx         sse f:ssse3
        66 0F 38 06 /r phsubd      Vx,Wx         sse f:ssse3
        66 0F 38 07 /r phsubsw     Vx,Wx         sse f:ssse3
        66 0F 38 08 /r psignb      Vx,Wx         sse f:ssse3
        66 0F 38 09 /r psignw      Vx,Wx         sse f:ssse3
        66 0F 38 0A /r psignd      Vx,Wx         sse f:ssse3
        66 0F 38 0B /r pmulhrsw    Vx,Wx         sse f:ssse3
        66 0F 38 1C /r pabsb       Vx,Wx         sse f:ssse3
        66 0F 38 1D /r pabsw       Vx,Wx         sse f:ssse3
        66 0F 38 1E /r pabsd       Vx,Wx         sse f:ssse3
        66 0F 38 28 /r pmuldq      Vx,Wx         sse f:sse4.1
        66 0F 38 38 /r pminsb      Vx,Wx         sse f:sse4.1
        66 0F 38 39 /r pminsd      Vx,Wx         sse f:sse4.1
        66 0F 38 3A /r pminuw      Vx,Wx         sse f:sse4.1
        66 0F 38 3B /r pminud      Vx,Wx         sse f:sse4.1
        66 0F 38 3C /r pmaxsb      Vx,Wx         sse f:sse4.1
        66 0F 38 3D /r pmaxsd      Vx,Wx         sse f:sse4.1
        66 0F 38 3E /r pmaxuw      Vx,Wx         sse f:sse4.1
        66 0F 38 3F /r pmaxud      Vx,Wx         sse f:sse4.1
        66 0F 38 40 /r pmulld      Vx,Wx         sse f:sse4.1
        66 0F 38 41 /r phminposuw  Vx,Wx         sse f:sse4.1
        66 0F 3A 42 /r mpsadbw     Vx,Wx,Ib      sse f:sse4.1

        # Compares
        66 0F 74 /r  pcmpeqb       Vx,Wx         sse f:sse2
        66 0F 75 /r  pcmpeqw       Vx,Wx         sse f:sse2
        66 0F 76 /r  pcmpeqd       Vx,Wx         sse f:sse2
        66 0F 38 29 /r pcmpeqq     Vx,Wx         sse f:sse4.1
        66 0F 64 /r  pcmpgtb       Vx,Wx         sse f:sse2
        66 0F 65 /r  pcmpgtw       Vx,Wx         sse f:sse2
        66 0F 66 /r  pcmpgtd       Vx,Wx         sse f:sse2
        66 0F 38 37 /r pcmpgtq     Vx,Wx         sse f:sse4.2
        66 0F 3A 60 /r pcmpestrm   Vx,Wx,Ib      sse w:oszapc una f:sse4.2
        66 0F 3A 61 /r pcmpestri   Vx,Wx,Ib      sse w:oszapc una f:sse4.2
        66 0F 3A 62 /r pcmpistrm   Vx,Wx,Ib      sse w:oszapc una f:sse4.2
        66 0F 3A 63 /r pcmpistri   Vx,Wx,Ib      sse w:oszapc una f:sse4.2

        # Shifts: by the low quadword of the source, then by an immediate
        66 0F D1 /r  psrlw         Vx,Wx         sse f:sse2
        66 0F D2 /r  psrld         Vx,Wx         sse f:sse2
        66 0F D3 /r  psrlq         Vx,Wx         sse f:sse2
        66 0F E1 /r  psraw         Vx,Wx         sse f:sse2
        66 0F E2 /r  psrad         Vx,Wx         sse f:sse2
        66 0F F1 /r  psllw         Vx,Wx         sse f:sse2
        66 0F F2 /r  pslld         Vx,Wx         sse f:sse2
        66 0F F3 /r  psllq         Vx,Wx         sse f:sse2
        66 0F 71 /2r psrlw_imm     Ux,Ib         sse f:sse2
        66 0F 71 /4r psraw_imm     Ux,Ib         sse f:sse2
        66 0F 71 /6r psllw_imm     Ux,Ib         sse f:sse2
        66 0F 72 /2r psrld_imm     Ux,Ib         sse f:sse2
        66 0F 72 /4r psrad_imm     Ux,Ib         sse f:sse2
        66 0F 72 /6r pslld_imm     Ux,Ib         sse f:sse2
        66 0F 73 /2r psrlq_imm     Ux,Ib         sse f:sse2
        66 0F 73 /3r psrldq_imm    Ux,Ib         sse f:sse2
        66 0F 73 /6r psllq_imm     Ux,Ib         sse f:sse2
        66 0F 73 /7r pslldq_imm    Ux,Ib         sse f:sse2

        # Ciphers and hashes
        66 0F 38 DB /r aesimc      Vx,Wx         sse f:aes
        66 0F 38 DC /r aesenc      Vx,Wx         sse f:aes
        66 0F 38 DD /r aesenclast  Vx,Wx         sse f:aes
        66 0F 38 DE /r aesdec      Vx,Wx         sse f:aes
        66 0F 38 DF /r aesdeclast  Vx,Wx         sse f:aes
        66 0F 3A DF /r aeskeygenassist Vx,Wx,Ib  sse f:aes
        66 0F 3A 44 /r pclmulqdq   Vx,Wx,Ib      sse f:pclmulqdq
        NP 0F 38 C8 /r sha1nexte   Vx,Wx         sse f:sha-ni
        NP 0F 38 C9 /r sha1msg1    Vx,Wx         sse f:sha-ni
        NP 0F 38 CA /r sha1msg2    Vx,Wx         sse f:sha-ni
        NP 0F 38 CB /r sha256rnds2 Vx,Wx         sse f:sha-ni
        NP 0F 38 CC /r sha256msg1  Vx,Wx         sse f:sha-ni
        NP 0F 38 CD /r sha256msg2  Vx,Wx         sse f:sha-ni
        NP 0F 3A CC /r sha1rnds4   Vx,Wx,Ib      sse f:sha-ni

        # Between MMX and XMM
        F3 0F D6 /rr movq2dq       Vq,Nq         sse f:sse2
        F2 0F D6 /rr movdq2q       Pq,Uq         sse f:sse2

        # State
        NP 0F AE /0m fxsave        M             sse call f:fxsr
        NP 0F AE /1m fxrstor       M             sse call f:fxsr
        NP 0F AE /2m ldmxcsr       Md            sse call f:sse
        NP 0F AE /3m stmxcsr       Md            sse call f:sse

        # No register file of their own: neither CR0.TS nor CR4.OSFXSR matters
        NP 0F AE /5r lfence        -             sse f:sse2
        NP 0F AE /6r mfence        -             sse f:sse2
        NP 0F AE /7r sfence        -             sse f:sse
        NP 0F AE /7m clflush       Mb            sse call f:clflush
        66 0F AE /7m clflushopt    Mb            sse call f:clflushopt
        66 0F AE /6m clwb          Mb            sse call f:clwb
        F2 0F 38 F0 /r crc32b      Gy,Eb         sse f:sse4.2
        F2 0F 38 F1 /r crc32       Gy,Ev         sse f:sse4.2
        """
}
