/// The engines' loop: block after block, each interpreted or, when it is hot, entered as translated code.
extension CPU {
    /// Why `execute` came back.
    enum Stop {
        /// The budget is used up, or a request wants to be looked at.
        case budget
        /// An instruction ended the run of blocks (mode change, IF, HLT, …): look at everything before going on.
        case boundary
        /// A fault is pending in the state; `rip` is the faulting instruction.
        case fault
    }

    /// Runs blocks from `state.rip` until the budget ends or something must be looked at.
    @inline(never) func execute() -> Stop {
        let s = state
        let translator = singleStepping ? nil : translator
        guard var block = singleStepping ? lookup() : jump() else { return .fault }
        while true {
            if let translator {
                if block.pointee.entry != nil || block.pointee.heat >= translator.hotness {
                    switch translator.run(self, &block) {
                    case .next: continue
                    case .interpret: break
                    case .stop(let stop): return stop
                    }
                } else {
                    block.pointee.heat &+= 1
                }
            }
            let start = s.pointee.rip
            s.setGPR64(UInt8(Register.blockIP), start)
            if s.pointee.budget <= 0 { return .budget }
            s.pointee.budget &-= Int(block.pointee.count)
            var op = UnsafePointer(block.ops)
            var step: Step
            while true {
                step = perform(op, start)
                if step != .done { break }
                op += 1
            }

            // The block was left; the fast exits follow a link to the next one.
            switch step {
            case .next:
                if let next = block.pointee.next, next.pointee.isLive {
                    block = next
                    continue
                }
            case .taken:
                if let taken = block.pointee.taken, taken.pointee.isLive {
                    block = taken
                    continue
                }
            case .done, .indirect: break
            case .leave:
                // Also where it leads to itself (an INT or CALL whose target it is), which would run for ever uncounted.
                giveBack(block, from: op, isDone: true)
                return .boundary
            case .fault:
                operationFaulted(op)
                giveBack(block, from: op, isDone: false)
                s.pointee.rip = start &+ UInt64(op.pointee.offset)
                return .fault
            case .stale:
                giveBack(block, from: op, isDone: false)
                s.pointee.rip = start &+ UInt64(op.pointee.offset)
                maskPointer()
            }
            if s.pointee.budget <= 0 { return .budget }
            let from = block, epoch = blocks.epoch
            guard let found = jump() else { return .fault }
            block = found
            if step == .next || step == .taken, epoch == blocks.epoch {
                link(from, found, start, taken: step == .taken)
            }
        }
    }

    /// A block is paid for when it is entered; what was not executed is given back, so that counts are exact.
    private func giveBack(_ block: BlockCache.Pointer, from op: UnsafePointer<DecodedOp>, isDone: Bool) {
        let executed = (op - UnsafePointer(block.ops)) + (isDone ? 1 : 0)
        giveBack(Int(block.pointee.count) - executed)
    }
}
