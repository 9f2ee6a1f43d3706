/// A segment register with its descriptor cache (SDM vol. 3, 3.4.3).
struct Segment {
    var selector: UInt16 = 0
    /// Descriptor bits 40–55 as they stand in memory: type 0–3, S 4, DPL 5–6, P 7, AVL 12, L 13, D/B 14, G 15.
    var attributes: UInt16 = 0
    /// Last valid offset in bytes (granularity applied).
    var limit: UInt32 = 0
    var base: UInt64 = 0

    var type: UInt8 { UInt8(attributes & 0xF) }
    var isCodeOrData: Bool { attributes & 0x10 != 0 }
    var dpl: UInt8 { UInt8(attributes >> 5 & 3) }
    var isPresent: Bool { attributes & 0x80 != 0 }
    var isLong: Bool { attributes & 0x2000 != 0 }
    /// D/B: 32-bit code or stack.
    var isBig: Bool { attributes & 0x4000 != 0 }
    var isCode: Bool { attributes & 0x18 == 0x18 }
    var isConforming: Bool { attributes & 0x1C == 0x1C }
    var isWritableData: Bool { attributes & 0x1A == 0x12 }
    var isReadable: Bool { attributes & 0x18 == 0x10 || attributes & 0x1A == 0x1A }
    var isExpandDown: Bool { attributes & 0x1C == 0x14 }
}

/// GDTR and IDTR.
struct DescriptorTable {
    var base: UInt64 = 0
    var limit: UInt16 = 0
}

/// Indices of `CPUState.segments`, in the encoding of instructions.
enum SegmentIndex {
    static let es = 0, cs = 1, ss = 2, ds = 3, fs = 4, gs = 5
    /// In `DecodedOp.segment`: base 0, no limit to check.
    static let flat: UInt8 = 0xFF
    /// Flag in `DecodedOp.segment`: FS or GS of 64-bit mode, whose base is added and whose limit is ignored.
    static let baseOnly: UInt8 = 0x80
}

/// Indices of `CPUState.gpr`.
enum Register {
    static let rax = 0, rcx = 1, rdx = 2, rbx = 3, rsp = 4, rbp = 5, rsi = 6, rdi = 7
    /// Always 0: the base or index of an address that has none.
    static let zero = 16
    /// Instruction pointer at the start of the running block: the base of RIP-relative addresses.
    static let blockIP = 17
}

/// An x87 register: 80-bit extended precision as it stands in memory.
struct X87Register {
    var significand: UInt64 = 0
    /// Bit 15 sign, bits 0–14 exponent.
    var signExponent: UInt16 = 0
}

/// An XMM register (the low half of a YMM register, whose high half is in `CPUState.ymmHigh`).
struct XMMRegister {
    var low: UInt64 = 0
    var high: UInt64 = 0
}

/// x87 and SSE state. Same meaning as the FXSAVE image (SDM vol. 1, 10.5.1).
struct FPUState {
    /// Physical registers R0–R7 (not relative to TOP).
    var registers = InlineArray<8, X87Register>(repeating: X87Register())
    var control: UInt16 = 0x037F
    /// Status without TOP (bits 11–13), which stands in `top`.
    var status: UInt16 = 0
    var top: UInt8 = 0
    /// Bit n set: physical register n is empty.
    var emptyMask: UInt8 = 0xFF
    var lastOpcode: UInt16 = 0
    var lastInstruction: UInt64 = 0, lastInstructionSelector: UInt16 = 0
    var lastOperand: UInt64 = 0, lastOperandSelector: UInt16 = 0
    var xmm = InlineArray<16, XMMRegister>(repeating: XMMRegister())
    var ymmHigh = InlineArray<16, XMMRegister>(repeating: XMMRegister())
    var mxcsr: UInt32 = 0x1F80
    /// Where an SSE memory operand is put that does not lie in one page of the TLB.
    var operand = XMMRegister()
}

/// An exception that an instruction raised and the CPU has yet to deliver.
struct PendingFault {
    /// Vector 0–31.
    var vector: UInt8 = 0
    var errorCode: UInt32 = 0
    var hasErrorCode = false
    var isPending = false
    /// #GP(0) for an address that is not canonical: #SS(0) where the access was to the stack.
    var isNonCanonical = false
}

/// What an instruction holds back until the one after it is done (SDM vol. 3, 6.8.3).
enum InterruptShadow: UInt8 {
    case none = 0
    /// STI: INTR.
    case sti
    /// MOV SS and POP SS: INTR, NMI and debug exceptions, so that the stack pointer can follow.
    case stackSegment
}

/// What translated code needs of its own (Translate/): it survives resets, which may happen under it.
struct NativeState {
    /// The arithmetic flags as LAHF and SETO give them: SF ZF AF PF CF in bits 8–15 as in AH, OF in bit 0.
    var flags: UInt64 = 0
    /// The host's stack pointer outside of translated code.
    var hostStack: UInt64 = 0
    /// XORed into linear addresses in the jump cache: generation in bits 50–63, user 48, 32-bit code 49.
    var jumpKey: UInt64 = 0
    /// Address of the jump that the code was left by, to be patched to its target; 0: none.
    var exitSlot: UInt64 = 0
    /// Beside `exitSlot`, for a jump to another page: where it leads if it cannot be patched to its target.
    var exitFallback: UInt64 = 0
    /// Not 0: code was thrown away since translated code was entered.
    var codeChanged: UInt64 = 0
    /// Not 0: XMM registers and MXCSR, or the x87 stack, are in the host's registers; the x87 may also be in its image, to be loaded.
    var xmmLive: UInt64 = 0
    var x87Live: UInt64 = 0
    static let x87InImage: UInt8 = 2
    /// The translator that the state's CPU has, for calls from translated code; as long as the CPU.
    var translator: Unmanaged<Translator>?
    var scratch = InlineArray<4, UInt64>(repeating: 0)
    /// Host minus guest address of the pages that groups of accesses found.
    var groups = InlineArray<8, UInt64>(repeating: 0)
    /// The host's MXCSR outside of translated code.
    var hostMXCSR: UInt32 = 0x1F80
    /// Not 0: FS or GS is flat data with a base, whose limit nobody can pass.
    var plainFS: UInt8 = 0
    var plainGS: UInt8 = 0
    /// FNSAVE image of 108 bytes.
    var x87Image = InlineArray<14, UInt64>(repeating: 0)
}

/// Everything a running CPU reads and writes, behind one pointer (docs/HOTPATH.md, rule 2): plain fields only.
struct CPUState {
    // MARK: Hot: first cache lines

    /// RAX…R15, then `Register.zero` and `Register.blockIP`.
    var gpr = InlineArray<18, UInt64>(repeating: 0)
    /// Arithmetic flags, lazily: see Flags.swift.
    var flagResult: UInt64 = 0
    var flagAux: UInt64 = 0
    /// Software TLBs for the current privilege: see TLB.swift.
    var readTLB: UnsafeMutablePointer<TLBEntry>
    var writeTLB: UnsafeMutablePointer<TLBEntry>
    /// Instructions left before the loop looks at the clock and at requests; a device that raises an interrupt sets it to 0.
    var budget: Int = 0
    /// Budgets that were run: a coarse clock.
    var slices: UInt64 = 0
    /// The budget was ended early.
    var isKicked = false
    /// What translated code keeps beside the guest's state.
    var native = NativeState()
    /// Where the interpreter stands: the next instruction outside of blocks and in `SystemOperation`s.
    /// Offset in CS, not linear.
    var rip: UInt64 = 0

    // MARK: Warm

    /// RFLAGS without OF, SF, ZF, AF, PF, CF, which are lazy: TF 8, IF 9, DF 10, IOPL 12–13, NT 14, RF 16, VM 17,
    /// AC 18, VIF 19, VIP 20, ID 21.
    var flagsRest: UInt32 = 0
    var segments = InlineArray<6, Segment>(repeating: Segment())
    var cpl: UInt8 = 0
    /// Block key of the current mode: see BlockCache.swift.
    var modeKey: UInt32 = 0
    /// What the next instruction boundary does not take.
    var interruptShadow = InterruptShadow.none
    var fault = PendingFault()
    /// True from HLT until an interrupt.
    var halted = false
    /// INTR from the interrupt controller.
    var interruptRequest = false
    var nmiRequest = false
    /// Set while an NMI handler runs (until IRET).
    var nmiBlocked = false
    /// DR6 bits of debug traps (single step, data breakpoints, task switch) to deliver at the next boundary.
    var pendingDebug: UInt64 = 0
    /// The instruction under way began with TF set and traps when it is done.
    var stepArmed = false
    /// DR7 arms breakpoints of that kind.
    var codeBreakpoints = false, dataBreakpoints = false, portBreakpoints = false
    /// CR0.EM or CR0.TS: x87 and SSE instructions take the slow path, which decides between #UD and #NM.
    var fpuTrapped = false

    // MARK: System registers

    var cr0: UInt64 = 0x6000_0010
    var cr2: UInt64 = 0
    var cr3: UInt64 = 0
    var cr4: UInt64 = 0
    /// Page-directory pointers of PAE paging, loaded with CR3.
    var pdpte = InlineArray<4, UInt64>(repeating: 0)
    var efer: UInt64 = 0
    var gdtr = DescriptorTable()
    var idtr = DescriptorTable()
    var ldtr = Segment()
    var tr = Segment()
    var debugRegisters = InlineArray<8, UInt64>(repeating: 0)
    var star: UInt64 = 0, lstar: UInt64 = 0, cstar: UInt64 = 0, syscallMask: UInt64 = 0
    var kernelGSBase: UInt64 = 0
    var sysenterCS: UInt64 = 0, sysenterESP: UInt64 = 0, sysenterEIP: UInt64 = 0
    var tscAux: UInt64 = 0
    /// Added to the clock's ticks by WRMSR to IA32_TIME_STAMP_COUNTER.
    var tscOffset: UInt64 = 0
    var pat: UInt64 = 0x0007_0406_0007_0406
    var xcr0: UInt64 = 1
    var mtrrDefaultType: UInt64 = 0
    var mtrrVariable = InlineArray<16, UInt64>(repeating: 0)
    var mtrrFixed = InlineArray<11, UInt64>(repeating: 0)
    var miscEnable: UInt64 = 1

    var fpu = FPUState()

    /// The CPU that owns this state, for slow paths; set right after allocation, valid as long as the state is.
    var owner: Unmanaged<CPU>?

    /// Instructions executed since power-on, up to the last end of a budget.
    var instructionCount: UInt64 = 0

    init(readTLB: UnsafeMutablePointer<TLBEntry>, writeTLB: UnsafeMutablePointer<TLBEntry>) {
        self.readTLB = readTLB
        self.writeTLB = writeTLB
    }
}

extension CPUState {
    var isProtected: Bool { cr0 & CR0.pe != 0 }
    var isPaging: Bool { cr0 & CR0.pg != 0 }
    var isVirtual8086: Bool { flagsRest & RFLAGS.vm != 0 }
    /// IA32_EFER.LMA: long mode is active (64-bit or compatibility).
    var isLongMode: Bool { efer & EFER.lma != 0 }
    /// 64-bit mode proper.
    var is64Bit: Bool { isLongMode && segments[SegmentIndex.cs].isLong }
    /// Real mode or virtual-8086: segments are selector * 16.
    var usesRealSegments: Bool { !isProtected || isVirtual8086 }
    var iopl: UInt8 { UInt8(flagsRest >> 12 & 3) }
}

/// CR0 bits (SDM vol. 3, 2.5).
enum CR0 {
    static let pe: UInt64 = 1, mp: UInt64 = 1 << 1, em: UInt64 = 1 << 2, ts: UInt64 = 1 << 3, et: UInt64 = 1 << 4
    static let ne: UInt64 = 1 << 5, wp: UInt64 = 1 << 16, am: UInt64 = 1 << 18, nw: UInt64 = 1 << 29
    static let cd: UInt64 = 1 << 30, pg: UInt64 = 1 << 31
}

/// CR4 bits.
enum CR4 {
    static let vme: UInt64 = 1, pvi: UInt64 = 1 << 1, tsd: UInt64 = 1 << 2, de: UInt64 = 1 << 3, pse: UInt64 = 1 << 4
    static let pae: UInt64 = 1 << 5, mce: UInt64 = 1 << 6, pge: UInt64 = 1 << 7, pce: UInt64 = 1 << 8
    static let osfxsr: UInt64 = 1 << 9, osxmmexcpt: UInt64 = 1 << 10, umip: UInt64 = 1 << 11
    static let fsgsbase: UInt64 = 1 << 16, pcide: UInt64 = 1 << 17, osxsave: UInt64 = 1 << 18
    static let smep: UInt64 = 1 << 20, smap: UInt64 = 1 << 21
}

/// IA32_EFER bits.
enum EFER {
    static let sce: UInt64 = 1, lme: UInt64 = 1 << 8, lma: UInt64 = 1 << 10, nxe: UInt64 = 1 << 11
}

/// RFLAGS bits.
enum RFLAGS {
    static let cf: UInt32 = 1, fixed1: UInt32 = 2, pf: UInt32 = 4, af: UInt32 = 0x10, zf: UInt32 = 0x40
    static let sf: UInt32 = 0x80, tf: UInt32 = 0x100, interrupt: UInt32 = 0x200, df: UInt32 = 0x400
    static let of: UInt32 = 0x800, iopl: UInt32 = 0x3000, nt: UInt32 = 0x4000, rf: UInt32 = 0x1_0000
    static let vm: UInt32 = 0x2_0000, ac: UInt32 = 0x4_0000, vif: UInt32 = 0x8_0000, vip: UInt32 = 0x10_0000
    static let id: UInt32 = 0x20_0000
    /// The six lazy ones.
    static let arithmetic: UInt32 = 0x8D5
}

/// Exception vectors (SDM vol. 3, table 6-1).
enum Vector {
    static let de: UInt8 = 0, db: UInt8 = 1, nmi: UInt8 = 2, bp: UInt8 = 3, of: UInt8 = 4, br: UInt8 = 5
    static let ud: UInt8 = 6, nm: UInt8 = 7, df: UInt8 = 8, ts: UInt8 = 10, np: UInt8 = 11, ss: UInt8 = 12
    static let gp: UInt8 = 13, pf: UInt8 = 14, mf: UInt8 = 16, ac: UInt8 = 17, mc: UInt8 = 18, xm: UInt8 = 19
}
