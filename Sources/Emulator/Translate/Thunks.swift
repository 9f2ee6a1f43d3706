/// Why translated code came back.
enum TranslatedExit: UInt64 {
    /// Look up `rip` and go on.
    case lookup = 0
    /// A fault is pending.
    case fault = 1
    /// Everything must be looked at.
    case boundary = 2
    /// The block at `rip` must be interpreted.
    case interpret = 3

    /// Answers below this are exits, others addresses where to go on.
    static let limit = 16
}

/// Code that all regions share: the ways in and out, calls of the translator's functions, loading of FPU registers.
///
/// Translated code keeps RSP at the state. `helper`, `find` and `exit` are jumped to; `fill`, `loadXMM` and `loadX87` are called.
struct Thunks {
    /// Functions of the translator that code calls, with the state as first argument.
    struct Targets {
        /// (state, number of the slow path) → `TranslatedExit` or address.
        var help: @convention(c) (UnsafeMutableRawPointer, UInt64) -> UInt64
        /// (state, linear address, number of the slow path) → 1: try again.
        var fill: @convention(c) (UnsafeMutableRawPointer, UInt64, UInt64) -> UInt64
        /// (state): address of the code for `rip`, or 0.
        var find: @convention(c) (UnsafeMutableRawPointer) -> UInt64
        /// (state): the x87 between its state and the FNSAVE image.
        var loadX87: @convention(c) (UnsafeMutableRawPointer) -> Void
        var storeX87: @convention(c) (UnsafeMutableRawPointer) -> Void
    }

    private(set) var enter: UInt64 = 0
    /// R11: the code.
    private(set) var exit: UInt64 = 0
    /// R11: the slow path's number. The second form for instructions that work on the x87's state or may let others do so: the others leave it
    /// in the host's registers, where no C function looks.
    private(set) var helper: UInt64 = 0
    private(set) var helperX87: UInt64 = 0
    /// R10: linear address of the access, R11: the slow path's number. Returns to try again, or goes on at `helper` or `helperX87`.
    private(set) var fill: UInt64 = 0
    private(set) var fillX87: UInt64 = 0
    /// R10: linear address XOR jump key.
    private(set) var find: UInt64 = 0
    /// The same, where the jump cache led to relocatable code that is gone.
    private(set) var forget: UInt64 = 0
    /// R10: linear address of a block that the budget did not suffice for, R11: its instructions.
    private(set) var exhausted: UInt64 = 0
    /// R10: linear address to go to, R11: place of the jump that is to become a link to it.
    private(set) var linkExit: UInt64 = 0
    /// R10: linear address to go to by way of the jump cache.
    private(set) var dispatch: UInt64 = 0
    /// R10: linear address of the block, R11: its instructions, which are given back to the budget if the unit may not be used.
    private(set) var loadXMM: UInt64 = 0
    private(set) var loadX87: UInt64 = 0

    private static let rsp = HostRegister.rsp, rdi = HostRegister.rdi, rsi = HostRegister.rsi
    private static let r10 = HostRegister.r10, r11 = HostRegister.r11
    /// Registers that a C function may destroy and that hold guest registers, by their own numbers.
    private static let volatile = [0, 1, 2, 6, 7, 8, 9]

    init(_ asm: inout Assembler, _ targets: Targets) {
        emitEnter(&asm)
        let exitStored = emitExit(&asm, targets)
        emitHelper(&asm, targets, exitStored)
        fill = emitFill(&asm, targets, helper)
        fillX87 = emitFill(&asm, targets, helperX87)
        emitFind(&asm, targets)
        emitForget(&asm)
        emitLeave(&asm)
        emitLoadXMM(&asm)
        emitLoadX87(&asm, targets)
    }

    // MARK: Pieces. `below`: how far RSP is below the state.

    private func storeRegisters(_ asm: inout Assembler, below: Int = 0) {
        for (guest, host) in HostRegister.mapped { asm.store(StateOffset.gpr(guest) + below, host) }
    }
    private func loadRegisters(_ asm: inout Assembler, below: Int = 0) {
        for (guest, host) in HostRegister.mapped { asm.load(host, StateOffset.gpr(guest) + below) }
    }

    /// XMM registers and MXCSR to the state if they are live; the host's MXCSR back.
    private func storeXMM(_ asm: inout Assembler, below: Int = 0) {
        asm.compareByte(StateOffset.xmmLive + below, 0)
        let skip = asm.jump(HostCondition.equal)
        for i in 0..<16 { asm.op(.two, 0x11, i, .state(StateOffset.xmm + 16 * i + below)) }
        asm.op(.two, 0xAE, 3, .state(StateOffset.mxcsr + below))
        asm.op(.two, 0xAE, 2, .state(StateOffset.hostMXCSR + below))
        asm.bind(skip)
    }

    /// The other way, if they are (still) live.
    private func restoreXMM(_ asm: inout Assembler, below: Int = 0) {
        asm.compareByte(StateOffset.xmmLive + below, 0)
        let skip = asm.jump(HostCondition.equal)
        fetchXMM(&asm, below: below)
        asm.bind(skip)
    }

    private func fetchXMM(_ asm: inout Assembler, below: Int) {
        for i in 0..<16 { asm.op(.two, 0x10, i, .state(StateOffset.xmm + 16 * i + below)) }
        asm.op(.two, 0xAE, 2, .state(StateOffset.mxcsr + below))
    }

    /// The x87 stack to its image if it is live; FNSAVE leaves the host's x87 as C wants it.
    private func storeX87(_ asm: inout Assembler, below: Int = 0) {
        asm.compareByte(StateOffset.x87Live + below, 0)
        let skip = asm.jump(HostCondition.equal)
        asm.op(0xDD, 6, .state(StateOffset.x87Image + below))
        asm.bind(skip)
    }

    private func call(_ asm: inout Assembler, _ function: UnsafeRawPointer) {
        asm.constant(HostRegister.rax, UInt64(UInt(bitPattern: function)))
        asm.bytes(0xFF, 0xD0)
    }

    /// To the code at R11, in the way of the jump cache: with R10 as `find` has it. The state's `rip` is where the code is for.
    private func enterAt(_ asm: inout Assembler) {
        asm.load(Self.r10, StateOffset.rip)
        asm.op(0x33, Self.r10, .state(StateOffset.jumpKey), wide: true)
        asm.op(0xFF, 4, .register(Self.r11))
    }

    // MARK: In and out

    /// (state, address) → exit code.
    private mutating func emitEnter(_ asm: inout Assembler) {
        asm.align(16)
        enter = asm.here
        asm.bytes(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57)  // push rbx, rbp, r12–r15
        asm.op(0x89, Self.rsp, .memory(base: Self.rdi, displacement: Int32(StateOffset.hostStack)), wide: true)
        asm.move(Self.r11, Self.rsi)
        asm.move(Self.rsp, Self.rdi)
        loadRegisters(&asm)
        enterAt(&asm)
    }

    /// - Returns: where a caller jumps to whose guest registers, but for those of the x87, are all in the state.
    private mutating func emitExit(_ asm: inout Assembler, _ targets: Targets) -> UInt64 {
        asm.align(16)
        exit = asm.here
        storeRegisters(&asm)
        storeXMM(&asm)
        asm.storeConstant(StateOffset.xmmLive, 0)
        let stored = asm.here
        asm.compareByte(StateOffset.x87Live, 0)
        let skip = asm.jump(HostCondition.equal)
        asm.op(0xDD, 6, .state(StateOffset.x87Image))
        asm.store(StateOffset.scratch + 24, Self.r11)
        asm.move(Self.rdi, Self.rsp)
        call(&asm, unsafeBitCast(targets.storeX87, to: UnsafeRawPointer.self))
        asm.load(Self.r11, StateOffset.scratch + 24)
        asm.storeConstant(StateOffset.x87Live, 0)
        asm.bind(skip)
        asm.move(HostRegister.rax, Self.r11)
        asm.load(Self.rsp, StateOffset.hostStack)
        asm.bytes(0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3)
        return stored
    }

    // MARK: Calls of the translator

    private mutating func emitHelper(_ asm: inout Assembler, _ targets: Targets, _ exitStored: UInt64) {
        asm.align(16)
        helperX87 = asm.here
        storeRegisters(&asm)
        storeX87(&asm)
        let join = asm.jump()
        asm.align(16)
        helper = asm.here
        storeRegisters(&asm)
        asm.bind(join)
        storeXMM(&asm)
        asm.move(Self.rdi, Self.rsp)
        asm.move(Self.rsi, Self.r11)
        call(&asm, unsafeBitCast(targets.help, to: UnsafeRawPointer.self))
        asm.move(Self.r11, HostRegister.rax)
        asm.arithmetic(7, .register(Self.r11), Int32(TranslatedExit.limit))
        asm.jump(HostCondition.below, to: exitStored)
        restoreXMM(&asm)
        // Not 0 or 1: the image was written anew.
        asm.compareByte(StateOffset.x87Live, NativeState.x87InImage)
        let skip = asm.jump(HostCondition.notEqual)
        asm.op(0xDD, 4, .state(StateOffset.x87Image))
        asm.storeConstant(StateOffset.x87Live, 1)
        asm.bind(skip)
        loadRegisters(&asm)
        enterAt(&asm)
    }

    private func emitFill(_ asm: inout Assembler, _ targets: Targets, _ helper: UInt64) -> UInt64 {
        asm.align(16)
        let fill = asm.here
        asm.bytes(0x50, 0x51, 0x52, 0x56, 0x57, 0x41, 0x50, 0x41, 0x51, 0x41, 0x53)  // push rax … r9, r11
        asm.arithmetic(5, .register(Self.rsp), 8)
        let below = 8 + 8 * 8 + 8
        storeXMM(&asm, below: below)
        asm.lea(Self.rdi, base: Self.rsp, Int32(below))
        asm.move(Self.rsi, Self.r10)
        asm.move(HostRegister.rdx, Self.r11)
        call(&asm, unsafeBitCast(targets.fill, to: UnsafeRawPointer.self))
        asm.move(Self.r10, HostRegister.rax)
        restoreXMM(&asm, below: below)
        asm.arithmetic(0, .register(Self.rsp), 8)
        asm.bytes(0x41, 0x5B, 0x41, 0x59, 0x41, 0x58, 0x5F, 0x5E, 0x5A, 0x59, 0x58)
        asm.op(0x85, Self.r10, .register(Self.r10))
        let failed = asm.jump(HostCondition.equal)
        asm.byte(0xC3)
        asm.bind(failed)
        asm.arithmetic(0, .register(Self.rsp), 8)
        asm.jump(to: helper)
        return fill
    }

    private mutating func emitFind(_ asm: inout Assembler, _ targets: Targets) {
        asm.align(16)
        find = asm.here
        asm.op(0x33, Self.r10, .state(StateOffset.jumpKey), wide: true)
        asm.store(StateOffset.rip, Self.r10)
        for register in Self.volatile { asm.store(StateOffset.gpr(register), register) }
        storeXMM(&asm)
        asm.move(Self.rdi, Self.rsp)
        call(&asm, unsafeBitCast(targets.find, to: UnsafeRawPointer.self))
        asm.move(Self.r11, HostRegister.rax)
        restoreXMM(&asm)
        for register in Self.volatile { asm.load(register, StateOffset.gpr(register)) }
        asm.op(0x85, Self.r11, .register(Self.r11), wide: true)
        let nothing = asm.jump(HostCondition.equal)
        enterAt(&asm)
        asm.bind(nothing)
        asm.storeConstant(StateOffset.exitSlot, 0)
        asm.constant(Self.r11, TranslatedExit.lookup.rawValue)
        asm.jump(to: exit)
    }

    private mutating func emitForget(_ asm: inout Assembler) {
        asm.align(16)
        forget = asm.here
        jumpPlace(&asm)
        asm.op(0xC7, 0, .memory(base: Self.rsp, index: Self.r11, displacement: Int32(CPUArena.jumpOffset)), wide: true)
        asm.int32(-1)
        asm.jump(to: find)
    }

    private mutating func emitLeave(_ asm: inout Assembler) {
        asm.align(16)
        exhausted = asm.here
        asm.op(0x01, Self.r11, .state(StateOffset.budget), wide: true)
        asm.constant(Self.r11, 0)
        linkExit = asm.here
        asm.store(StateOffset.exitSlot, Self.r11)
        asm.store(StateOffset.rip, Self.r10)
        asm.constant(Self.r11, TranslatedExit.lookup.rawValue)
        asm.jump(to: exit)
        asm.align(16)
        dispatch = asm.here
        lookUp(&asm)
    }

    /// R11 becomes the place in the jump cache of the address in R10, whose low bits no key changes.
    private func jumpPlace(_ asm: inout Assembler) {
        asm.op(.two, 0xB7, Self.r11, .register(Self.r10))  // movzx r11d, r10w
        asm.op(0xC1, 4, .register(Self.r11))
        asm.byte(4)
    }

    /// R10 holds a linear address: jumps to its code by way of the jump cache, or to `find`.
    func lookUp(_ asm: inout Assembler) {
        jumpPlace(&asm)
        asm.op(0x33, Self.r10, .state(StateOffset.jumpKey), wide: true)
        let table = Int32(CPUArena.jumpOffset)
        asm.op(0x3B, Self.r10, .memory(base: Self.rsp, index: Self.r11, displacement: table), wide: true)
        asm.jump(HostCondition.notEqual, to: find)
        asm.op(0xFF, 4, .memory(base: Self.rsp, index: Self.r11, displacement: table + 8))
    }

    // MARK: FPU registers. They may be the host's while nothing in them can raise an exception.

    private func refuse(_ asm: inout Assembler, _ places: [UInt64]) {
        for place in places { asm.bind(place) }
        asm.arithmetic(0, .register(Self.rsp), 8)
        asm.op(0x01, Self.r11, .state(StateOffset.budget), wide: true)
        asm.storeConstant(StateOffset.exitSlot, 0)
        asm.constant(Self.r11, TranslatedExit.interpret.rawValue)
        asm.jump(to: exit)
    }

    private mutating func emitLoadXMM(_ asm: inout Assembler) {
        asm.align(16)
        loadXMM = asm.here
        asm.store(StateOffset.rip + 8, Self.r10)
        asm.compareByte(StateOffset.fpuTrapped + 8, 0)
        let trapped = asm.jump(HostCondition.notEqual)
        asm.op(0xF7, 0, .state(StateOffset.cr4 + 8))
        asm.int32(Int32(CR4.osfxsr))
        let disabled = asm.jump(HostCondition.equal)
        asm.op(0x8B, Self.r10, .state(StateOffset.mxcsr + 8))
        asm.arithmetic(4, .register(Self.r10), 0x1F80, wide: false)
        asm.arithmetic(7, .register(Self.r10), 0x1F80, wide: false)
        let unmasked = asm.jump(HostCondition.notEqual)
        fetchXMM(&asm, below: 8)
        asm.storeConstant(StateOffset.xmmLive + 8, 1)
        asm.byte(0xC3)
        refuse(&asm, [trapped, disabled, unmasked])
    }

    private mutating func emitLoadX87(_ asm: inout Assembler, _ targets: Targets) {
        asm.align(16)
        loadX87 = asm.here
        asm.store(StateOffset.rip + 8, Self.r10)
        asm.compareByte(StateOffset.fpuTrapped + 8, 0)
        let trapped = asm.jump(HostCondition.notEqual)
        asm.op(0x8B, Self.r10, .state(StateOffset.x87Control + 8))
        asm.arithmetic(4, .register(Self.r10), 0x3F, wide: false)
        asm.arithmetic(7, .register(Self.r10), 0x3F, wide: false)
        let unmasked = asm.jump(HostCondition.notEqual)
        asm.op(0xF6, 0, .state(StateOffset.x87Status + 8))
        asm.byte(0x80)
        let pending = asm.jump(HostCondition.notEqual)
        for register in Self.volatile { asm.store(StateOffset.gpr(register) + 8, register) }
        storeXMM(&asm, below: 8)
        asm.lea(Self.rdi, base: Self.rsp, 8)
        // The return address is on the stack: 8 more keep it aligned.
        asm.arithmetic(5, .register(Self.rsp), 8)
        call(&asm, unsafeBitCast(targets.loadX87, to: UnsafeRawPointer.self))
        asm.arithmetic(0, .register(Self.rsp), 8)
        asm.storeConstant(StateOffset.x87Live + 8, 1)
        asm.op(0xDD, 4, .state(StateOffset.x87Image + 8))
        restoreXMM(&asm, below: 8)
        for register in Self.volatile { asm.load(register, StateOffset.gpr(register) + 8) }
        asm.byte(0xC3)
        refuse(&asm, [trapped, unmasked, pending])
    }
}
