#if arch(x86_64)
    import Testing

    @testable import Emulator

    @Suite("MMX and SSE against the host's processor") struct SSEHostTests {
        /// What cannot be compared one instruction at a time: state images, stores through RDI, approximations.
        static let excluded: Set<String> = [
            "fxsave", "fxrstor", "ldmxcsr", "stmxcsr", "maskmovdqu", "maskmovq", "clflush", "clflushopt", "clwb",
            "rcpss", "rcpps", "rsqrtss",
            "rsqrtps",
        ]

        static let rows = OpcodeTable.shared.rows.filter {
            $0.family == .sse && !excluded.contains($0.mnemonic) && $0.runsOnHost
        }

        /// - Returns: a description of the first difference.
        static func difference(_ row: OpcodeRow, rounds: Int, engine: Engine) throws -> String? {
            let lab = try FPUDifferential(seed: UInt64(row.code) &+ 1, engine: engine)
            for round in 0..<rounds {
                var state = HostCPU.State()
                for i in 0..<16 where i != 4 {
                    state.gpr[i] = lab.random.below(3) == 0 ? UInt64(lab.random.below(20)) : lab.random.next()
                }
                state.flags = 0x202 | lab.random.next() & 0x8D5
                for i in 0..<16 {
                    let v = lab.vector()
                    state.setXMM(i, v.0, v.1)
                }
                if round & 1 != 0 {
                    state.mxcsr = 0x1F80 | UInt32(truncatingIfNeeded: lab.random.next()) & 0xE07F
                }
                state.setFX(4, UInt8(0xFF))
                for i in 0..<8 {
                    state.setFX(32 + 16 * i, lab.vector().0)
                    state.setFX(40 + 16 * i, UInt16(0xFFFF))
                }
                // Shift counts are small now and then.
                if lab.random.below(3) == 0 {
                    state.setXMM(2, UInt64(lab.random.below(70)), 0)
                    state.setFX(64, UInt64(lab.random.below(70)))
                }
                let v = lab.vector(), w = lab.vector()
                var memory = [UInt8](repeating: 0, count: FPUDifferential.memorySize)
                for i in 0..<8 {
                    memory[i] = UInt8(truncatingIfNeeded: v.0 >> UInt64(8 * i))
                    memory[8 + i] = UInt8(truncatingIfNeeded: v.1 >> UInt64(8 * i))
                    memory[16 + i] = UInt8(truncatingIfNeeded: w.0 >> UInt64(8 * i))
                }
                let codes = lab.encodings(
                    of: row, registers: (reg: UInt8(1 + lab.random.below(3)), rm: UInt8(lab.random.below(3))),
                    wide: lab.random.below(2) == 0, immediate: UInt8(truncatingIfNeeded: lab.random.next()))
                for code in codes {
                    let result = lab.run(code, state, memory: memory)
                    if let text = compare(row, result) {
                        let hex = code.map { String($0, radix: 16) }.joined(separator: " ")
                        return
                            "\(row.mnemonic) [\(hex)] round \(round) mxcsr \(String(state.mxcsr, radix: 16)): \(text)"
                    }
                }
            }
            return nil
        }

        private static func compare(_ row: OpcodeRow, _ r: FPUDifferential.Result) -> String? {
            func hex(_ v: (UInt64, UInt64)) -> String { String(v.1, radix: 16) + ":" + String(v.0, radix: 16) }
            if let fault = r.fault { return "fault \(fault)" }
            for i in 0..<16 where r.guest.xmm(i) != r.host.xmm(i) {
                return "xmm\(i) \(hex(r.guest.xmm(i))) expected \(hex(r.host.xmm(i)))"
            }
            for i in 0..<16 where r.guest.gpr[i] != r.host.gpr[i] {
                return "gpr\(i) \(String(r.guest.gpr[i], radix: 16)) expected \(String(r.host.gpr[i], radix: 16))"
            }
            if r.guest.mxcsr != r.host.mxcsr {
                return "mxcsr \(String(r.guest.mxcsr, radix: 16)) expected \(String(r.host.mxcsr, radix: 16))"
            }
            if r.guestMemory != r.hostMemory {
                return "memory \(r.guestMemory[0..<24]) expected \(r.hostMemory[0..<24])"
            }
            if r.guest.fx[0..<5] != r.host.fx[0..<5] { return "x87 \(r.guest.fx[0..<5]) expected \(r.host.fx[0..<5])" }
            for i in 0..<8 {
                let range = 32 + 16 * i..<42 + 16 * i
                if r.guest.fx[range] != r.host.fx[range] {
                    return "mm\(i) \(r.guest.fx[range]) expected \(r.host.fx[range])"
                }
            }
            let mask = UInt64(0x8D5 & ~row.flagsUndefined)
            if (r.guest.flags ^ r.host.flags) & mask != 0 {
                return
                    "flags \(String(r.guest.flags & 0x8D5, radix: 16)) expected \(String(r.host.flags & 0x8D5, radix: 16))"
            }
            return nil
        }

        @Test(
            "every row gives the same registers, memory and flags", arguments: rows.indices,
            [Engine.interpreter, .translator])
        func row(_ index: Int, engine: Engine) throws {
            let difference = try Self.difference(Self.rows[index], rounds: 200, engine: engine)
            #expect(difference == nil)
        }
    }
#endif
