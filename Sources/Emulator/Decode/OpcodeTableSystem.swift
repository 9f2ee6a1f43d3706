/// System instructions, far transfers, port I/O and flags of the system (SDM vol. 2 and vol. 3). Columns:
/// OpcodeRow.swift.
enum OpcodeTableSystem {
    static let text: StaticString = """
        06           pushES     -          i64 sys
        07           popES      -          i64 sys
        0E           pushCS     -          i64 sys
        16           pushSS     -          i64 sys
        17           popSS      -          i64 sys
        1E           pushDS     -          i64 sys
        1F           popDS      -          i64 sys
        0F A0        pushFS     -          d64 sys
        0F A1        popFS      -          d64 sys
        0F A8        pushGS     -          d64 sys
        0F A9        popGS      -          d64 sys
        62 /rm       bound      Gv,Ma      i64 sys
        63 /r        arpl       Ew,Gw      i64 sys w:z
        8C /r        movFromSegment Ev,Sw  sys
        8E /r        movToSegment Sw,Ew    sys
        C4 /rm       les        Gv,Mp      i64 sys
        C5 /rm       lds        Gv,Mp      i64 sys
        0F B2 /rm    lss        Gv,Mp      sys
        0F B4 /rm    lfs        Gv,Mp      sys
        0F B5 /rm    lgs        Gv,Mp      sys
        9A           callFar    Ap         i64 end sys r:oszapc
        EA           jmpFar     Ap         i64 end sys r:oszapc
        FF /3m       callFar    Mp         end sys r:oszapc
        FF /5m       jmpFar     Mp         end sys r:oszapc
        CA           retFar     Iw         end sys
        CB           retFar     -          end sys
        CC           int3       -          end sys r:oszapc
        CD           int        Ib         end sys r:oszapc
        CE           into       -          i64 end sys r:o
        F1           int1       -          end sys r:oszapc
        CF           iret       -          end sys w:oszapc
        9C           pushf      -          d64 sys r:oszapc
        9D           popf       -          d64 end sys w:oszapc
        FA           cli        -          sys
        FB           sti        -          end sys
        E4           inByteImmediate  AL,Ib   end sys
        E5           inWideImmediate  eAX,Ib  end sys
        E6           outByteImmediate Ib,AL   end sys
        E7           outWideImmediate Ib,eAX  end sys
        EC           inByteDX         AL,DX   end sys
        ED           inWideDX         eAX,DX  end sys
        EE           outByteDX        DX,AL   end sys
        EF           outWideDX        DX,eAX  end sys
        F4           hlt        -          priv end sys
        0F 00 /0     sldt       Ev         sys
        0F 00 /1     str        Ev         sys
        0F 00 /2     lldt       Ew         priv sys
        0F 00 /3     ltr        Ew         priv sys
        0F 00 /4     verr       Ew         sys w:z
        0F 00 /5     verw       Ew         sys w:z
        0F 01 /0m    sgdt       Ms         sys
        0F 01 /1m    sidt       Ms         sys
        0F 01 /2m    lgdt       Ms         priv sys
        0F 01 /3m    lidt       Ms         priv sys
        0F 01 /4     smsw       Ev         sys
        0F 01 /6     lmsw       Ew         priv end sys
        0F 01 /7m    invlpg     Mb         priv end sys
        0F 01 =C8    monitor    AX         priv sys f:monitor
        0F 01 =C9    mwait      -          priv end sys f:monitor
        0F 01 =CA    clac       -          priv end sys f:smap
        0F 01 =CB    stac       -          priv end sys f:smap
        0F 01 =D0    xgetbv     -          sys f:xsave
        0F 01 =D1    xsetbv     -          priv end sys f:xsave
        0F 01 =F8    swapgs     -          o64 priv sys f:lm
        0F 01 =F9    rdtscp     -          sys f:rdtscp
        0F 02 /r     lar        Gv,Ew      sys w:z
        0F 03 /r     lsl        Gv,Ew      sys w:z
        0F 05        syscall    -          end sys r:oszapc f:syscall
        0F 06        clts       -          priv end sys
        0F 07        sysret     -          priv end sys w:oszapc f:syscall
        0F 08        invd       -          priv sys
        0F 09        wbinvd     -          priv sys
        0F 0B        ud2        -          end sys
        0F B9 /r     ud1        Gv,Ev      end sys
        0F FF /r     ud0        Gv,Ev      end sys
        0F 20 /r     movFromControl Ry,Cy  priv sys
        0F 21 /r     movFromDebug   Ry,Dy  priv sys
        0F 22 /r     movToControl   Cy,Ry  priv end sys
        0F 23 /r     movToDebug     Dy,Ry  priv end sys
        0F 30        wrmsr      -          priv end sys f:msr
        0F 31        rdtsc      -          sys f:tsc
        0F 32        rdmsr      -          priv sys f:msr
        0F 33        rdpmc      -          sys
        0F 34        sysenter   -          end sys f:sep
        0F 35        sysexit    -          priv end sys f:sep
        0F A2        cpuid      -          sys
        0F AA        rsm        -          end sys
        66 0F 38 82 /rm invpcid Gy,Mdq     priv end sys f:invpcid
        NP 0F C7 /6r rdrand     Ev         sys w:oszapc f:rdrand
        66 0F C7 /6r rdrand     Ev         osize sys w:oszapc f:rdrand
        NP 0F C7 /7r rdseed     Ev         sys w:oszapc f:rdseed
        66 0F C7 /7r rdseed     Ev         osize sys w:oszapc f:rdseed
        F3 0F C7 /7r rdpid      Ry         sys f:rdpid
        F3 0F AE /0r rdfsbase   Ry         o64 sys f:fsgsbase
        F3 0F AE /1r rdgsbase   Ry         o64 sys f:fsgsbase
        F3 0F AE /2r wrfsbase   Ry         o64 sys f:fsgsbase
        F3 0F AE /3r wrgsbase   Ry         o64 sys f:fsgsbase
        """
}

/// Operations of `OpcodeTableSystem`.
enum SystemCode: UInt16, CaseIterable {
    case pushES, popES, pushCS, pushSS, popSS, pushDS, popDS, pushFS, popFS, pushGS, popGS
    case movFromSegment, movToSegment, les, lds, lss, lfs, lgs, bound, arpl
    case callFar, jmpFar, retFar, int3, int, into, int1, iret
    case pushf, popf, cli, sti, clac, stac
    case inByteImmediate, inWideImmediate, outByteImmediate, outWideImmediate
    case inByteDX, inWideDX, outByteDX, outWideDX
    case hlt, monitor, mwait, rsm, ud0, ud1, ud2
    case sldt, str, lldt, ltr, verr, verw, sgdt, sidt, lgdt, lidt, smsw, lmsw, lar, lsl
    case invlpg, invpcid, invd, wbinvd, clts
    case movFromControl, movToControl, movFromDebug, movToDebug, xgetbv, xsetbv
    case wrmsr, rdmsr, rdtsc, rdtscp, rdpmc, cpuid, rdrand, rdseed, rdpid
    case syscall, sysret, sysenter, sysexit, swapgs
    case rdfsbase, rdgsbase, wrfsbase, wrgsbase
}
