/// The x87 (SDM vol. 2, tables ), with the aliases that processors decode but manuals leave out.
///
/// Suffixes: `_m32`, `_m64`, `_m80` floating-point and `_i16`, `_i32`, `_i64` integer memory operands, `_st0` result in
/// ST(0), `_sti` result in ST(i).
enum OpcodeTableX87 {
    static let text: StaticString = """
        9B           fwait       -         x87
        D8 /0m       fadd_m32    Md        x87 ro
        D8 /1m       fmul_m32    Md        x87 ro
        D8 /2m       fcom_m32    Md        x87 ro
        D8 /3m       fcomp_m32   Md        x87 ro
        D8 /4m       fsub_m32    Md        x87 ro
        D8 /5m       fsubr_m32   Md        x87 ro
        D8 /6m       fdiv_m32    Md        x87 ro
        D8 /7m       fdivr_m32   Md        x87 ro
        D8 /0r       fadd_st0    ST,STi    x87
        D8 /1r       fmul_st0    ST,STi    x87
        D8 /2r       fcom_sti    STi       x87
        D8 /3r       fcomp_sti   STi       x87
        D8 /4r       fsub_st0    ST,STi    x87
        D8 /5r       fsubr_st0   ST,STi    x87
        D8 /6r       fdiv_st0    ST,STi    x87
        D8 /7r       fdivr_st0   ST,STi    x87

        D9 /0m       fld_m32     Md        x87 ro
        D9 /2m       fst_m32     Md        x87
        D9 /3m       fstp_m32    Md        x87
        D9 /4m       fldenv      M         x87 ro call
        D9 /5m       fldcw       Mw        x87 ro call
        D9 /6m       fnstenv     M         x87 call
        D9 /7m       fnstcw      Mw        x87
        D9 /0r       fld_sti     STi       x87
        D9 /1r       fxch        STi       x87
        D9 =D0       fnop        -         x87
        D9 /3r       fstp_sti    STi       x87 call
        D9 =E0       fchs        -         x87
        D9 =E1       fabs        -         x87
        D9 =E4       ftst        -         x87
        D9 =E5       fxam        -         x87
        D9 =E8       fld1        -         x87
        D9 =E9       fldl2t      -         x87
        D9 =EA       fldl2e      -         x87
        D9 =EB       fldpi       -         x87
        D9 =EC       fldlg2      -         x87
        D9 =ED       fldln2      -         x87
        D9 =EE       fldz        -         x87
        D9 =F0       f2xm1       -         x87 call
        D9 =F1       fyl2x       -         x87 call
        D9 =F2       fptan       -         x87 call
        D9 =F3       fpatan      -         x87 call
        D9 =F4       fxtract     -         x87
        D9 =F5       fprem1      -         x87
        D9 =F6       fdecstp     -         x87
        D9 =F7       fincstp     -         x87
        D9 =F8       fprem       -         x87
        D9 =F9       fyl2xp1     -         x87 call
        D9 =FA       fsqrt       -         x87
        D9 =FB       fsincos     -         x87 call
        D9 =FC       frndint     -         x87
        D9 =FD       fscale      -         x87
        D9 =FE       fsin        -         x87 call
        D9 =FF       fcos        -         x87 call

        DA /0m       fiadd_i32   Md        x87 ro
        DA /1m       fimul_i32   Md        x87 ro
        DA /2m       ficom_i32   Md        x87 ro
        DA /3m       ficomp_i32  Md        x87 ro
        DA /4m       fisub_i32   Md        x87 ro
        DA /5m       fisubr_i32  Md        x87 ro
        DA /6m       fidiv_i32   Md        x87 ro
        DA /7m       fidivr_i32  Md        x87 ro
        DA /0r       fcmovb      ST,STi    x87 r:c f:cmov
        DA /1r       fcmove      ST,STi    x87 r:z f:cmov
        DA /2r       fcmovbe     ST,STi    x87 r:zc f:cmov
        DA /3r       fcmovu      ST,STi    x87 r:p f:cmov
        DA =E9       fucompp     -         x87

        DB /0m       fild_i32    Md        x87 ro
        DB /1m       fisttp_i32  Md        x87 f:sse3
        DB /2m       fist_i32    Md        x87
        DB /3m       fistp_i32   Md        x87
        DB /5m       fld_m80     Mt        x87 ro
        DB /7m       fstp_m80    Mt        x87
        DB /0r       fcmovnb     ST,STi    x87 r:c f:cmov
        DB /1r       fcmovne     ST,STi    x87 r:z f:cmov
        DB /2r       fcmovnbe    ST,STi    x87 r:zc f:cmov
        DB /3r       fcmovnu     ST,STi    x87 r:p f:cmov
        DB =E0       fneni       -         x87
        DB =E1       fndisi      -         x87
        DB =E2       fnclex      -         x87
        DB =E3       fninit      -         x87
        DB =E4       fnsetpm     -         x87
        DB /5r       fucomi      ST,STi    x87 w:oszapc f:cmov
        DB /6r       fcomi       ST,STi    x87 w:oszapc f:cmov

        DC /0m       fadd_m64    Mq        x87 ro
        DC /1m       fmul_m64    Mq        x87 ro
        DC /2m       fcom_m64    Mq        x87 ro
        DC /3m       fcomp_m64   Mq        x87 ro
        DC /4m       fsub_m64    Mq        x87 ro
        DC /5m       fsubr_m64   Mq        x87 ro
        DC /6m       fdiv_m64    Mq        x87 ro
        DC /7m       fdivr_m64   Mq        x87 ro
        DC /0r       fadd_sti    STi,ST    x87
        DC /1r       fmul_sti    STi,ST    x87
        DC /2r       fcom_sti    STi       x87
        DC /3r       fcomp_sti   STi       x87
        DC /4r       fsubr_sti   STi,ST    x87
        DC /5r       fsub_sti    STi,ST    x87
        DC /6r       fdivr_sti   STi,ST    x87
        DC /7r       fdiv_sti    STi,ST    x87

        DD /0m       fld_m64     Mq        x87 ro
        DD /1m       fisttp_i64  Mq        x87 f:sse3
        DD /2m       fst_m64     Mq        x87
        DD /3m       fstp_m64    Mq        x87
        DD /4m       frstor      M         x87 ro call
        DD /6m       fnsave      M         x87 call
        DD /7m       fnstsw_m16  Mw        x87
        DD /0r       ffree       STi       x87
        DD /1r       fxch        STi       x87
        DD /2r       fst_sti     STi       x87
        DD /3r       fstp_sti    STi       x87
        DD /4r       fucom       STi       x87
        DD /5r       fucomp      STi       x87

        DE /0m       fiadd_i16   Mw        x87 ro
        DE /1m       fimul_i16   Mw        x87 ro
        DE /2m       ficom_i16   Mw        x87 ro
        DE /3m       ficomp_i16  Mw        x87 ro
        DE /4m       fisub_i16   Mw        x87 ro
        DE /5m       fisubr_i16  Mw        x87 ro
        DE /6m       fidiv_i16   Mw        x87 ro
        DE /7m       fidivr_i16  Mw        x87 ro
        DE /0r       faddp       STi,ST    x87
        DE /1r       fmulp       STi,ST    x87
        DE /2r       fcomp_sti   STi       x87
        DE =D9       fcompp      -         x87
        DE /4r       fsubrp      STi,ST    x87
        DE /5r       fsubp       STi,ST    x87
        DE /6r       fdivrp      STi,ST    x87
        DE /7r       fdivp       STi,ST    x87

        DF /0m       fild_i16    Mw        x87 ro
        DF /1m       fisttp_i16  Mw        x87 f:sse3
        DF /2m       fist_i16    Mw        x87
        DF /3m       fistp_i16   Mw        x87
        DF /4m       fbld        Mt        x87 ro
        DF /5m       fild_i64    Mq        x87 ro
        DF /6m       fbstp       Mt        x87
        DF /7m       fistp_i64   Mq        x87
        DF /0r       ffreep      STi       x87
        DF /1r       fxch        STi       x87
        DF /2r       fstp_sti    STi       x87
        DF /3r       fstp_sti    STi       x87
        DF =E0       fnstsw_ax   -         x87
        DF /5r       fucomip     ST,STi    x87 w:oszapc f:cmov
        DF /6r       fcomip      ST,STi    x87 w:oszapc f:cmov
        """
}
