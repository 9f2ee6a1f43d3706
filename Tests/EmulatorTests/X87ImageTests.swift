#if arch(x86_64)
    import Testing

    @testable import Emulator

    @Suite("x87 images and transcendental functions") struct X87ImageTests {
        @Test("FNSTENV and FNSAVE write what the host writes, but for the pointers", arguments: [false, true])
        func environment(narrow: Bool) throws {
            let lab = try FPUDifferential(seed: 7)
            let prefix: [UInt8] = narrow ? [0x66] : []
            let step = narrow ? 2 : 4
            for code in [[0xD9, 0x36], [0xDD, 0x36]] as [[UInt8]] {
                for _ in 0..<200 {
                    let state = X87HostTests.state(lab, unmasked: false)
                    let memory = [UInt8](repeating: 0xA5, count: FPUDifferential.memorySize)
                    let result = lab.run(prefix + code, state, memory: memory)
                    #expect(result.fault == nil)
                    #expect(result.guestMemory[0..<3 * step] == result.hostMemory[0..<3 * step])
                    #expect(result.guestMemory[(7 * step)...] == result.hostMemory[(7 * step)...])
                    #expect(result.guest.fx[0..<5] == result.host.fx[0..<5])
                }
            }
        }

        @Test("FRSTOR takes back what FNSAVE wrote", arguments: [false, true])
        func restore(narrow: Bool) throws {
            let lab = try FPUDifferential(seed: 8)
            let prefix: [UInt8] = narrow ? [0x66] : []
            for _ in 0..<200 {
                let state = X87HostTests.state(lab, unmasked: true)
                let memory = [UInt8](repeating: 0, count: FPUDifferential.memorySize)
                let saved = lab.run(prefix + [0xDD, 0x36], state, memory: memory)
                let result = lab.run(prefix + [0xDD, 0x26], saved.guest, memory: saved.guestMemory)
                #expect(result.guest.fx[0..<5] == result.host.fx[0..<5])
                #expect(result.guest.fx[32..<160] == result.host.fx[32..<160])
            }
        }

        @Test("FXRSTOR takes back what FXSAVE wrote")
        func fxsave() throws {
            let lab = try FPUDifferential(seed: 9)
            let memory = [UInt8](repeating: 0, count: 512)
            for _ in 0..<50 {
                var state = X87HostTests.state(lab, unmasked: false)
                for i in 0..<16 {
                    let v = lab.vector()
                    state.setXMM(i, v.0, v.1)
                }
                let saved = lab.run([0x48, 0x0F, 0xAE, 0x06], state, memory: memory)
                #expect(saved.fault == nil)
                // Control, status, tags; MXCSR; ST and XMM registers.
                for range in [0..<5, 24..<28, 32..<416] { #expect(saved.guestMemory[range] == saved.hostMemory[range]) }
                let back = lab.run([0x48, 0x0F, 0xAE, 0x0E], HostCPU.State(), memory: saved.guestMemory)
                #expect(back.guest.fx[32..<416] == state.fx[32..<416])
                #expect(back.guest.fx[0..<5] == state.fx[0..<5])
            }
        }

        /// Instructions with the range of exponents in which processors agree within two units of the last place.
        static let functions: [(code: UInt8, exponents: ClosedRange<Int>, positive: Bool)] = [
            (0xF0, -80 ... -1, false), (0xF1, -20...20, true), (0xF9, -60 ... -3, false), (0xF3, -20...20, false),
            (0xFE, -60 ... -1, false), (0xFF, -60 ... -1, false),
        ]

        @Test("transcendental functions agree within one unit of the last place", arguments: functions.indices)
        func transcendental(_ index: Int) throws {
            let function = Self.functions[index]
            let lab = try FPUDifferential(seed: UInt64(index))
            for _ in 0..<2000 {
                var state = HostCPU.State()
                state.setFX(4, UInt8(3))
                let exponent = function.exponents.lowerBound + lab.random.below(function.exponents.count)
                let sign = function.positive ? 0 : UInt16(lab.random.next() & 0x8000)
                state.setFX(32, lab.random.next() | 1 << 63)
                state.setFX(40, UInt16(exponent + 16383) | sign)
                state.setFX(48, lab.random.next() | 1 << 63)
                state.setFX(56, UInt16(16383 + lab.random.below(10)) | UInt16(lab.random.next() & 0x8000))
                let result = lab.run([0xD9, function.code], state, memory: [])
                let ours = result.guest.fx(32, as: UInt64.self), theirs = result.host.fx(32, as: UInt64.self)
                let distance = Int64(bitPattern: ours &- theirs).magnitude
                let isClose = distance <= 1 || distance == 1 << 63 || distance == (1 << 63) - 1
                #expect(isClose, "\(String(ours, radix: 16)) expected \(String(theirs, radix: 16))")
                #expect(result.guest.fx[4] == result.host.fx[4])
            }
        }

        // MARK: Traps

        static let addps: [UInt8] = [0x0F, 0x58, 0xC1], paddb: [UInt8] = [0x0F, 0xFC, 0xC1],
            fadd: [UInt8] = [0xD8, 0xC1]

        @Test("CR0.TS gives #NM, CR0.EM #UD for SSE and MMX and #NM for x87")
        func traps() throws {
            for (bit, expected) in [
                (CR0.ts, [Vector.nm, Vector.nm, Vector.nm]), (CR0.em, [Vector.ud, Vector.ud, Vector.nm]),
            ] {
                let bare = try BareCPU(.flat64)
                bare.s.pointee.cr0 |= bit
                bare.s.pointee.fpuTrapped = true
                #expect([Self.addps, Self.paddb, Self.fadd].map { bare.run($0, limit: 1) } == expected)
            }
        }

        @Test("without CR4.OSFXSR SSE is undefined and MMX is not")
        func noOSFXSR() throws {
            let bare = try BareCPU(.flat64)
            bare.s.pointee.cr4 &= ~CR4.osfxsr
            #expect(bare.run(Self.addps, limit: 1) == Vector.ud)
            #expect(bare.run(Self.paddb, limit: 1) == nil)
        }

        @Test("an unaligned 16-byte operand gives #GP")
        func alignment() throws {
            let bare = try BareCPU(.flat64)
            bare[FPUDifferential.memoryRegister] = BareCPU.dataAddress + 8
            #expect(bare.run([0x0F, 0x28, 0x06], limit: 1) == Vector.gp)
            #expect(bare.run([0x0F, 0x10, 0x06], limit: 1) == nil)
        }

        @Test("an unmasked SSE exception gives #XM and leaves the destination")
        func unmaskedSSE() throws {
            let bare = try BareCPU(.flat64)
            bare.s.pointee.fpu.mxcsr = 0x1F80 & ~0x200
            bare.s.xmm[0] = V128(low: 0x3FF0_0000_0000_0000, high: 5)
            bare.s.xmm[1] = V128(low: 0, high: 0)
            #expect(bare.run([0xF2, 0x0F, 0x5E, 0xC1], limit: 1) == Vector.xm)
            #expect(bare.s.xmm[0].low == 0x3FF0_0000_0000_0000)
            #expect(bare.s.pointee.fpu.mxcsr == 0x1D84)
        }

        @Test("an unmasked x87 exception gives #MF at the next waiting instruction")
        func unmaskedX87() throws {
            let bare = try BareCPU(.flat64)
            // fninit; fldcw [rsi] with ZE unmasked; fld1; fldz; fdivp
            bare[FPUDifferential.memoryRegister] = BareCPU.dataAddress
            bare.write([0x7B, 0x03], at: BareCPU.dataAddress)
            let divide: [UInt8] = [0xDB, 0xE3, 0xD9, 0x2E, 0xD9, 0xE8, 0xD9, 0xEE, 0xDE, 0xF9]
            #expect(bare.run(divide) == nil)
            #expect(bare.run([0x9B], limit: 1) == Vector.mf)
            var isRaised = false
            bare.cpu.floatingPointError = { isRaised = true }
            bare.s.pointee.cr0 &= ~CR0.ne
            #expect(bare.run(divide) == nil)
            #expect(isRaised)
        }
    }
#endif
