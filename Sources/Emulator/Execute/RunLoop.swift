/// Between blocks: faults, interrupts, single steps.
extension CPU {
    enum RunEnd {
        /// The budget is used up or a device wants the machine's attention.
        case budget
        /// HLT with nothing to wake it.
        case halted
    }

    /// Runs about `budget` instructions, or until the CPU halts.
    func run(budget: Int) -> RunEnd {
        let s = state
        s.pointee.budget = budget
        s.pointee.isKicked = false
        forfeited = 0
        s.pointee.slices &+= 1
        while true {
            // Counted, because a handler that faults at its first byte would keep the processor in this loop for good.
            if s.pointee.fault.isPending { deliverPendingFault(); s.pointee.budget &-= 1 }
            if needsService, s.pointee.interruptShadow != .stackSegment { serviceInterrupts() }
            if s.pointee.halted { return .halted }
            if s.pointee.budget <= 0 { return .budget }
            if needsStepping {
                step()
            } else {
                s.pointee.interruptShadow = .none
                // RF holds for one instruction, and only breakpoints ask for it.
                s.pointee.flagsRest &= ~RFLAGS.rf
                _ = execute()
            }
        }
    }

    /// Single step, instruction breakpoints, and the one instruction after STI or MOV SS while something waits for its end.
    var needsStepping: Bool {
        let s = state
        return s.pointee.flagsRest & RFLAGS.tf != 0
            || s.pointee.interruptShadow != .none
                && (s.pointee.interruptRequest || s.pointee.nmiRequest || s.pointee.pendingDebug != 0)
            || s.pointee.codeBreakpoints || s.pointee.dataBreakpoints || tracesInstructions
    }

    /// Runs one instruction and raises the debug exceptions that belong to its boundary.
    func step() {
        let s = state
        beginStep()
        // MOV SS holds breakpoints on its successor back as well: they are lost.
        if s.pointee.codeBreakpoints, s.pointee.interruptShadow != .stackSegment {
            let linear =
                s.pointee.is64Bit
                ? s.pointee.rip : (s.pointee.segments[SegmentIndex.cs].base &+ s.pointee.rip) & 0xFFFF_FFFF
            if instructionBreakpointHit(linear) { return }
        }
        s.pointee.flagsRest &= ~RFLAGS.rf
        s.pointee.interruptShadow = .none
        tracer?.instruction(self)
        let budget = s.pointee.budget
        // A budget of one block of one instruction: the block after it finds nothing left.
        s.pointee.budget = 1
        singleStepping = true
        let stop = execute()
        singleStepping = false
        s.pointee.budget = min(s.pointee.budget, 0) + budget - 1
        if case .fault = stop { return }
        endStep()
    }
}
