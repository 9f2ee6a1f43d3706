/// The end of a basic block.
extension Emitter {
    func branch(next: RegionBlock?) {
        let instruction = instruction
        let op = instruction.op
        guard instruction.isNativeBranch else { return helper() }
        let mask: UInt64 = is64 ? ~0 : 0xFFFF_FFFF
        let target = (block.linear &+ UInt64(bitPattern: op.immediate)) & mask
        switch op.code {
        case .jmpRelative: go(to: target, next: next)
        case .jmpR, .jmpM: jumpIndirect()
        case .ret64, .retGeneral: ret()
        case .callRelative64, .callRelativeGeneral, .callR64, .callM64, .callIndirectGeneral: call(target)
        default: conditional(target, next: next)
        }
    }

    private func conditional(_ linear: UInt64, next: RegionBlock?) {
        let condition = instruction.op.condition
        if !flagsInHost {
            restoreFlags()
            flagsInHost = true
        }
        if let target = target(linear) {
            if !needsBudget(target) {
                jumpToBody(condition, target)
            } else if target.liveIn == [] {
                // Nobody reads flags there, so the check may destroy them.
                let over = asm.jump(condition ^ 1)
                asm.arithmetic(5, .state(StateOffset.budget), target.count)
                if target.body != 0 {
                    asm.jump(HostCondition.notSign, to: target.body)
                    budgetFixups.append((asm.jump(), target))
                } else {
                    budgetFixups.append((asm.jump(HostCondition.sign), target))
                    jumpToBody(target)
                }
                asm.bind(over)
            } else {
                let over = asm.jump(condition ^ 1)
                if !flagsInState { saveFlags() }
                asm.arithmetic(5, .state(StateOffset.budget), target.count)
                budgetFixups.append((asm.jump(HostCondition.sign), target))
                restoreFlags()
                jumpToBody(target)
                asm.bind(over)
            }
        } else {
            let saves = !flagsInState && region.liveFlags(at: linear) != []
            _ = addCold(asm.jump(condition), .chain(target: linear, saveFlags: saves), path: 0)
        }
        go(to: fallThrough, next: next)
    }

    private var fallThrough: UInt64 { block.end & (is64 ? ~0 : 0xFFFF_FFFF) }

    /// Flags go to the state's word before control leaves the region by an address that is not known.
    private func leaveFlags() {
        if flagsInHost, !flagsInState { saveFlags() }
        flagsInState = true
    }

    /// R10 holds where to go.
    private func indirect() {
        thunks.lookUp(&asm)
    }

    private func jumpIndirect() {
        leaveFlags()
        let op = instruction.op
        if instruction.isMemory {
            let operand = access(
                op, bytes: instruction.memoryBytes, writes: false, membership: block.accesses[index].operand,
                keepR11: false)
            asm.op(0x8B, HostRegister.r10, operand, wide: is64)
        } else {
            moveTarget(Int(op.reg))
        }
        indirect()
    }

    /// A register's value to R10, in the width of the instruction pointer.
    private func moveTarget(_ guest: Int) {
        if let host = HostRegister.of(guest: guest) {
            asm.op(0x8B, HostRegister.r10, .register(host), wide: is64)
        } else {
            asm.op(0x8B, HostRegister.r10, .state(StateOffset.gpr(guest)), wide: is64)
        }
    }

    private func ret() {
        leaveFlags()
        let bytes = is64 ? 8 : 4
        let operand = access(
            stackOperand(Register.rsp, 0), bytes: bytes, writes: false, membership: block.accesses[index].stack,
            keepR11: false)
        asm.op(0x8B, HostRegister.r10, operand, wide: is64)
        moveStack(bytes + Int(instruction.op.immediate))
        indirect()
    }

    private func call(_ target: UInt64) {
        if liveOut != [] { leaveFlags() }
        let op = instruction.op
        let bytes = is64 ? 8 : 4
        let isIndirect = op.code != .callRelative64 && op.code != .callRelativeGeneral
        if isIndirect, instruction.isMemory {
            let operand = access(
                op, bytes: instruction.memoryBytes, writes: false, membership: block.accesses[index].operand,
                keepR11: false)
            asm.op(0x8B, HostRegister.r10, operand, wide: is64)
            asm.store(StateOffset.scratch + 8, HostRegister.r10)
        }
        let operand = access(
            stackOperand(Register.rsp, -bytes), bytes: bytes, writes: true, membership: block.accesses[index].stack,
            keepR11: true)
        if region.isRelocatable {
            codeAddress(HostRegister.r11, fallThrough, wide: is64)
            asm.op(0x89, HostRegister.r11, operand, wide: is64)
        } else if !is64 {
            asm.op(0xC7, 0, operand)
            asm.int32(Int32(truncatingIfNeeded: fallThrough))
        } else if let small = Int32(exactly: Int64(bitPattern: block.end)) {
            asm.op(0xC7, 0, operand, wide: true)
            asm.int32(small)
        } else {
            asm.constant(HostRegister.r11, block.end)
            asm.op(0x89, HostRegister.r11, operand, wide: true)
        }
        if isIndirect, !instruction.isMemory { moveTarget(Int(op.reg)) }
        moveStack(-bytes)
        if !isIndirect {
            flagsInHost = false
            return go(to: target, next: nil)
        }
        if instruction.isMemory { asm.load(HostRegister.r10, StateOffset.scratch + 8) }
        indirect()
    }
}
