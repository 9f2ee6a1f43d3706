/// Writes a region as host code: the bodies of its blocks and the entry of each; and elsewhere, so that what runs lies close together, the
/// slow paths and the ways out.
///
/// Two facts are tracked from instruction to instruction: whether the host's EFLAGS hold the guest's arithmetic flags, and
/// whether the state's word does (docs/decisions/0303-translator.md). Flags that nobody reads are in neither.
final class Emitter {
    /// Something that is written behind the bodies.
    struct Cold {
        enum Work {
            /// An access that missed: the TLB is filled and the check at `again` repeated.
            case fill(again: UInt64, access: Access)
            /// A window to be moved, or, where the TLB does not have the page, as above.
            case moveWindow(Int, again: UInt64, access: Access, writes: Bool)
            /// Instructions for the interpreter, without a way back into this region when `resume` is 0.
            case interpret
            /// A direct jump out of the region.
            case chain(target: UInt64, saveFlags: Bool)
            /// A jump that becomes a link to code in the same page.
            case link(target: UInt64)
            /// A jump that becomes a link to code in another page, if that page stays where it is.
            case linkAcross(target: UInt64)
        }
        /// The jump that leads here.
        var slot: UInt64
        var work: Work
        var path: Int
        /// Whether flags must go back into EFLAGS before the code at `resume`.
        var restoreFlags = false
        /// 0: the instruction ends the block.
        var resume: UInt64 = 0
    }

    /// A memory operand as the slow path computes its address again.
    struct Access {
        var op: DecodedOp
        /// Added to the displacement.
        var offset: Int64
        var bytes: Int
        var block: RegionBlock
    }

    var asm: Assembler
    /// Where the slow paths go.
    private(set) var far: Assembler
    let thunks: Thunks
    private(set) var region: Region
    unowned(unsafe) let translator: Translator
    var block: RegionBlock
    var index = 0
    var flagsInHost = false
    var flagsInState = false
    var held = Held()
    var cold: [Cold] = []
    /// Jumps to bodies that are not written yet, and to the stubs that leave for want of budget.
    private var bodyFixups: [(slot: UInt64, target: UInt64)] = []
    var budgetFixups: [(slot: UInt64, block: RegionBlock)] = []
    /// Slow paths of groups that end at an instruction still to come: cold index by last instruction.
    var groupEnds: [(cold: Int, last: Int)] = []
    /// Slow paths of the current instruction: they come back behind it.
    var pendingColds: [Int] = []
    /// False for a block whose groups were found in two pages too often.
    var usesGroups = true
    /// In loops of user code whose pages do not change all the time.
    var usesWindows = false

    init(_ region: Region, _ asm: Assembler, far: Assembler, _ thunks: Thunks, _ translator: Translator) {
        self.region = region
        self.asm = asm
        self.far = far
        self.thunks = thunks
        self.translator = translator
        block = region.order[0]
    }

    var instruction: TranslatedInstruction { block.instructions[index] }
    var liveIn: FlagMask { block.live[index] }
    var liveOut: FlagMask { block.live[index + 1] }
    var isUser: Bool { region.isUser }
    var is64: Bool { region.is64 }

    func target(_ linear: UInt64) -> RegionBlock? { region.blocks[linear] }

    // MARK: The whole

    func emit() {
        for (number, block) in region.order.enumerated() {
            body(block, next: number + 1 < region.order.count ? region.order[number + 1] : nil)
        }
        for fixup in bodyFixups {
            if let target = region.blocks[fixup.target] { asm.fix(fixup.slot, target.body) }
        }
        swap(&asm, &far)
        var done = 0
        // Slow paths may add some of their own.
        while done < cold.count {
            emitCold(cold[done])
            done += 1
        }
        for block in region.order { emitWaysOut(block) }
        swap(&asm, &far)
        for block in region.order { emitEntry(block) }
        for fixup in budgetFixups { asm.fix(fixup.slot, fixup.block.exhausted) }
    }

    private func body(_ block: RegionBlock, next: RegionBlock?) {
        self.block = block
        block.body = asm.here
        flagsInHost = block.liveIn != []
        flagsInState = false
        forgetScratch()
        usesGroups = !translator.avoidsGroups(block.block)
        usesWindows = isUser && block.isInLoop
        for i in block.instructions.indices {
            index = i
            if liveIn == [] {
                flagsInHost = false
                flagsInState = false
            }
            // Everything else may use the scratch registers.
            let keepsScratch =
                instruction.kind == .copy && !instruction.isMemory || instruction.kind == .verbatim
                || instruction.kind == .nothing
            if !keepsScratch { forgetScratch() }
            switch instruction.kind {
            case .nothing: break
            case .verbatim: verbatim()
            case .copy: copy()
            case .special: special()
            case .helper: helper()
            case .branch:
                branch(next: next)
                comeBack()
                return
            }
            comeBack()
        }
        let mask: UInt64 = is64 ? ~0 : 0xFFFF_FFFF
        go(to: block.end & mask, next: next)
    }

    /// Slow paths of the instruction that was just written, and of groups that end with it, go on here.
    private func comeBack() {
        func comeBack(_ number: Int) {
            cold[number].resume = instruction.kind == .branch ? 0 : asm.here
            cold[number].restoreFlags = flagsInHost && liveOut != []
        }
        for number in pendingColds { comeBack(number) }
        pendingColds.removeAll(keepingCapacity: true)
        for end in groupEnds where end.last == index { comeBack(end.cold) }
        groupEnds.removeAll { $0.last <= index }
    }

    /// The interpreter runs the current instruction where a condition holds.
    func interpretIf(_ condition: Int, _ path: Int) {
        pendingColds.append(addCold(asm.jump(condition), .interpret, path: path))
    }

    // MARK: Flags

    /// EFLAGS to the state's word. No flag changes, so it may stand before a conditional jump. Uses R11.
    func saveFlags() {
        held.r11 = nil
        asm.move(HostRegister.r11, HostRegister.rax)
        asm.byte(0x9F)  // lahf
        asm.bytes(0x0F, 0x90, 0xC0)  // seto al
        asm.op(0x89, HostRegister.rax, .state(StateOffset.flags), p66: true)
        asm.move(HostRegister.rax, HostRegister.r11)
    }

    /// The state's word to EFLAGS.
    func restoreFlags() {
        asm.store(StateOffset.scratch, HostRegister.rax)
        asm.op(.two, 0xB7, HostRegister.rax, .state(StateOffset.flags))
        asm.bytes(0x04, 0x7F, 0x9E)  // add al, 127: OF from bit 0; sahf
        asm.load(HostRegister.rax, StateOffset.scratch)
    }

    /// Before something that destroys EFLAGS.
    func guardFlags() {
        if liveIn != [], flagsInHost, !flagsInState {
            saveFlags()
            flagsInState = true
        }
        flagsInHost = false
    }

    /// Before an instruction that reads flags, or keeps some that are live.
    func needFlags() {
        let keepsSome = instruction.touchesFlags && !liveOut.subtracting(instruction.kills).isEmpty
        if instruction.reads != [] || keepsSome, !flagsInHost {
            restoreFlags()
            flagsInHost = true
        }
    }

    /// After an instruction of the guest's.
    func noteFlags() {
        if instruction.touchesFlags {
            flagsInHost = true
            flagsInState = false
        }
    }

    // MARK: Slow paths

    /// A slow path for the current instruction, or for all up to `last`.
    func makePath(last: Int? = nil, bytes: Int = 0, writes: Bool = false, isGroup: Bool = false) -> Int {
        let last = last ?? index
        var touches = false, seesX87 = false
        for i in index...last {
            let instruction = block.instructions[i]
            seesX87 = seesX87 || instruction.seesX87
            touches = touches || instruction.touchesFlags || instruction.reads != []
        }
        return translator.addPath(
            SlowPath(
                first: instruction.place, count: Int32(last - index + 1), remaining: block.count - Int32(index),
                start: region.isRelocatable ? block.linear &- region.page : block.linear,
                isRelative: region.isRelocatable, resume: 0, bytes: Int32(bytes), writes: writes, touchesFlags: touches,
                seesX87: seesX87,
                needsXMM: region.usesXMM, needsX87: region.usesX87, block: block.block, isGroup: isGroup))
    }

    /// The interpreter runs the current instruction, in line.
    func helper() {
        if liveIn != [], flagsInHost, !flagsInState { saveFlags() }
        let path = makePath()
        jumpToHelper(path)
        translator.setResume(path, asm.here)
        flagsInHost = false
        flagsInState = true
    }

    func jumpToHelper(_ path: Int) {
        asm.constant(HostRegister.r11, UInt64(path))
        asm.jump(to: translator.seesX87(path) ? thunks.helperX87 : thunks.helper)
    }

    /// - Returns: its number in `cold`.
    func addCold(_ slot: UInt64, _ work: Cold.Work, path: Int) -> Int {
        cold.append(Cold(slot: slot, work: work, path: path))
        return cold.count - 1
    }

    private func emitCold(_ item: Cold) {
        if case .linkAcross(let target) = item.work { return linkAcross(item.slot, target) }
        asm.bind(item.slot)
        switch item.work {
        case .chain(let target, let save):
            if save { saveFlags() }
            chain(target)
            return
        case .link(let target):
            codeAddress(HostRegister.r10, target, wide: is64)
            asm.place(HostRegister.r11, item.slot)
            asm.jump(to: thunks.linkExit)
            return
        case .linkAcross: return
        case .interpret:
            jumpToHelper(item.path)
        case .fill(let again, let access): emitFill(access, path: item.path, again: again)
        case .moveWindow(let window, let again, let access, let writes):
            moveWindow(window, access, writes: writes, path: item.path, again: again)
        }
        guard item.resume != 0 else { return }
        if item.restoreFlags {
            translator.setResume(item.path, asm.here)
            restoreFlags()
            asm.jump(to: item.resume)
        } else {
            translator.setResume(item.path, item.resume)
        }
    }

    func emitFill(_ access: Access, path: Int, again: UInt64) {
        address(of: access)
        asm.constant(HostRegister.r11, UInt64(path))
        asm.call(translator.seesX87(path) ? thunks.fillX87 : thunks.fill)
        asm.jump(to: again)
    }

    /// R10 becomes the linear address of an access.
    func address(of access: Access) {
        let outer = block
        block = access.block
        address(HostRegister.r10, access.op, access.offset, scratch: HostRegister.r11)
        block = outer
    }

    // MARK: Going on elsewhere

    /// Leaves for a linear address. Flags are in the state's word.
    func chain(_ target: UInt64) {
        // What starts within the last 15 bytes of a page may be an instruction that goes on in the next: it is not linked to, as that
        // page may be mapped elsewhere. Other pages of a kernel stay where they are until it says otherwise.
        let isInPage = target & ~0xFFF == region.page && target & 0xFFF <= 4096 - 15
        guard isInPage || !isUser else { return dispatch(target) }
        _ = addCold(asm.jump(), isInPage ? .link(target: target) : .linkAcross(target: target), path: 0)
    }

    /// By way of the jump cache.
    private func dispatch(_ target: UInt64) {
        if region.isRelocatable {
            codeAddress(HostRegister.r10, target, wide: is64)
            return thunks.lookUp(&asm)
        }
        let entry = StateOffset.jump(target)
        asm.constant(HostRegister.r10, target)
        asm.op(0x33, HostRegister.r10, .state(StateOffset.jumpKey), wide: true)
        asm.op(0x3B, HostRegister.r10, .state(entry), wide: true)
        asm.jump(HostCondition.notEqual, to: thunks.find)
        asm.op(0xFF, 4, .state(entry + 8))
    }

    /// The translator decides when the jump is first made: it becomes a link, or goes by way of the jump cache from then on.
    private func linkAcross(_ slot: UInt64, _ target: UInt64) {
        let fallback = asm.here
        dispatch(target)
        asm.bind(slot)
        asm.place(HostRegister.r11, slot)
        asm.store(StateOffset.exitSlot, HostRegister.r11)
        asm.place(HostRegister.r11, fallback)
        asm.store(StateOffset.exitFallback, HostRegister.r11)
        asm.constant(HostRegister.r10, target)
        asm.op(0x33, HostRegister.r10, .state(StateOffset.jumpKey), wide: true)
        asm.jump(to: thunks.find)
    }

    /// An unconditional transfer to a linear address.
    func go(to linear: UInt64, next: RegionBlock?) {
        guard let target = target(linear) else {
            if flagsInHost, !flagsInState, region.liveFlags(at: linear) != [] { saveFlags() }
            return chain(linear)
        }
        if target.liveIn != [], !flagsInHost {
            restoreFlags()
            flagsInHost = true
        }
        if needsBudget(target) {
            if target.liveIn != [], !flagsInState { saveFlags() }
            asm.arithmetic(5, .state(StateOffset.budget), target.count)
            budgetFixups.append((asm.jump(HostCondition.sign), target))
            if target.liveIn != [] { restoreFlags() }
            jumpToBody(target)
        } else if next !== target {
            jumpToBody(target)
        }
    }

    /// Loops ask for the budget; for a verifier every block does.
    func needsBudget(_ target: RegionBlock) -> Bool { target.body != 0 || translator.isVerifying }

    func jumpToBody(_ target: RegionBlock) {
        if target.body != 0 { asm.jump(to: target.body) } else { bodyFixups.append((asm.jump(), target.linear)) }
    }

    func jumpToBody(_ condition: Int, _ target: RegionBlock) {
        if target.body != 0 {
            asm.jump(condition, to: target.body)
        } else {
            bodyFixups.append((asm.jump(condition), target.linear))
        }
    }

    // MARK: Entries

    private func emitWaysOut(_ block: RegionBlock) {
        block.exhausted = asm.here
        codeAddress(HostRegister.r10, block.linear, wide: is64)
        asm.constant(HostRegister.r11, UInt64(block.count))
        asm.jump(to: thunks.exhausted)
        // Links lead to an entry for as long as there is code memory: those of code that is gone go on to what took its place.
        block.dead = asm.here
        codeAddress(HostRegister.r10, block.linear, wide: is64)
        asm.jump(to: thunks.dispatch)
        if region.usesX87 { block.x87Load = emitLoad(block, thunks.loadX87) }
        if region.usesXMM { block.xmmLoad = emitLoad(block, thunks.loadXMM) }
    }

    private func emitEntry(_ block: RegionBlock) {
        asm.align(16)
        block.entry = asm.here
        if region.isRelocatable { Relocation.preamble(&asm, offset: block.linear & 0xFFF) }
        asm.arithmetic(5, .state(StateOffset.budget), block.count)
        asm.jump(HostCondition.sign, to: block.exhausted)
        if region.usesX87 { requireLive(StateOffset.x87Live, block.x87Load) }
        if region.usesXMM { requireLive(StateOffset.xmmLive, block.xmmLoad) }
        if block.liveIn != [] { restoreFlags() }
        asm.jump(to: block.body)
    }

    private func requireLive(_ offset: Int, _ load: RegionBlock.Load) {
        asm.compareByte(offset, 0)
        asm.jump(HostCondition.equal, to: load.start)
        asm.bind(load.back)
    }

    /// The thunk leaves from here where the unit may not be used as it is.
    private func emitLoad(_ block: RegionBlock, _ thunk: UInt64) -> RegionBlock.Load {
        let start = asm.here
        codeAddress(HostRegister.r10, block.linear, wide: is64)
        asm.constant(HostRegister.r11, UInt64(block.count))
        asm.call(thunk)
        return RegionBlock.Load(start: start, back: asm.jump())
    }
}
