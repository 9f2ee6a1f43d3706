enum X87Code: UInt16, CaseIterable { case fninit, fnstcw, fnstsw, fnstswax, fwait, fldcw, fnclex }
enum SSECode: UInt16, CaseIterable { case fxsave, fxrstor, ldmxcsr, stmxcsr, fence }
enum ShimTable {
    static let text: StaticString = """
        DB =E3 fninit - x87
        DB =E2 fnclex - x87
        D9 /7m fnstcw Mw x87
        D9 /5m fldcw Mw x87
        DD /7m fnstsw Mw x87
        DF =E0 fnstswax - x87
        9B fwait - x87
        0F AE /0m fxsave M sse
        0F AE /1m fxrstor M sse
        0F AE /2m ldmxcsr M sse
        0F AE /3m stmxcsr M sse
        0F AE /5r fence - sse
        0F AE /6r fence - sse
        0F AE /7r fence - sse
        0F AE /7m fence M sse
        """
}
extension CPU {
    func executeX87(_ op: Op) -> Outcome {
        if state.pointee.fpuTrapped { return raise(Vector.nm) }
        switch X87Code(rawValue: op.pointee.sub)! {
        case .fninit: state.pointee.fpu.control = 0x37F; state.pointee.fpu.status = 0
        case .fnstcw: return state.store(op, state.pointee.fpu.control) ? .next : .fault
        case .fnstsw: return state.store(op, state.pointee.fpu.status) ? .next : .fault
        case .fnstswax: state.setRegister(0, state.pointee.fpu.status)
        default: break
        }
        return .next
    }
    func executeSSE(_ op: Op) -> Outcome {
        switch SSECode(rawValue: op.pointee.sub)! {
        case .fxsave:
            guard let a = state.linear(op, size: 512, write: true) else { return .fault }
            for i in 0..<64 { guard state.store(a + UInt64(i * 8), i == 3 ? UInt64(0xFFFF) << 32 | 0x1F80 : UInt64(0)) else { return .fault } }
        default: break
        }
        return .next
    }
}
extension OpcodeTable { static let texts = [OpcodeTableInteger.text, OpcodeTableSystem.text, ShimTable.text] }
