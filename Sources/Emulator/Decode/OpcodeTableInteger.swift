/// General-purpose instructions, a row an encoding, as SDM vol. 2, appendix A lists them. Columns and attributes: OpcodeRow.swift.
enum OpcodeTableInteger {
    static let text: StaticString = """
        00 /r        add      Eb,Gb      lock w:oszapc
        01 /r        add      Ev,Gv      lock w:oszapc
        02 /r        add      Gb,Eb      w:oszapc
        03 /r        add      Gv,Ev      w:oszapc
        04           add      AL,Ib      w:oszapc
        05           add      eAX,Iz     w:oszapc
        08 /r        or       Eb,Gb      lock w:oszpc u:a
        09 /r        or       Ev,Gv      lock w:oszpc u:a
        0A /r        or       Gb,Eb      w:oszpc u:a
        0B /r        or       Gv,Ev      w:oszpc u:a
        0C           or       AL,Ib      w:oszpc u:a
        0D           or       eAX,Iz     w:oszpc u:a
        10 /r        adc      Eb,Gb      lock r:c w:oszapc
        11 /r        adc      Ev,Gv      lock r:c w:oszapc
        12 /r        adc      Gb,Eb      r:c w:oszapc
        13 /r        adc      Gv,Ev      r:c w:oszapc
        14           adc      AL,Ib      r:c w:oszapc
        15           adc      eAX,Iz     r:c w:oszapc
        18 /r        sbb      Eb,Gb      lock r:c w:oszapc
        19 /r        sbb      Ev,Gv      lock r:c w:oszapc
        1A /r        sbb      Gb,Eb      r:c w:oszapc
        1B /r        sbb      Gv,Ev      r:c w:oszapc
        1C           sbb      AL,Ib      r:c w:oszapc
        1D           sbb      eAX,Iz     r:c w:oszapc
        20 /r        and      Eb,Gb      lock w:oszpc u:a
        21 /r        and      Ev,Gv      lock w:oszpc u:a
        22 /r        and      Gb,Eb      w:oszpc u:a
        23 /r        and      Gv,Ev      w:oszpc u:a
        24           and      AL,Ib      w:oszpc u:a
        25           and      eAX,Iz     w:oszpc u:a
        27           daa      -          i64 r:ac w:szapc u:o call
        28 /r        sub      Eb,Gb      lock w:oszapc
        29 /r        sub      Ev,Gv      lock w:oszapc
        2A /r        sub      Gb,Eb      w:oszapc
        2B /r        sub      Gv,Ev      w:oszapc
        2C           sub      AL,Ib      w:oszapc
        2D           sub      eAX,Iz     w:oszapc
        2F           das      -          i64 r:ac w:szapc u:o call
        30 /r        xor      Eb,Gb      lock w:oszpc u:a
        31 /r        xor      Ev,Gv      lock w:oszpc u:a
        32 /r        xor      Gb,Eb      w:oszpc u:a
        33 /r        xor      Gv,Ev      w:oszpc u:a
        34           xor      AL,Ib      w:oszpc u:a
        35           xor      eAX,Iz     w:oszpc u:a
        37           aaa      -          i64 r:a w:ac u:oszp call
        38 /r        cmp      Eb,Gb      w:oszapc ro
        39 /r        cmp      Ev,Gv      w:oszapc ro
        3A /r        cmp      Gb,Eb      w:oszapc ro
        3B /r        cmp      Gv,Ev      w:oszapc ro
        3C           cmp      AL,Ib      w:oszapc ro
        3D           cmp      eAX,Iz     w:oszapc ro
        3F           aas      -          i64 r:a w:ac u:oszp call
        40+r         inc      Zv         i64 w:oszap
        48+r         dec      Zv         i64 w:oszap
        50+r         push     Zv         d64
        58+r         pop      Zv         d64
        60           pusha    -          i64 call
        61           popa     -          i64 call
        63 /r        movsxd   Gv,Ed      o64
        68           push     Iz         d64
        69 /r        imul     Gv,Ev,Iz   w:oc u:szap
        6A           push     Ibs        d64
        6B /r        imul     Gv,Ev,Ibs  w:oc u:szap
        6C           ins      Yb,DX      end call
        6D           ins      Yv,DX      end call
        6E           outs     DX,Xb      end call
        6F           outs     DX,Xv      end call
        70           jo       Jb         end f64 r:o
        71           jno      Jb         end f64 r:o
        72           jb       Jb         end f64 r:c
        73           jae      Jb         end f64 r:c
        74           je       Jb         end f64 r:z
        75           jne      Jb         end f64 r:z
        76           jbe      Jb         end f64 r:zc
        77           ja       Jb         end f64 r:zc
        78           js       Jb         end f64 r:s
        79           jns      Jb         end f64 r:s
        7A           jp       Jb         end f64 r:p
        7B           jnp      Jb         end f64 r:p
        7C           jl       Jb         end f64 r:os
        7D           jge      Jb         end f64 r:os
        7E           jle      Jb         end f64 r:osz
        7F           jg       Jb         end f64 r:osz
        80 /0        add      Eb,Ib      lock w:oszapc
        80 /1        or       Eb,Ib      lock w:oszpc u:a
        80 /2        adc      Eb,Ib      lock r:c w:oszapc
        80 /3        sbb      Eb,Ib      lock r:c w:oszapc
        80 /4        and      Eb,Ib      lock w:oszpc u:a
        80 /5        sub      Eb,Ib      lock w:oszapc
        80 /6        xor      Eb,Ib      lock w:oszpc u:a
        80 /7        cmp      Eb,Ib      w:oszapc ro
        81 /0        add      Ev,Iz      lock w:oszapc
        81 /1        or       Ev,Iz      lock w:oszpc u:a
        81 /2        adc      Ev,Iz      lock r:c w:oszapc
        81 /3        sbb      Ev,Iz      lock r:c w:oszapc
        81 /4        and      Ev,Iz      lock w:oszpc u:a
        81 /5        sub      Ev,Iz      lock w:oszapc
        81 /6        xor      Ev,Iz      lock w:oszpc u:a
        81 /7        cmp      Ev,Iz      w:oszapc ro
        82 /0        add      Eb,Ib      i64 lock w:oszapc
        82 /1        or       Eb,Ib      i64 lock w:oszpc u:a
        82 /2        adc      Eb,Ib      i64 lock r:c w:oszapc
        82 /3        sbb      Eb,Ib      i64 lock r:c w:oszapc
        82 /4        and      Eb,Ib      i64 lock w:oszpc u:a
        82 /5        sub      Eb,Ib      i64 lock w:oszapc
        82 /6        xor      Eb,Ib      i64 lock w:oszpc u:a
        82 /7        cmp      Eb,Ib      i64 w:oszapc ro
        83 /0        add      Ev,Ibs     lock w:oszapc
        83 /1        or       Ev,Ibs     lock w:oszpc u:a
        83 /2        adc      Ev,Ibs     lock r:c w:oszapc
        83 /3        sbb      Ev,Ibs     lock r:c w:oszapc
        83 /4        and      Ev,Ibs     lock w:oszpc u:a
        83 /5        sub      Ev,Ibs     lock w:oszapc
        83 /6        xor      Ev,Ibs     lock w:oszpc u:a
        83 /7        cmp      Ev,Ibs     w:oszapc ro
        84 /r        test     Eb,Gb      w:oszpc u:a ro
        85 /r        test     Ev,Gv      w:oszpc u:a ro
        86 /r        xchg     Eb,Gb      lock
        87 /r        xchg     Ev,Gv      lock
        88 /r        mov      Eb,Gb
        89 /r        mov      Ev,Gv
        8A /r        mov      Gb,Eb
        8B /r        mov      Gv,Ev
        8D /rm       lea      Gv,M
        8F /0        pop      Ev         d64
        F3 90        pause    -
        90           xchg     Zv,eAX
        91           xchg     Zv,eAX
        92           xchg     Zv,eAX
        93           xchg     Zv,eAX
        94           xchg     Zv,eAX
        95           xchg     Zv,eAX
        96           xchg     Zv,eAX
        97           xchg     Zv,eAX
        98           cbw      -
        99           cwd      -
        9E           sahf     -          i64 w:szapc
        9E           sahf     -          o64 w:szapc f:lahf-lm
        9F           lahf     -          i64 r:szapc
        9F           lahf     -          o64 r:szapc f:lahf-lm
        A0           mov      AL,Ob
        A1           mov      eAX,Ov
        A2           mov      Ob,AL
        A3           mov      Ov,eAX
        A4           movs     Yb,Xb call
        A5           movs     Yv,Xv call
        A6           cmps     Xb,Yb      c:oszapc call
        A7           cmps     Xv,Yv      c:oszapc call
        A8           test     AL,Ib      w:oszpc u:a ro
        A9           test     eAX,Iz     w:oszpc u:a ro
        AA           stos     Yb,AL call
        AB           stos     Yv,eAX call
        AC           lods     AL,Xb call
        AD           lods     eAX,Xv call
        AE           scas     AL,Yb      c:oszapc call
        AF           scas     eAX,Yv     c:oszapc call
        B0+r         mov      Zb,Ib
        B8+r         mov      Zv,Iv
        C0 /0        rol      Eb,Ib      c:oc
        C0 /1        ror      Eb,Ib      c:oc
        C0 /2        rcl      Eb,Ib      r:c c:oc
        C0 /3        rcr      Eb,Ib      r:c c:oc
        C0 /4        shl      Eb,Ib      c:oszpc u:a
        C0 /5        shr      Eb,Ib      c:oszpc u:a
        C0 /6        shl      Eb,Ib      c:oszpc u:a
        C0 /7        sar      Eb,Ib      c:oszpc u:a
        C1 /0        rol      Ev,Ib      c:oc
        C1 /1        ror      Ev,Ib      c:oc
        C1 /2        rcl      Ev,Ib      r:c c:oc
        C1 /3        rcr      Ev,Ib      r:c c:oc
        C1 /4        shl      Ev,Ib      c:oszpc u:a
        C1 /5        shr      Ev,Ib      c:oszpc u:a
        C1 /6        shl      Ev,Ib      c:oszpc u:a
        C1 /7        sar      Ev,Ib      c:oszpc u:a
        C2           ret      Iw         end f64
        C3           ret      -          end f64
        C6 /0        mov      Eb,Ib
        C7 /0        mov      Ev,Iz
        C8           enter    Iw,Ib      d64 call
        C9           leave    -          d64
        D0 /0        rol      Eb,1       w:oc
        D0 /1        ror      Eb,1       w:oc
        D0 /2        rcl      Eb,1       r:c w:oc
        D0 /3        rcr      Eb,1       r:c w:oc
        D0 /4        shl      Eb,1       w:oszpc u:a
        D0 /5        shr      Eb,1       w:oszpc u:a
        D0 /6        shl      Eb,1       w:oszpc u:a
        D0 /7        sar      Eb,1       w:oszpc u:a
        D1 /0        rol      Ev,1       w:oc
        D1 /1        ror      Ev,1       w:oc
        D1 /2        rcl      Ev,1       r:c w:oc
        D1 /3        rcr      Ev,1       r:c w:oc
        D1 /4        shl      Ev,1       w:oszpc u:a
        D1 /5        shr      Ev,1       w:oszpc u:a
        D1 /6        shl      Ev,1       w:oszpc u:a
        D1 /7        sar      Ev,1       w:oszpc u:a
        D2 /0        rol      Eb,CL      c:oc
        D2 /1        ror      Eb,CL      c:oc
        D2 /2        rcl      Eb,CL      r:c c:oc
        D2 /3        rcr      Eb,CL      r:c c:oc
        D2 /4        shl      Eb,CL      c:oszpc u:a
        D2 /5        shr      Eb,CL      c:oszpc u:a
        D2 /6        shl      Eb,CL      c:oszpc u:a
        D2 /7        sar      Eb,CL      c:oszpc u:a
        D3 /0        rol      Ev,CL      c:oc
        D3 /1        ror      Ev,CL      c:oc
        D3 /2        rcl      Ev,CL      r:c c:oc
        D3 /3        rcr      Ev,CL      r:c c:oc
        D3 /4        shl      Ev,CL      c:oszpc u:a
        D3 /5        shr      Ev,CL      c:oszpc u:a
        D3 /6        shl      Ev,CL      c:oszpc u:a
        D3 /7        sar      Ev,CL      c:oszpc u:a
        D4           aam      Ib         i64 w:szp u:oac call
        D5           aad      Ib         i64 w:szp u:oac call
        D6           salc     -          i64 r:c call
        D7           xlat     BX call
        E0           loopne   Jb         end f64 r:z
        E1           loope    Jb         end f64 r:z
        E2           loop     Jb         end f64
        E3           jcxz     Jb         end f64
        E8           call     Jz         end f64
        E9           jmp      Jz         end f64
        EB           jmp      Jb         end f64
        F5           cmc      -          r:c w:c
        F6 /0        test     Eb,Ib      w:oszpc u:a ro
        F6 /1        test     Eb,Ib      w:oszpc u:a ro
        F6 /2        not      Eb         lock
        F6 /3        neg      Eb         lock w:oszapc
        F6 /4        mul      Eb         w:oc u:szap ro
        F6 /5        imul     Eb         w:oc u:szap ro
        F6 /6        div      Eb         u:oszapc ro
        F6 /7        idiv     Eb         u:oszapc ro
        F7 /0        test     Ev,Iz      w:oszpc u:a ro
        F7 /1        test     Ev,Iz      w:oszpc u:a ro
        F7 /2        not      Ev         lock
        F7 /3        neg      Ev         lock w:oszapc
        F7 /4        mul      Ev         w:oc u:szap ro
        F7 /5        imul     Ev         w:oc u:szap ro
        F7 /6        div      Ev         u:oszapc ro
        F7 /7        idiv     Ev         u:oszapc ro
        F8           clc      -          w:c
        F9           stc      -          w:c
        FC           cld      -
        FD           std      -
        FE /0        inc      Eb         lock w:oszap
        FE /1        dec      Eb         lock w:oszap
        FF /0        inc      Ev         lock w:oszap
        FF /1        dec      Ev         lock w:oszap
        FF /2        call     Ev         end f64 ro
        FF /4        jmp      Ev         end f64 ro
        FF /6        push     Ev         d64 ro
        0F 0D /rm    nop      Ev ro
        0F 18 /r     nop      Ev ro
        0F 19 /r     nop      Ev ro
        0F 1A /r     nop      Ev ro
        0F 1B /r     nop      Ev ro
        0F 1C /r     nop      Ev ro
        0F 1D /r     nop      Ev ro
        0F 1E /r     nop      Ev ro
        0F 1F /r     nop      Ev ro
        0F 40 /r     cmovo    Gv,Ev      r:o f:cmov
        0F 41 /r     cmovno   Gv,Ev      r:o f:cmov
        0F 42 /r     cmovb    Gv,Ev      r:c f:cmov
        0F 43 /r     cmovae   Gv,Ev      r:c f:cmov
        0F 44 /r     cmove    Gv,Ev      r:z f:cmov
        0F 45 /r     cmovne   Gv,Ev      r:z f:cmov
        0F 46 /r     cmovbe   Gv,Ev      r:zc f:cmov
        0F 47 /r     cmova    Gv,Ev      r:zc f:cmov
        0F 48 /r     cmovs    Gv,Ev      r:s f:cmov
        0F 49 /r     cmovns   Gv,Ev      r:s f:cmov
        0F 4A /r     cmovp    Gv,Ev      r:p f:cmov
        0F 4B /r     cmovnp   Gv,Ev      r:p f:cmov
        0F 4C /r     cmovl    Gv,Ev      r:os f:cmov
        0F 4D /r     cmovge   Gv,Ev      r:os f:cmov
        0F 4E /r     cmovle   Gv,Ev      r:osz f:cmov
        0F 4F /r     cmovg    Gv,Ev      r:osz f:cmov
        0F 80        jo       Jz         end f64 r:o
        0F 81        jno      Jz         end f64 r:o
        0F 82        jb       Jz         end f64 r:c
        0F 83        jae      Jz         end f64 r:c
        0F 84        je       Jz         end f64 r:z
        0F 85        jne      Jz         end f64 r:z
        0F 86        jbe      Jz         end f64 r:zc
        0F 87        ja       Jz         end f64 r:zc
        0F 88        js       Jz         end f64 r:s
        0F 89        jns      Jz         end f64 r:s
        0F 8A        jp       Jz         end f64 r:p
        0F 8B        jnp      Jz         end f64 r:p
        0F 8C        jl       Jz         end f64 r:os
        0F 8D        jge      Jz         end f64 r:os
        0F 8E        jle      Jz         end f64 r:osz
        0F 8F        jg       Jz         end f64 r:osz
        0F 90 /r     seto     Eb         r:o
        0F 91 /r     setno    Eb         r:o
        0F 92 /r     setb     Eb         r:c
        0F 93 /r     setae    Eb         r:c
        0F 94 /r     sete     Eb         r:z
        0F 95 /r     setne    Eb         r:z
        0F 96 /r     setbe    Eb         r:zc
        0F 97 /r     seta     Eb         r:zc
        0F 98 /r     sets     Eb         r:s
        0F 99 /r     setns    Eb         r:s
        0F 9A /r     setp     Eb         r:p
        0F 9B /r     setnp    Eb         r:p
        0F 9C /r     setl     Eb         r:os
        0F 9D /r     setge    Eb         r:os
        0F 9E /r     setle    Eb         r:osz
        0F 9F /r     setg     Eb         r:osz
        0F A3 /r     bt       Ev,Gv      w:c u:osap ro
        0F A4 /r     shld     Ev,Gv,Ib   c:oszpc u:a
        0F A5 /r     shld     Ev,Gv,CL   c:oszpc u:a
        0F AB /r     bts      Ev,Gv      lock w:c u:osap
        0F AC /r     shrd     Ev,Gv,Ib   c:oszpc u:a
        0F AD /r     shrd     Ev,Gv,CL   c:oszpc u:a
        0F AF /r     imul     Gv,Ev      w:oc u:szap
        0F B0 /r     cmpxchg  Eb,Gb      lock w:oszapc
        0F B1 /r     cmpxchg  Ev,Gv      lock w:oszapc
        0F B3 /r     btr      Ev,Gv      lock w:c u:osap
        0F B6 /r     movzx    Gv,Eb
        0F B7 /r     movzx    Gv,Ew
        F3 0F B8 /r  popcnt   Gv,Ev      w:oszapc f:popcnt
        0F BA /4     bt       Ev,Ib      w:c u:osap ro
        0F BA /5     bts      Ev,Ib      lock w:c u:osap
        0F BA /6     btr      Ev,Ib      lock w:c u:osap
        0F BA /7     btc      Ev,Ib      lock w:c u:osap
        0F BB /r     btc      Ev,Gv      lock w:c u:osap
        0F BC /r     bsf      Gv,Ev      w:z u:osapc
        0F BD /r     bsr      Gv,Ev      w:z u:osapc
        0F BE /r     movsx    Gv,Eb
        0F BF /r     movsx    Gv,Ew
        0F C0 /r     xadd     Eb,Gb      lock w:oszapc
        0F C1 /r     xadd     Ev,Gv      lock w:oszapc
        NP 0F C3 /rm movnti   My,Gy f:sse2
        0F C7 /1m    cmpxchg8b Mq        lock w:z call f:cx8
        0F C8+r      bswap    Zv
        F3 0F BC /r  tzcnt    Gv,Ev      w:zc u:osap f:bmi1
        F3 0F BD /r  lzcnt    Gv,Ev      w:zc u:osap f:abm
        NP 0F 38 F0 /rm movbe Gv,Mv      f:movbe
        66 0F 38 F0 /rm movbe Gv,Mv      osize f:movbe
        NP 0F 38 F1 /rm movbe Mv,Gv      f:movbe
        66 0F 38 F1 /rm movbe Mv,Gv      osize f:movbe
        66 0F 38 F6 /r adcx   Gy,Ey      r:c w:c f:adx
        F3 0F 38 F6 /r adox   Gy,Ey      r:o w:o f:adx

        # VEX-coded, all of them for the interpreter
        VEX.NP.0F38.L0 F2 /r andn Gy,By,Ey       w:oszc u:ap call f:bmi1
        VEX.NP.0F38.L0 F3 /1 blsr By,Ey          w:oszc u:ap call f:bmi1
        VEX.NP.0F38.L0 F3 /2 blsmsk By,Ey        w:oszc u:ap call f:bmi1
        VEX.NP.0F38.L0 F3 /3 blsi By,Ey          w:oszc u:ap call f:bmi1
        VEX.NP.0F38.L0 F7 /r bextr Gy,Ey,By      w:ozc u:sap call f:bmi1
        VEX.NP.0F38.L0 F5 /r bzhi Gy,Ey,By       w:oszc u:ap call f:bmi2
        VEX.F2.0F38.L0 F5 /r pdep Gy,By,Ey       call f:bmi2
        VEX.F3.0F38.L0 F5 /r pext Gy,By,Ey       call f:bmi2
        VEX.F2.0F38.L0 F6 /r mulx Gy,By,Ey       call f:bmi2
        VEX.F2.0F3A.L0 F0 /r rorx Gy,Ey,Ib       call f:bmi2
        VEX.F3.0F38.L0 F7 /r sarx Gy,Ey,By       call f:bmi2
        VEX.66.0F38.L0 F7 /r shlx Gy,Ey,By       call f:bmi2
        VEX.F2.0F38.L0 F7 /r shrx Gy,Ey,By       call f:bmi2
        """
}
