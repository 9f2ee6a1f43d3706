/// Exceptions and interrupts at instruction boundaries: what is delivered, in which order, and what happens when
/// delivering
/// faults itself (SDM vol. 3, chapter 6). How one is delivered stands in ExceptionDelivery.swift.
extension CPU {
    /// Who asks for a vector.
    enum EventKind {
        /// INTR or NMI.
        case hardware
        /// INT n, INT3, INTO: the gate's DPL is checked.
        case software
        case exception
    }

    /// Delivers the pending fault; `rip` is the instruction that raised it. Escalates to #DF and to the triple fault.
    func deliverPendingFault() {
        var current = state.pointee.fault
        while current.isPending {
            state.pointee.fault.isPending = false
            if current.vector == Vector.db { state.pointee.debugRegisters[7] &= ~DR7.generalDetect }
            let errorCode = current.hasErrorCode ? current.errorCode : nil
            if deliver(vector: current.vector, kind: .exception, errorCode: errorCode) { return }
            let second = state.pointee.fault
            if current.vector == Vector.df, Self.isContributory(second.vector) || second.vector == Vector.pf {
                state.pointee.fault.isPending = false
                tripleFault()
                return
            }
            if Self.isDouble(current.vector, second.vector) {
                current = PendingFault(vector: Vector.df, errorCode: 0, hasErrorCode: true, isPending: true)
            } else {
                current = second
            }
        }
    }

    /// SDM vol. 3, table 6-4.
    private static func isContributory(_ vector: UInt8) -> Bool {
        switch vector {
        case Vector.de, Vector.ts, Vector.np, Vector.ss, Vector.gp: true
        default: false
        }
    }

    /// SDM vol. 3, table 6-5: which pairs make a double fault.
    private static func isDouble(_ first: UInt8, _ second: UInt8) -> Bool {
        if isContributory(first) { return isContributory(second) }
        if first == Vector.pf { return isContributory(second) || second == Vector.pf }
        return false
    }

    /// Faults return to the instruction that raised them, with RF set in the saved flags.
    static func isFaultClass(_ vector: UInt8) -> Bool {
        switch vector {
        case Vector.de, Vector.br, Vector.ud, Vector.nm, Vector.ts, Vector.np, Vector.ss, Vector.gp, Vector.pf,
            Vector.mf, Vector.ac, Vector.xm:
            true
        default: false
        }
    }

    /// Whether `serviceInterrupts` has something to look at (cheap enough for every block boundary).
    var needsService: Bool {
        let s = state
        return s.pointee.pendingDebug != 0 || s.pointee.nmiRequest && !s.pointee.nmiBlocked
            || s.pointee.interruptRequest && s.pointee.flagsRest & RFLAGS.interrupt != 0
    }

    /// Takes what is due at an instruction boundary, in the order of SDM vol. 3, table 6-2: debug traps, NMI, INTR.
    /// Wakes from HLT. Not to be called in the shadow of MOV SS.
    ///
    /// - Returns: whether something was delivered, so that `rip` has moved.
    @discardableResult
    func serviceInterrupts() -> Bool {
        let s = state
        if s.pointee.pendingDebug != 0 {
            deliverDebugTrap()
            return true
        }
        if s.pointee.nmiRequest, !s.pointee.nmiBlocked {
            s.pointee.nmiRequest = false
            s.pointee.halted = false
            s.pointee.nmiBlocked = true
            take(Vector.nmi)
            return true
        }
        if s.pointee.interruptRequest, s.pointee.flagsRest & RFLAGS.interrupt != 0, s.pointee.interruptShadow == .none {
            guard let vector = acknowledgeInterrupt() else { return false }
            s.pointee.halted = false
            take(vector)
            return true
        }
        return false
    }

    private func take(_ vector: UInt8) {
        if !deliver(vector: vector, kind: .hardware, errorCode: nil) { deliverPendingFault() }
    }

    private func deliverDebugTrap() {
        let s = state
        s.pointee.halted = false
        setDebugCauses(s.pointee.pendingDebug)
        s.pointee.debugRegisters[7] &= ~DR7.generalDetect
        s.pointee.pendingDebug = 0
        if !deliver(vector: Vector.db, kind: .exception, errorCode: nil) { deliverPendingFault() }
    }

    /// Registers in a form for logs.
    func dump() -> String {
        let s = state.pointee
        let names = [
            "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14",
            "R15",
        ]
        var text = ""
        for (i, name) in names.enumerated() { text += "\(name)=\(hex(s.gpr[i], 16))\(i % 4 == 3 ? "\n" : " ")" }
        text += "RIP=\(hex(s.rip, 16)) RFL=\(hex(state.flags, 8)) CPL=\(s.cpl) HLT=\(s.halted ? 1 : 0)\n"
        for (name, segment) in zip(["ES", "CS", "SS", "DS", "FS", "GS"], (0..<6).map({ s.segments[$0] }))
            + [("LDT", s.ldtr), ("TR", s.tr)]
        {
            text += "\(name)=\(hex(segment.selector, 4)) \(hex(segment.base, 16)) \(hex(segment.limit, 8)) "
            text += "\(hex(segment.attributes, 4))\n"
        }
        text +=
            "GDT=\(hex(s.gdtr.base, 16)) \(hex(s.gdtr.limit, 4)) IDT=\(hex(s.idtr.base, 16)) \(hex(s.idtr.limit, 4))\n"
        text += "CR0=\(hex(s.cr0, 8)) CR2=\(hex(s.cr2, 16)) CR3=\(hex(s.cr3, 16)) CR4=\(hex(s.cr4, 8)) "
        text += "EFER=\(hex(s.efer, 8))\n"
        return text
    }
}
