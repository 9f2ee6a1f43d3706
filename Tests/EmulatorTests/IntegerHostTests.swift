#if arch(x86_64)
    import Seeded
    import Testing

    @testable import Emulator

    /// Every general-purpose row that touches nothing but registers, flags and one memory operand, against the host's own
    /// processor: random operands, all registers, the memory, and all flags except those the row leaves undefined.
    @Suite("general-purpose instructions against the host's processor") struct IntegerHostTests {
        /// Control flow, stacks and strings need more than an operand; their tests are elsewhere.
        private static let others: Set<String> = [
            "push", "pop", "enter", "leave", "call", "jmp", "ret", "loop", "loope", "loopne", "jcxz", "movs", "cmps",
            "stos", "lods", "scas", "ins", "outs", "xlat", "nop", "pause", "std", "cld", "lea",
        ]
        /// OF is defined for counts of 1 only.
        static let shifts: Set<String> = ["rol", "ror", "rcl", "rcr", "shl", "shr", "sar", "shld", "shrd"]

        static let rows: [Int] = OpcodeTable.shared.rows.indices.filter { index in
            let row = OpcodeTable.shared.rows[index]
            return row.family == .integer && !row.attributes.contains(.invalidIn64) && !others.contains(row.mnemonic)
                && !row.mnemonic.hasPrefix("j") && !row.operands.contains { $0.method == .offset }
                && row.runsOnHost
        }

        static func operand(_ random: inout SeededRandom) -> UInt64 {
            let edges: [UInt64] = [
                0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF,
                0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, .max,
            ]
            switch random.next() % 6 {
            case 0: return random.next() & 0xFF
            case 1: return UInt64(bitPattern: -Int64(random.next() & 0xFF))
            case 2: return edges[Int(random.next() % UInt64(edges.count))]
            default: return random.next()
            }
        }

        /// One encoding of a row: legacy and REX prefixes, ModRM with a register or [RBX]; nil where it would use RSP.
        static func encoding(_ row: OpcodeRow, _ random: inout SeededRandom) -> (
            bytes: [UInt8], memory: Bool
        )? {
            var bytes: [UInt8] = []
            let width = random.next() % 3
            if row.isVEX { return vexEncoding(row, &random) }
            if row.prefix == .pF3 {
                bytes.append(0xF3)
            } else if row.prefix == .p66 || width == 1 && row.prefix == .any {
                bytes.append(0x66)
            }
            var rex: UInt8 = (width == 2 ? 8 : 0) | UInt8(random.next() & 5)
            let hasREX = width == 2 || random.next() & 1 == 0
            if !hasREX { rex = 0 }
            let hasModRM = row.attributes.contains(.hasModRM)
            let memory = hasModRM && (row.form == .memory || row.form == .any && random.next() % 3 == 0)
            var modRM = UInt8(truncatingIfNeeded: random.next()) & 0x3F
            if memory {
                modRM = modRM & 0x38 | 3
                rex &= ~1
            } else {
                modRM |= 0xC0
            }
            if let selector = row.extension_ { modRM = modRM & 0xC7 | selector << 3 }
            let register = modRM >> 3 & 7 | (rex & 4) << 1, rm = modRM & 7 | (rex & 1) << 3
            // RSP is the harness's; RBX, and so BH, addresses the memory operand, at another place on the host.
            let isAddress = register == 3 || register == 7 && !hasREX
            if hasModRM && row.extension_ == nil && (register == 4 || memory && isAddress) { return nil }
            if hasModRM && !memory && rm == 4 { return nil }
            if hasREX { bytes.append(0x40 | rex) }
            if row.map != .one { bytes.append(0x0F) }
            if row.map == .three38 { bytes.append(0x38) }
            var opcode = row.opcode
            if row.attributes.contains(.plusRegister) { opcode |= UInt8(random.next() & 7) }
            let isInOpcode = row.operands.contains { $0.method == .opcodeRegister }
            if isInOpcode && opcode & 7 | (rex & 1) << 3 == 4 { return nil }
            bytes.append(opcode)
            if hasModRM { bytes.append(modRM) }
            for _ in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: random.next())) }
            let length = bytes.withUnsafeBufferPointer { buffer in
                var decoder = Decoder(bytes: buffer.baseAddress!, available: buffer.count, mode: Decoder.Mode(key: 15))
                guard case .decoded = decoder.decode(), decoder.op.code != .undefined else { return 0 }
                return Int(decoder.op.length)
            }
            return length == 0 ? nil : (Array(bytes[..<length]), memory)
        }

        /// The same with a VEX prefix of three bytes. RSP is nobody's, RBX only the address.
        private static func vexEncoding(_ row: OpcodeRow, _ random: inout SeededRandom) -> (
            bytes: [UInt8], memory: Bool
        )? {
            func register() -> UInt8 {
                let number = UInt8(random.next() & 15)
                return number == 4 || number == 3 ? 12 : number
            }
            let memory = random.next() % 3 == 0
            let reg = row.extension_ ?? register(), rm = memory ? 3 : register()
            let usesOther = row.operands.contains { $0.method == .vexGeneral }
            let other = usesOther ? register() : 0
            let map: UInt8 = row.map == .vex0F ? 1 : row.map == .vex38 ? 2 : 3
            let prefix: UInt8 = row.prefix == .p66 ? 1 : row.prefix == .pF3 ? 2 : row.prefix == .pF2 ? 3 : 0
            let wide = row.vexW ?? (random.next() & 1 != 0)
            let bytes: [UInt8] = [
                0xC4, (reg & 8 == 0 ? 0x80 : 0) | 0x40 | (rm & 8 == 0 ? 0x20 : 0) | map,
                (wide ? 0x80 : 0) | (~other & 15) << 3 | prefix, row.opcode,
                (memory ? 0 : 0xC0) | (reg & 7) << 3 | rm & 7,
            ]
            let hasImmediate = row.lastOperand.method == .immediate
            return (bytes + (hasImmediate ? [UInt8(truncatingIfNeeded: random.next())] : []), memory)
        }

        @Test(
            "every row gives the same registers, flags and memory", arguments: rows,
            [Engine.interpreter, .translator])
        func row(_ index: Int, engine: Engine) throws {
            let row = OpcodeTable.shared.rows[index]
            let host = HostCPU()
            let bare = try BareCPU(.flat64, engine: engine)
            var random = SeededRandom(UInt64(index) &* 77 &+ 1)
            var compared = 0
            for _ in 0..<300 {
                guard let (bytes, memory) = Self.encoding(row, &random) else { continue }
                if row.mnemonic.hasPrefix("sh"), row.mnemonic.count == 4, bytes.contains(0x66) { continue }
                var registers = (0..<16).map { _ in Self.operand(&random) }
                let isDivision = row.mnemonic == "div" || row.mnemonic == "idiv"
                if isDivision { registers[2] = random.next() % 3 == 0 ? random.next() & 0xFF : 0 }
                let isBitOffset = row.mnemonic.hasPrefix("bt") && row.extension_ == nil
                if memory && isBitOffset { for i in registers.indices { registers[i] = random.next() % 2000 &- 1000 } }
                // 16-byte aligned for CMPXCHG16B, with room for bit offsets on both sides.
                let place = 1024 + (random.next() % 16) * 16
                var state = HostCPU.State()
                state.gpr = registers
                state.flags = 0x202 | random.next() & 0x8D5
                let data = (0..<4096).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                for (i, byte) in data.enumerated() {
                    host.scratch.storeBytes(of: byte, toByteOffset: i, as: UInt8.self)
                }
                bare.write(data, at: BareCPU.dataAddress)

                for i in 0..<16 where i != Register.rsp { bare[i] = registers[i] }
                if memory {
                    bare[Register.rbx] = BareCPU.dataAddress + place
                    state.gpr[Register.rbx] = UInt64(UInt(bitPattern: host.scratch)) + place
                }
                bare.s.flags = UInt32(state.flags)
                if let fault = bare.run(bytes) {
                    // A division that faults here would kill the test there.
                    #expect(isDivision && fault == Vector.de, "\(row.mnemonic) \(bytes) raised \(fault)")
                    continue
                }
                let after = host.run(bytes, state)
                compared += 1
                let text = "\(row.mnemonic) " + bytes.map { hex($0, 2) }.joined(separator: " ")
                var mask = UInt64(RFLAGS.arithmetic & ~row.flagsUndefined)
                if Self.shifts.contains(row.mnemonic) { mask &= ~UInt64(RFLAGS.of) }
                #expect(after.flags & mask == UInt64(bare.s.flags) & mask, "\(text): flags")
                // A scan that finds nothing leaves its destination undefined.
                let isEmptyScan = row.mnemonic.hasPrefix("bs") && row.mnemonic != "bswap" && bare.s.zf
                for i in 0..<16 where i != Register.rsp && !(memory && i == Register.rbx) && !isEmptyScan {
                    #expect(after.gpr[i] == bare[i], "\(text): register \(i)")
                }
                let bytesAfter = UnsafeRawBufferPointer(start: host.scratch, count: 4096)
                #expect(Array(bytesAfter) == bare.read(4096, at: BareCPU.dataAddress), "\(text): memory")
            }
            #expect(compared > 20, "\(row.mnemonic) was hardly compared")
        }
    }

    extension OpcodeRow {
        /// Newer instructions are compared where the host has them.
        var runsOnHost: Bool { feature.map { HostFeatures.offered[$0] } ?? true }
    }
#endif
