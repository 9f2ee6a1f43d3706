/// INT n, INT3, INTO and INT1 (SDM vol. 2, INT; virtual-8086 mode: vol. 3, 20.2 and 20.3).
extension CPU {
    /// The frame's return address is the next instruction: `rip` already.
    func softwareInterrupt(_ vector: UInt8) -> Outcome {
        deliver(vector: vector, kind: .software, errorCode: nil) ? .leave : .fault
    }

    /// INT1 (ICEBP) is a debug exception that checks no privilege and sets no cause in DR6.
    func interruptOne() -> Outcome {
        setDebugCauses(0)
        return deliver(vector: Vector.db, kind: .exception, errorCode: nil) ? .leave : .fault
    }

    func interruptN(_ vector: UInt8) -> Outcome {
        let s = state
        guard s.pointee.isProtected, s.pointee.isVirtual8086 else { return softwareInterrupt(vector) }
        if s.pointee.cr4 & CR4.vme != 0 {
            guard let redirected = isRedirected(vector) else { return .fault }
            if redirected { return redirectInterrupt(vector) }
        }
        return s.pointee.iopl == 3 ? softwareInterrupt(vector) : generalProtection()
    }

    /// Bit `vector` of the interrupt redirection bitmap, the 32 bytes below the I/O map: 0 sends INT n to the 8086
    /// program.
    private func isRedirected(_ vector: UInt8) -> Bool? {
        let tr = state.pointee.tr
        guard tr.isPresent, tr.type & 8 != 0, tr.limit >= 0x67 else { return false }
        guard let mapBase = loadSystem(tr.base &+ 0x66, size: 2) else { return nil }
        guard mapBase >= 32, mapBase - 1 <= UInt64(tr.limit) else { return false }
        guard let bits = loadSystem(tr.base &+ mapBase &- 32 &+ UInt64(vector / 8), size: 1) else { return nil }
        return bits >> UInt64(vector & 7) & 1 == 0
    }

    /// INT n through the 8086 program's own vector table at linear 0.
    private func redirectInterrupt(_ vector: UInt8) -> Outcome {
        let s = state
        guard let entry = loadSystem(UInt64(vector) * 4, size: 4) else { return .fault }
        let hasIOPL3 = s.pointee.iopl == 3
        var image = s.flags & 0xFFFF
        if !hasIOPL3 {
            // The program sees IOPL 3 and its virtual interrupt flag.
            image = image & ~RFLAGS.interrupt | RFLAGS.iopl
            if s.pointee.flagsRest & RFLAGS.vif != 0 { image |= RFLAGS.interrupt }
        }
        var stack = currentStack()
        guard push(&stack, UInt64(image), size: 2),
            push(&stack, UInt64(s.pointee.segments[SegmentIndex.cs].selector), size: 2),
            push(&stack, s.pointee.rip, size: 2)
        else { return .fault }
        commit(stack)
        s.pointee.stepArmed = false
        s.pointee.flagsRest &= ~(RFLAGS.tf | RFLAGS.nt | (hasIOPL3 ? RFLAGS.interrupt : RFLAGS.vif))
        loadRealCode(UInt16(entry >> 16))
        s.pointee.rip = entry & 0xFFFF
        updateMode()
        return .leave
    }
}
