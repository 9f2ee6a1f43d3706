/// BT, BTS, BTR and BTC of memory at a bit offset in a register, which reaches whole operands away from the address (SDM vol. 2, BT).
extension Emitter {
    func bitTestMemory() {
        let instruction = instruction
        let op = instruction.op
        let isWide = op.size == 3
        let bytes = isWide ? 8 : 4
        let r10 = HostRegister.r10, r11 = HostRegister.r11
        guardFlags()
        let path = makePath()
        requirePlainSegment(op, path)
        let guest = Int(instruction.encoding.reg)
        let source = HostRegister.of(guest: guest).map(HostOperand.register) ?? .state(StateOffset.gpr(guest))

        // The signed offset in whole operands.
        asm.op(isWide ? 0x8B : 0x63, r11, source, wide: true)
        asm.op(0xC1, 7, .register(r11), wide: true)
        asm.byte(isWide ? 6 : 5)
        asm.op(0xC1, 4, .register(r11), wide: true)
        asm.byte(isWide ? 3 : 2)
        asm.store(StateOffset.scratch + 8, r11)
        address(r10, op, 0, scratch: r11)
        asm.op(0x03, r10, .state(StateOffset.scratch + 8), wide: is64)
        asm.store(StateOffset.scratch + 8, r10)

        asm.lea(r11, base: r10, Int32(bytes - 1))
        compareTag(writes: op.sub != 0)
        interpretIf(HostCondition.notEqual, path)
        loadAddend(writes: op.sub != 0)
        asm.op(0x03, r10, .state(StateOffset.scratch + 8), wide: true)
        asm.op(0x8B, r11, source)
        asm.arithmetic(4, .register(r11), Int32(8 * bytes - 1), wide: false)
        // What is left of the flags is kept.
        needFlags()
        asm.op(.two, instruction.encoding.opcode, r11, .memory(base: r10), wide: isWide)
        noteFlags()
    }
}
