/// Which registers of the state R10 and R11 happen to hold as well.
///
/// A run of instructions on R10, R11 or R15 stores each result, as everybody else looks for it in the state, but need not load
/// it again. What uses the scratch registers for an address, and what can be come back to from a slow path, begins by forgetting.
extension Emitter {
    struct Held {
        var r10: Int?
        var r11: Int?
    }

    func forgetScratch() { held = Held() }

    /// The scratch register that holds a guest register.
    func holder(of guest: Int) -> Int? {
        held.r10 == guest ? HostRegister.r10 : held.r11 == guest ? HostRegister.r11 : nil
    }

    /// A scratch register for a guest register, with its value if that is read.
    ///
    /// - Parameter other: a scratch register that must stay as it is.
    func scratch(for guest: Int, reads: Bool, beside other: Int?) -> Int {
        if let holder = holder(of: guest) { return holder }
        let isFirst = other.map { $0 == HostRegister.r11 } ?? (held.r10 == nil || held.r11 != nil)
        let register = isFirst ? HostRegister.r10 : HostRegister.r11
        if reads { asm.load(register, StateOffset.gpr(guest)) }
        if isFirst { held.r10 = guest } else { held.r11 = guest }
        return register
    }
}
