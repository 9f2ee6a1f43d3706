enum X87Code: UInt16, CaseIterable { case fnop }
enum SSECode: UInt16, CaseIterable { case sse }
extension CPU {
    func executeX87(_ op: Op) -> Outcome { undefinedOpcode() }
    func executeSSE(_ op: Op) -> Outcome { undefinedOpcode() }
}
extension OpcodeTable { static let texts = [OpcodeTableInteger.text, OpcodeTableSystem.text] }
