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

        // Registers of the state that the two fields name.
        var reg = Int(encoding.reg), regGuest: Int?
        let exchanges =
            instruction.isMemory && instruction.regIsGeneral
            && instruction.isHighByte(encoding.reg, instruction.regIsByte)
        if instruction.regIsExtension {
            reg = Int(encoding.modRM >> 3 & 7)
        } else if instruction.regIsGeneral, !instruction.isHighByte(encoding.reg, instruction.regIsByte) {
            if let host = HostRegister.of(guest: reg) { reg = host } else { regGuest = reg }
        }
        var rm = HostOperand.register(Int(encoding.rm)), rmGuest: Int?
        if instruction.isMemory {
            rm = access(
                instruction.op, bytes: instruction.memoryBytes, writes: instruction.writesMemory,
                membership: block.accesses[index].operand, keepR11: regGuest != nil || exchanges,
                isAligned: instruction.isAligned)
        } else if instruction.rmIsGeneral, !instruction.isHighByte(encoding.rm, instruction.rmIsByte) {
            if let host = HostRegister.of(guest: Int(encoding.rm)) {
                rm = .register(host)
            } else {
                rmGuest = Int(encoding.rm)
            }
        }
        needFlags()

        if let regGuest, instruction.isMemory {
            // R10 is part of the operand. The slow path comes back with nothing in a scratch register, so this one is not held.
            reg = HostRegister.r11
            if instruction.regUse.contains(.reads) { asm.load(reg, StateOffset.gpr(regGuest)) }
        } else {
            if let rmGuest { rm = operand(ofState: rmGuest, beside: regGuest) }
            if let regGuest {
                reg = scratch(
                    for: regGuest, reads: instruction.regUse.contains(.reads), beside: rmGuest.flatMap(holder(of:)))
            }
        }
        // AH to BH become AL to BL for as long as the instruction takes.
        if exchanges {
            exchangeHalves(reg)
            reg &= 3
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
        if exchanges { exchangeHalves(reg) }
        if let regGuest, instruction.regUse.contains(.writes) { asm.store(StateOffset.gpr(regGuest), reg) }
        if let rmGuest, instruction.rmUse.contains(.writes), case .register(let register) = rm {
            asm.store(StateOffset.gpr(rmGuest), register)
        }
        noteFlags()
    }

    /// XCHG of AL and AH, or CL and CH, …: flags stay.
    private func exchangeHalves(_ register: Int) {
        let low = UInt8(register & 3)
        asm.bytes(0x86, 0xC4 | low << 3 | low)
    }

    /// ModRM.rm that names a register of the state: where it is, or in a scratch register.
    private func operand(ofState guest: Int, beside other: Int?) -> HostOperand {
        let use = instruction.rmUse
        if guest != other, holder(of: guest) == nil, instruction.rmMayBeMemory, use == .reads || instruction.rmIsByte {
            return .state(StateOffset.gpr(guest))
        }
        let reads = use.contains(.reads) || guest == other && instruction.regUse.contains(.reads)
        return .register(scratch(for: guest, reads: reads, beside: other.flatMap(holder(of:))))
    }
}
