/// Raising exceptions. An instruction that faults leaves its registers as they were; the loop then points `rip` at it
/// and delivers what is pending (Exceptions.swift).
extension CPU {
    /// Makes an exception without error code pending.
    @inline(never) @discardableResult
    func raise(_ vector: UInt8) -> Outcome {
        state.pointee.fault = PendingFault(vector: vector, errorCode: 0, hasErrorCode: false, isPending: true)
        return .fault
    }

    /// Makes an exception with error code pending.
    @inline(never) @discardableResult
    func raise(_ vector: UInt8, errorCode: UInt32) -> Outcome {
        state.pointee.fault = PendingFault(vector: vector, errorCode: errorCode, hasErrorCode: true, isPending: true)
        return .fault
    }

    /// #GP(0).
    @discardableResult
    func generalProtection() -> Outcome { raise(Vector.gp, errorCode: 0) }

    /// #UD.
    @discardableResult
    func undefinedOpcode() -> Outcome { raise(Vector.ud) }
}
