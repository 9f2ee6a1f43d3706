/// General-purpose operations: the names that `OpcodeTableInteger` uses. The decoder lowers them to `OpCode`s.
///
/// Conditional groups stand in the order of the condition encoding (SDM vol. 1, appendix B); shifts and the arithmetic group in
/// the order of their ModRM.reg encoding.
enum Mnemonic: UInt16, CaseIterable {
    case add, or, adc, sbb, and, sub, xor, cmp
    case rol, ror, rcl, rcr, shl, shr, salAlias, sar
    case jo, jno, jb, jae, je, jne, jbe, ja, js, jns, jp, jnp, jl, jge, jle, jg
    case seto, setno, setb, setae, sete, setne, setbe, seta, sets, setns, setp, setnp, setl, setge, setle, setg
    case cmovo, cmovno, cmovb, cmovae, cmove, cmovne, cmovbe, cmova
    case cmovs, cmovns, cmovp, cmovnp, cmovl, cmovge, cmovle, cmovg
    case bt, bts, btr, btc
    case bsf, bsr, popcnt
    case lzcnt, tzcnt, adcx, adox, andn, bextr, blsr, blsmsk, blsi, bzhi, pdep, pext, mulx, rorx, sarx, shlx, shrx
    case movs, cmps, stos, lods, scas, ins, outs
    case mov, movzx, movsx, movsxd, lea, xchg, test, inc, dec, not, neg
    case mul, imul, div, idiv
    case push, pop, pusha, popa, enter, leave
    case call, jmp, ret, loop, loope, loopne, jcxz
    case shld, shrd, cmpxchg, xadd, cmpxchg8b, bswap, movbe, movnti
    case cbw, cwd, sahf, lahf, clc, stc, cmc, cld, std, salc, xlat
    case daa, das, aaa, aas, aam, aad
    case nop, pause
}
