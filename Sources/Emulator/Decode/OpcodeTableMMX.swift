/// MMX and what SSE, SSE2 and SSSE3 added to it (SDM vol. 2, tables ).
///
/// `_mm` tells an operation from the one of the same name on XMM registers.
enum OpcodeTableMMX {
    static let text: StaticString = """
        # Moves
        NP 0F 6E /r  movd_mm         Pd,Ey       sse f:mmx
        NP 0F 7E /r  movd_mm_store   Ey,Pd       sse f:mmx
        NP 0F 6F /r  movq_mm         Pq,Qq       sse f:mmx
        NP 0F 7F /r  movq_mm_store   Qq,Pq       sse f:mmx
        NP 0F E7 /rm movntq          Mq,Pq       sse f:sse
        NP 0F F7 /rr maskmovq        Pq,Nq,DI       sse f:sse
        NP 0F D7 /rr pmovmskb_mm     Gd,Nq       sse f:sse
        NP 0F C4 /r  pinsrw_mm       Pq,Ed,Ib    sse f:sse
        NP 0F C5 /rr pextrw_mm       Gd,Nq,Ib    sse f:sse
        NP 0F 70 /r  pshufw          Pq,Qq,Ib    sse f:sse
        NP 0F 38 00 /r pshufb_mm     Pq,Qq       sse f:ssse3
        NP 0F 3A 0F /r palignr_mm    Pq,Qq,Ib    sse f:ssse3
        NP 0F 60 /r  punpcklbw_mm    Pq,Qd       sse f:mmx
        NP 0F 61 /r  punpcklwd_mm    Pq,Qd       sse f:mmx
        NP 0F 62 /r  punpckldq_mm    Pq,Qd       sse f:mmx
        NP 0F 68 /r  punpckhbw_mm    Pq,Qq       sse f:mmx
        NP 0F 69 /r  punpckhwd_mm    Pq,Qq       sse f:mmx
        NP 0F 6A /r  punpckhdq_mm    Pq,Qq       sse f:mmx
        NP 0F 63 /r  packsswb_mm     Pq,Qq       sse f:mmx
        NP 0F 67 /r  packuswb_mm     Pq,Qq       sse f:mmx
        NP 0F 6B /r  packssdw_mm     Pq,Qq       sse f:mmx

        # Bitwise
        NP 0F DB /r  pand_mm         Pq,Qq       sse f:mmx
        NP 0F DF /r  pandn_mm        Pq,Qq       sse f:mmx
        NP 0F EB /r  por_mm          Pq,Qq       sse f:mmx
        NP 0F EF /r  pxor_mm         Pq,Qq       sse f:mmx

        # Integer arithmetic
        NP 0F FC /r  paddb_mm        Pq,Qq       sse f:mmx
        NP 0F FD /r  paddw_mm        Pq,Qq       sse f:mmx
        NP 0F FE /r  paddd_mm        Pq,Qq       sse f:mmx
        NP 0F D4 /r  paddq_mm        Pq,Qq       sse f:sse2
        NP 0F EC /r  paddsb_mm       Pq,Qq       sse f:mmx
        NP 0F ED /r  paddsw_mm       Pq,Qq       sse f:mmx
        NP 0F DC /r  paddusb_mm      Pq,Qq       sse f:mmx
        NP 0F DD /r  paddusw_mm      Pq,Qq       sse f:mmx
        NP 0F F8 /r  psubb_mm        Pq,Qq       sse f:mmx
        NP 0F F9 /r  psubw_mm        Pq,Qq       sse f:mmx
        NP 0F FA /r  psubd_mm        Pq,Qq       sse f:mmx
        NP 0F FB /r  psubq_mm        Pq,Qq       sse f:sse2
        NP 0F E8 /r  psubsb_mm       Pq,Qq       sse f:mmx
        NP 0F E9 /r  psubsw_mm       Pq,Qq       sse f:mmx
        NP 0F D8 /r  psubusb_mm      Pq,Qq       sse f:mmx
        NP 0F D9 /r  psubusw_mm      Pq,Qq       sse f:mmx
        NP 0F D5 /r  pmullw_mm       Pq,Qq       sse f:mmx
        NP 0F E4 /r  pmulhuw_mm      Pq,Qq       sse f:sse
        NP 0F E5 /r  pmulhw_mm       Pq,Qq       sse f:mmx
        NP 0F F4 /r  pmuludq_mm      Pq,Qq       sse f:sse2
        NP 0F F5 /r  pmaddwd_mm      Pq,Qq       sse f:mmx
        NP 0F F6 /r  psadbw_mm       Pq,Qq       sse f:sse
        NP 0F E0 /r  pavgb_mm        Pq,Qq       sse f:sse
        NP 0F E3 /r  pavgw_mm        Pq,Qq       sse f:sse
        NP 0F DA /r  pminub_mm       Pq,Qq       sse f:sse
        NP 0F DE /r  pmaxub_mm       Pq,Qq       sse f:sse
        NP 0F EA /r  pminsw_mm       Pq,Qq       sse f:sse
        NP 0F EE /r  pmaxsw_mm       Pq,Qq       sse f:sse
        NP 0F 38 01 /r phaddw_mm     Pq,Qq       sse f:ssse3
        NP 0F 38 02 /r phaddd_mm     Pq,Qq       sse f:ssse3
        NP 0F 38 03 /r phaddsw_mm    Pq,Qq       sse f:ssse3
        NP 0F 38 04 /r pmaddubsw_mm  Pq,Qq       sse f:ssse3
        NP 0F 38 05 /r phsubw_mm     Pq,Qq       sse f:ssse3
        NP 0F 38 06 /r phsubd_mm     Pq,Qq       sse f:ssse3
        NP 0F 38 07 /r phsubsw_mm    Pq,Qq       sse f:ssse3
        NP 0F 38 08 /r psignb_mm     Pq,Qq       sse f:ssse3
        NP 0F 38 09 /r psignw_mm     Pq,Qq       sse f:ssse3
        NP 0F 38 0A /r psignd_mm     Pq,Qq       sse f:ssse3
        NP 0F 38 0B /r pmulhrsw_mm   Pq,Qq       sse f:ssse3
        NP 0F 38 1C /r pabsb_mm      Pq,Qq       sse f:ssse3
        NP 0F 38 1D /r pabsw_mm      Pq,Qq       sse f:ssse3
        NP 0F 38 1E /r pabsd_mm      Pq,Qq       sse f:ssse3

        # Compares
        NP 0F 74 /r  pcmpeqb_mm      Pq,Qq       sse f:mmx
        NP 0F 75 /r  pcmpeqw_mm      Pq,Qq       sse f:mmx
        NP 0F 76 /r  pcmpeqd_mm      Pq,Qq       sse f:mmx
        NP 0F 64 /r  pcmpgtb_mm      Pq,Qq       sse f:mmx
        NP 0F 65 /r  pcmpgtw_mm      Pq,Qq       sse f:mmx
        NP 0F 66 /r  pcmpgtd_mm      Pq,Qq       sse f:mmx

        # Shifts
        NP 0F D1 /r  psrlw_mm        Pq,Qq       sse f:mmx
        NP 0F D2 /r  psrld_mm        Pq,Qq       sse f:mmx
        NP 0F D3 /r  psrlq_mm        Pq,Qq       sse f:mmx
        NP 0F E1 /r  psraw_mm        Pq,Qq       sse f:mmx
        NP 0F E2 /r  psrad_mm        Pq,Qq       sse f:mmx
        NP 0F F1 /r  psllw_mm        Pq,Qq       sse f:mmx
        NP 0F F2 /r  pslld_mm        Pq,Qq       sse f:mmx
        NP 0F F3 /r  psllq_mm        Pq,Qq       sse f:mmx
        NP 0F 71 /2r psrlw_mm_imm    Nq,Ib       sse f:mmx
        NP 0F 71 /4r psraw_mm_imm    Nq,Ib       sse f:mmx
        NP 0F 71 /6r psllw_mm_imm    Nq,Ib       sse f:mmx
        NP 0F 72 /2r psrld_mm_imm    Nq,Ib       sse f:mmx
        NP 0F 72 /4r psrad_mm_imm    Nq,Ib       sse f:mmx
        NP 0F 72 /6r pslld_mm_imm    Nq,Ib       sse f:mmx
        NP 0F 73 /2r psrlq_mm_imm    Nq,Ib       sse f:mmx
        NP 0F 73 /6r psllq_mm_imm    Nq,Ib       sse f:mmx

        # State
        NP 0F 77     emms            -           sse f:mmx
        """
}
