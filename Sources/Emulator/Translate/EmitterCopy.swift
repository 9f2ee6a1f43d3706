/// Instructions that are written again as they are, with other registers and operands.
extension Emitter {
    /// Without ModRM: nothing names a register, so only prefixes of memory operands go.
    func verbatim() {
        needFlags()
        let encoding = instruction.encoding
        let first = encoding.opcodeOffset - (encoding.map == .one ? 0 : encoding.map == .two ? 1 : 2)
        if encoding.has66 { asm.byte(0x66) }
        if encoding.repeatPrefix != 0, instruction.row?.pointee.prefix != .any { asm.byte(encoding.repeatPrefix) }
        if encoding.hasREX { asm.byte(encoding.rex) }
        for i in first..<Int(instruction.op.length) { asm.byte(instruction.bytes[i]) }
        noteFlags()
    }

    func copy() {
        let instruction = instruction
        let encoding = instruction.encoding
        let isMemory = instruction.isMemory

        // ModRM.reg
        var reg = Int(encoding.reg), regHome: Int?
        if instruction.regIsExtension {
            reg = Int(encoding.modRM >> 3 & 7)
        } else if instruction.regIsGeneral, !instruction.isHighByte(encoding.reg, instruction.regIsByte) {
            if let host = HostRegister.of(guest: reg) {
                reg = host
            } else {
                regHome = StateOffset.gpr(reg)
                reg = HostRegister.r11
            }
        }

        // ModRM.rm
        let rm: HostOperand
        var rmHome: Int?
        if isMemory {
            rm = access(
                instruction.op, bytes: instruction.memoryBytes, writes: instruction.writesMemory,
                membership: block.accesses[index].operand, keepR11: regHome != nil, isAligned: instruction.isAligned)
        } else if instruction.rmIsGeneral, !instruction.isHighByte(encoding.rm, instruction.rmIsByte) {
            if let host = HostRegister.of(guest: Int(encoding.rm)) {
                rm = .register(host)
            } else {
                rmHome = StateOffset.gpr(Int(encoding.rm))
                asm.load(HostRegister.r10, StateOffset.gpr(Int(encoding.rm)))
                rm = .register(HostRegister.r10)
            }
        } else {
            rm = .register(Int(encoding.rm))
        }

        needFlags()
        if let home = regHome {
            if rmHome == home {
                // One register twice: one copy of it.
                reg = HostRegister.r10
                regHome = nil
            } else {
                asm.load(HostRegister.r11, home)
            }
        }
        // A repeat prefix counts only where it is part of the opcode; elsewhere it may mean another instruction on the host.
        let prefix = instruction.row?.pointee.prefix
        let isMandatory = prefix == .pF3 || prefix == .pF2
        // 82h is 80h, and does not exist in 64-bit code.
        let opcode = encoding.map == .one && encoding.opcode == 0x82 ? 0x80 : encoding.opcode
        asm.op(
            encoding.map, opcode, reg, rm, wide: encoding.isWide, p66: encoding.has66,
            repeatPrefix: isMandatory ? encoding.repeatPrefix : 0, forceREX: encoding.hasREX)
        for i in encoding.immediateOffset..<Int(instruction.op.length) { asm.byte(instruction.bytes[i]) }
        if let regHome { asm.store(regHome, HostRegister.r11) }
        if let rmHome { asm.store(rmHome, HostRegister.r10) }
        noteFlags()
    }
}
