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

    /// An access to the stack failed: #SS(0) where its address is not canonical (SDM vol. 3, 6.15).
    @inline(never) func stackAccessFaulted() {
        if state.pointee.fault.isPending, state.pointee.fault.isNonCanonical { raise(Vector.ss, errorCode: 0) }
    }

    /// An operation faulted: what its memory operand addresses through rSP or rBP is the stack.
    @inline(never) func operationFaulted(_ op: Op) {
        if op.pointee.prefixes.isSuperset(of: [.memory, .stackSegment]) { stackAccessFaulted() }
    }

    /// #UD.
    @discardableResult
    func undefinedOpcode() -> Outcome { raise(Vector.ud) }
}
