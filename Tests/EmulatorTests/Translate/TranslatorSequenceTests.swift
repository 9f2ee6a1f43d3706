#if arch(x86_64)
    import Seeded
    import Testing

    @testable import Emulator

    /// Random sequences of instructions, each run by the interpreter and as translated code by the verifier of `-accel verify`: registers,
    /// flags, memory, faults. Memory operands lie about page boundaries, loops go back, code is written over other code.
    @Suite("translated code against the interpreter") struct TranslatorSequenceTests {
        /// Rows whose operands are registers, immediates and ModRM memory.
        private static func rows(is64: Bool) -> [OpcodeRow] {
            // Control flow and ports, and what reads AF, which so many instructions leave undefined.
            let others: Set<String> = [
                "enter", "loop", "loope", "loopne", "jcxz", "call", "jmp", "ret", "xlat", "ins", "outs", "daa", "das",
                "aaa",
                "aas",
            ]
            return OpcodeTable.shared.rows.filter { row in
                if row.attributes.contains(is64 ? .invalidIn64 : .onlyIn64) { return false }
                switch row.family {
                case .integer: return !others.contains(row.mnemonic) && !row.mnemonic.hasPrefix("j")
                case .sse: return !["fxsave", "fxrstor", "ldmxcsr", "maskmovdqu", "maskmovq"].contains(row.mnemonic)
                // FCOMI's C1 is one thing on Intel's processors and another on AMD's.
                case .x87:
                    return !row.attributes.contains(.called) && !row.mnemonic.hasPrefix("fn")
                        && !row.mnemonic.contains("comi")
                case .system: return row.mnemonic == "pushf"
                }
            }
        }

        /// Registers that the sequences address memory with keep their values; the others are fair game.
        private static func instruction(_ row: OpcodeRow, is64: Bool, _ random: inout SeededRandom) -> [UInt8]? {
            var bytes: [UInt8] = []
            if row.isVEX {
                // Registers at random; the decoder refuses what does not fit.
                let map: UInt8 = row.map == .vex0F ? 1 : row.map == .vex38 ? 2 : 3
                let prefix: UInt8 = row.prefix == .p66 ? 1 : row.prefix == .pF3 ? 2 : row.prefix == .pF2 ? 3 : 0
                let usesOther = row.operands.contains { $0.method == .vexGeneral }
                bytes = [0xC4, UInt8(random.below(8)) << 5 | map]
                bytes.append(UInt8(random.below(2)) << 7 | (usesOther ? UInt8(random.below(16)) : 15) << 3 | prefix)
                // Outside of 64-bit mode the first two bits tell it from LES.
                if !is64 { bytes[1] |= 0xC0 }
            } else {
                bytes = legacyPrefixes(row, is64: is64, &random)
            }
            bytes.append(row.opcode | (row.attributes.contains(.plusRegister) ? UInt8(random.below(8)) : 0))
            return operands(row, bytes, is64: is64, &random)
        }

        private static func legacyPrefixes(_ row: OpcodeRow, is64: Bool, _ random: inout SeededRandom) -> [UInt8] {
            var bytes: [UInt8] = []
            switch row.prefix {
            case .pF3: bytes.append(0xF3)
            case .pF2: bytes.append(0xF2)
            case .p66: bytes.append(0x66)
            case .any where random.oneIn(5): bytes.append(0x66)
            default: break
            }
            if is64, random.oneIn(2) { bytes.append(0x40 | UInt8(random.below(16))) }
            if row.map != .one { bytes.append(0x0F) }
            if row.map == .three38 { bytes.append(0x38) } else if row.map == .three3A { bytes.append(0x3A) }
            return bytes
        }

        /// ModRM, SIB, displacement and immediate behind the opcode; nil: that is no instruction.
        private static func operands(
            _ row: OpcodeRow, _ start: [UInt8], is64: Bool, _ random: inout SeededRandom
        ) -> [UInt8]? {
            var bytes = start
            if row.attributes.contains(.hasModRM) {
                var modRM = UInt8(random.below(256))
                switch row.form {
                case .memory: if modRM >= 0xC0 { modRM &= 0x7F }
                case .register: modRM |= 0xC0
                case .any: break
                }
                if let selector = row.extension_ { modRM = modRM & 0xC7 | selector << 3 }
                if let exact = row.exactModRM { modRM = exact }
                bytes.append(modRM)
                if modRM < 0xC0 {
                    if modRM & 7 == 4 { bytes.append(UInt8(random.below(256))) }
                    // Small displacements, so that accesses meet.
                    let isWide = modRM >> 6 == 2 || modRM >> 6 == 0 && modRM & 7 == 5
                    if modRM >> 6 == 1 { bytes.append(UInt8(bitPattern: Int8(random.below(96) - 48))) }
                    if isWide { bytes += [UInt8(random.below(256)), UInt8(random.below(2)), 0, 0] }
                }
            }
            bytes += (0..<8).map { _ in UInt8(random.below(256)) }
            let key =
                is64 ? ModeKey.code64 | ModeKey.flat | ModeKey.stack32 : ModeKey.code32 | ModeKey.flat | ModeKey.stack32
            let length = bytes.withUnsafeBufferPointer { buffer in
                guard let base = buffer.baseAddress else { return 0 }
                var decoder = Decoder(bytes: base, available: buffer.count, mode: Decoder.Mode(key: key))
                guard case .decoded = decoder.decode(), decoder.op.code != .undefined else { return 0 }
                return Int(decoder.op.length)
            }
            return length == 0 ? nil : Array(bytes[..<length])
        }

        /// Stack work, calls and returns, that no row makes at random.
        private static func extra(is64: Bool, _ random: inout SeededRandom) -> [UInt8] {
            switch random.below(8) {
            case 0: return [0x53, 0x58]  // push rbx; pop rax
            case 1: return [0xE8, 0, 0, 0, 0, 0x59]  // call next; pop rcx
            case 2: return [0x68, 1, 2, 3, 4, 0x5A]  // push imm; pop rdx
            case 3: return [0x55, is64 ? 0x90 : 0x60, is64 ? 0x90 : 0x61, 0x5D]  // push rbp; (pusha; popa); pop rbp
            case 4: return [0xFF, 0x33, 0x8F, 0xC0]  // push [rbx]; pop rax
            case 5: return [0x75, 0x02, 0x90, 0x90]  // jnz over two nops
            case 6: return [0x3C, 0x10, 0x72, 0x01, 0x40].dropLast(is64 ? 1 : 0) + (is64 ? [0x90] : [])
            default: return [0xEB, 0x00]
            }
        }

        /// Where code runs, and as whose: kernels' code is made for its addresses, that of users for any (Relocation.swift).
        enum Place: CaseIterable {
            case kernel32, kernel64, user64

            var is64: Bool { self != .kernel32 }
            /// What is added to addresses of memory.
            var base: UInt64 { self == .user64 ? BareCPU.userBase : 0 }
        }

        /// - Returns: the report of the first difference.
        static func run(seed: UInt64, _ place: Place, sequences: Int) throws -> (report: String?, compared: UInt64) {
            var random = SeededRandom(seed)
            let is64 = place.is64
            let bare = try BareCPU(is64 ? .flat64 : .flat32, engine: .verify)
            if place == .user64 { bare.enterUserMode() }
            var report: String?
            bare.cpu.enginesDiffer = { report = $0 }
            let rows = rows(is64: is64)
            for _ in 0..<sequences {
                var code: [UInt8] = []
                for _ in 0..<2 + random.below(18) {
                    if random.oneIn(6) { code += extra(is64: is64, &random) }
                    if let bytes = instruction(random.pick(rows), is64: is64, &random) { code += bytes }
                }
                // A loop of three rounds, by a counter in memory that nothing else addresses.
                if random.oneIn(2), code.count < 100 {
                    let back = UInt8(truncatingIfNeeded: -(code.count + 2 + 7))
                    code += is64 ? [0xFF, 0x0C, 0x25, 0, 0, 6, 0] : [0xFF, 0x0D, 0, 0, 6, 0, 0x90]
                    code += [0x75, back]
                }
                for i in 0..<16 where i != Register.rsp {
                    let page = (random.oneIn(2) ? place.base : 0) + BareCPU.dataAddress + UInt64(random.below(4)) << 12
                    bare[i] = random.oneIn(3) ? random.next() : page + UInt64(random.below(128)) &- 64
                    if !is64 { bare[i] &= 0xFFFF_FFFF }
                }
                bare[Register.rsp] = place.base + 0x5_0000 + UInt64(random.below(3)) * 8
                bare.write([3, 0, 0, 0], at: 0x6_0000)
                for i in 0..<16 { bare.s.xmm[i] = V128(low: random.next(), high: random.next()) }
                bare.s.pointee.fpu.control = 0x37F
                bare.s.pointee.fpu.status = 0
                bare.s.flags = UInt32(truncatingIfNeeded: random.next()) & 0x8D5
                // Here and there across a page.
                let start =
                    BareCPU.codeAddress
                    + (random.oneIn(4) ? 0xFF0 - UInt64(random.below(32)) : UInt64(random.below(64)) * 8)
                bare.write(code + [0xEB, 0xFE], at: start)
                bare.s.pointee.rip = place.base + start
                bare.s.pointee.fault.isPending = false
                run(bare, until: place.base + start + UInt64(code.count))
                if let report { return ("seed \(seed): " + report, bare.cpu.translator?.verifier?.comparisons ?? 0) }
            }
            return (nil, bare.cpu.translator?.verifier?.comparisons ?? 0)
        }

        private static func run(_ bare: BareCPU, until end: UInt64) {
            for _ in 0..<60 where bare.s.pointee.rip != end {
                bare.s.pointee.budget = 100
                if case .fault = bare.cpu.execute() {
                    bare.s.pointee.fault.isPending = false
                    return
                }
            }
        }

        @Test("random sequences leave the same registers, flags, memory and faults", arguments: Place.allCases)
        func sequences(place: Place) throws {
            let budget = FuzzBudget(rounds: 24)
            var compared: UInt64 = 0
            try budget.run("sequences") { seed in
                let result = try Self.run(seed: seed, place, sequences: 50)
                #expect(result.report == nil)
                compared += result.compared
            }
            #expect(compared > 1000, "hardly anything was compared")
        }
    }
#endif
