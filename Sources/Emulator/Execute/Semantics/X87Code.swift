/// Operations of the rows with attribute `x87`.
enum X87Code: UInt16, CaseIterable {
    case fwait, fadd_m32, fmul_m32, fcom_m32, fcomp_m32, fsub_m32, fsubr_m32, fdiv_m32, fdivr_m32, fadd_st0
    case fmul_st0, fcom_sti, fcomp_sti, fsub_st0, fsubr_st0, fdiv_st0, fdivr_st0, fld_m32, fst_m32, fstp_m32
    case fldenv, fldcw, fnstenv, fnstcw, fld_sti, fxch, fnop, fstp_sti, fchs, fabs, ftst, fxam, fld1, fldl2t
    case fldl2e, fldpi, fldlg2, fldln2, fldz, f2xm1, fyl2x, fptan, fpatan, fxtract, fprem1, fdecstp, fincstp
    case fprem, fyl2xp1, fsqrt, fsincos, frndint, fscale, fsin, fcos, fiadd_i32, fimul_i32, ficom_i32, ficomp_i32
    case fisub_i32, fisubr_i32, fidiv_i32, fidivr_i32, fcmovb, fcmove, fcmovbe, fcmovu, fucompp, fild_i32
    case fisttp_i32, fist_i32, fistp_i32, fld_m80, fstp_m80, fcmovnb, fcmovne, fcmovnbe, fcmovnu, fneni, fndisi
    case fnclex, fninit, fnsetpm, fucomi, fcomi, fadd_m64, fmul_m64, fcom_m64, fcomp_m64, fsub_m64, fsubr_m64
    case fdiv_m64, fdivr_m64, fadd_sti, fmul_sti, fsubr_sti, fsub_sti, fdivr_sti, fdiv_sti, fld_m64, fisttp_i64
    case fst_m64, fstp_m64, frstor, fnsave, fnstsw_m16, ffree, fst_sti, fucom, fucomp, fiadd_i16, fimul_i16
    case ficom_i16, ficomp_i16, fisub_i16, fisubr_i16, fidiv_i16, fidivr_i16, faddp, fmulp, fcompp, fsubrp, fsubp
    case fdivrp, fdivp, fild_i16, fisttp_i16, fist_i16, fistp_i16, fbld, fild_i64, fbstp, fistp_i64, ffreep
    case fnstsw_ax, fucomip, fcomip
}
