/// PUSHF, POPF, CLI, STI, CLAC, STAC (SDM vol. 2; virtual interrupt flag: vol. 3, 20.3 and 20.4).
extension CPU {
    func pushFlags(_ op: Op) -> Outcome {
        let s = state
        let size = 1 << Int(op.pointee.size)
        // VM and RF are never seen in the image.
        var image = s.flags & 0x00FC_FFFF
        if s.pointee.isProtected, s.pointee.isVirtual8086, s.pointee.iopl < 3 {
            guard s.pointee.cr4 & CR4.vme != 0, size == 2 else { return generalProtection() }
            image = image & ~RFLAGS.interrupt | RFLAGS.iopl
            if s.pointee.flagsRest & RFLAGS.vif != 0 { image |= RFLAGS.interrupt }
        }
        return push(UInt64(image), size: size) ? .next : .fault
    }

    func popFlags(_ op: Op) -> Outcome {
        let s = state
        let size = 1 << Int(op.pointee.size)
        var stack = currentStack()
        let old = s.flags
        if s.pointee.isProtected, s.pointee.isVirtual8086, s.pointee.iopl < 3 {
            guard s.pointee.cr4 & CR4.vme != 0, size == 2 else { return generalProtection() }
            return popVirtualFlags()
        }
        guard let word = pop(&stack, size: size) else { return .fault }
        var mask = RFLAGS.arithmetic | RFLAGS.tf | RFLAGS.df | RFLAGS.nt
        if size > 2 { mask |= RFLAGS.ac | RFLAGS.id }
        let cpl = s.pointee.cpl
        if cpl <= s.pointee.iopl { mask |= RFLAGS.interrupt }
        // In virtual-8086 mode CPL is 3, so that IOPL stays.
        if cpl == 0 { mask |= RFLAGS.iopl }
        commit(stack)
        s.flags = UInt32(truncatingIfNeeded: word) & mask | old & ~(mask | RFLAGS.rf)
        return leaveIfInterruptible(old)
    }

    /// POPF of virtual-8086 mode with VME and IOPL below 3: IF of the image becomes VIF.
    private func popVirtualFlags() -> Outcome {
        let s = state
        var stack = currentStack()
        guard let word = pop(&stack, size: 2) else { return .fault }
        let image = UInt32(word)
        let wantsInterrupts = image & RFLAGS.interrupt != 0
        if image & RFLAGS.tf != 0 || wantsInterrupts && s.pointee.flagsRest & RFLAGS.vip != 0 {
            return generalProtection()
        }
        let kept: UInt32 = 0xFFFF_0000 | RFLAGS.iopl | RFLAGS.interrupt
        commit(stack)
        s.flags = image & ~kept | s.flags & kept & ~(RFLAGS.rf | RFLAGS.vif) | (wantsInterrupts ? RFLAGS.vif : 0)
        return .next
    }

    /// The loop must look at interrupts when IF has come, at single steps when TF has, and at the TLB's premises when
    /// AC changed.
    private func leaveIfInterruptible(_ old: UInt32) -> Outcome {
        let now = state.pointee.flagsRest
        if (old ^ now) & RFLAGS.ac != 0 {
            // Alignment checks of user code, and what SMAP lets supervisor code reach.
            updateMode()
            return .leave
        }
        let came = now & ~old
        if came & RFLAGS.tf != 0 { return .leave }
        return came & RFLAGS.interrupt != 0 && needsService ? .leave : .next
    }

    /// Whether CLI and STI act on IF, on VIF, or fault.
    private enum InterruptFlagAccess { case real, virtual, none }

    private var interruptFlagAccess: InterruptFlagAccess {
        let s = state.pointee
        if !s.isProtected { return .real }
        if s.isVirtual8086 {
            return s.iopl == 3 ? .real : s.cr4 & CR4.vme != 0 ? .virtual : .none
        }
        if s.cpl <= s.iopl { return .real }
        return s.cpl == 3 && s.cr4 & CR4.pvi != 0 ? .virtual : .none
    }

    func clearInterruptFlag() -> Outcome {
        switch interruptFlagAccess {
        case .real: state.pointee.flagsRest &= ~RFLAGS.interrupt
        case .virtual: state.pointee.flagsRest &= ~RFLAGS.vif
        case .none: return generalProtection()
        }
        return .next
    }

    func setInterruptFlag() -> Outcome {
        let s = state
        switch interruptFlagAccess {
        case .real:
            guard s.pointee.flagsRest & RFLAGS.interrupt == 0 else { return .next }
            s.pointee.flagsRest |= RFLAGS.interrupt
            s.pointee.interruptShadow = .sti
            // Only a request that waits already can come too early; a later one finds the next instruction done.
            return needsService ? .leave : .next
        case .virtual:
            guard s.pointee.flagsRest & RFLAGS.vip == 0 else { return generalProtection() }
            s.pointee.flagsRest |= RFLAGS.vif
        case .none: return generalProtection()
        }
        return .next
    }

    /// CLAC and STAC.
    func changeAccessCheck(_ allowed: Bool) -> Outcome {
        guard state.pointee.isProtected, state.pointee.cpl == 0 else { return undefinedOpcode() }
        let old = state.pointee.flagsRest
        state.pointee.flagsRest = allowed ? old | RFLAGS.ac : old & ~RFLAGS.ac
        if old != state.pointee.flagsRest { updateMode() }
        return .next
    }
}
