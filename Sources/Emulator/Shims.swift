enum X87Code: UInt16, CaseIterable { case fnop }
enum SSECode: UInt16, CaseIterable { case sse }
enum SystemCode: UInt16, CaseIterable { case hlt }
extension CPU {
    func executeX87(_ op: Op) -> Outcome { undefinedOpcode() }
    func executeSSE(_ op: Op) -> Outcome { undefinedOpcode() }
    func executeSystem(_ op: Op) -> Outcome { undefinedOpcode() }
    func reset() {}
    func ioPermitted(_ port: UInt16, size: Int) -> Bool { true }
}
extension OpcodeTable { static let texts = [OpcodeTableInteger.text] }
struct BootEntry {}
extension CPU {
    func deliverPendingFault() {}
    func serviceInterrupts() -> Bool { false }
    func raiseSingleStep() {}
    var instructionBreakpointsEnabled: Bool { false }
    func instructionBreakpointHit(_ linear: UInt64) -> Bool { false }
    func dump() -> String { "" }
    func start(at: BootEntry) {}
}
extension PCBoard { var bootEntry: BootEntry? { nil } }
