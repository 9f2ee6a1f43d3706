#if arch(x86_64)
    import Seeded

    @testable import Emulator

    /// Runs one instruction on the emulator and on the host with the same state.
    final class FPUDifferential {
        let host = HostCPU()
        let bare: BareCPU
        var random: SeededRandom

        static let memorySize = 128
        /// RSI points to the memory operand.
        static let memoryRegister = 6

        init(seed: UInt64, engine: Engine = .interpreter) throws {
            bare = try BareCPU(.flat64, engine: engine)
            random = SeededRandom(seed)
        }

        // MARK: Operands

        func double() -> UInt64 {
            let exponent: UInt64 =
                switch random.below(4) {
                case 0: random.pick([0, 0, 1, 2, 0x7FF, 0x7FE, 1023, 1024, 1054, 1086, 54, 2000])
                case 1: random.next() & 0x7FF
                default: 1000 + random.next() % 60
                }
            var fraction = random.next() & 0xF_FFFF_FFFF_FFFF
            switch random.below(6) {
            case 0: fraction = 0
            case 1: fraction = 1 << UInt64(random.below(52))
            case 2: fraction &= 0xFF00_0000_0000_0
            default: break
            }
            return random.next() & 1 << 63 | exponent << 52 | fraction
        }

        func single() -> UInt32 {
            let exponent: UInt32 =
                switch random.below(4) {
                case 0: random.pick([0, 0, 1, 2, 255, 254, 127, 128, 150, 24, 200])
                case 1: UInt32(random.next() & 0xFF)
                default: 110 + UInt32(random.below(40))
                }
            var fraction = UInt32(truncatingIfNeeded: random.next()) & 0x7F_FFFF
            switch random.below(6) {
            case 0: fraction = 0
            case 1: fraction = 1 << UInt32(random.below(23))
            default: break
            }
            return UInt32(truncatingIfNeeded: random.next()) & 1 << 31 | exponent << 23 | fraction
        }

        func extended() -> X87Register {
            let exponent: UInt16 =
                switch random.below(8) {
                case 0, 1:
                    random.pick([0, 0, 1, 2, 0x3FFF, 0x3FFE, 0x403E, 0x7FFE, 0x7FFF, 0x3C01, 0x3F81, 0x3BCD, 0x3F6A])
                case 2: UInt16(random.next() & 0x7FFF)
                default: UInt16(0x3FE0 + random.below(100))
                }
            var significand = random.next()
            switch random.below(8) {
            case 0:
                significand = random.pick([
                    0, 1 << 63, 3 << 62, 1, .max, 1 << 63 | 1, .max >> 1, 0xFFFF_FFFF_FFFF_FC00, 0xA000_0000_0000_0000,
                ])
            case 1: significand &= ~0x7FF
            case 2: significand &= 0xFFFF_FF00_0000_0000
            default: break
            }
            if random.below(16) != 0 && exponent != 0 { significand |= 1 << 63 }
            return X87Register(significand: significand, signExponent: exponent | UInt16(random.next() & 0x8000))
        }

        /// A vector for integers or floats.
        func vector() -> (UInt64, UInt64) {
            switch random.below(4) {
            case 0: return (double(), double())
            case 1: return (UInt64(single()) | UInt64(single()) << 32, UInt64(single()) | UInt64(single()) << 32)
            case 2:
                // Lanes at their limits.
                let bytes: [UInt64] = [0, 1, 0x7F, 0x80, 0x81, 0xFF, 0x41, 0x10]
                func quad() -> UInt64 { (0..<8).reduce(0) { $0 << 8 | bytes[$1 ^ random.below(8)] } }
                return (quad(), quad())
            default: return (random.next(), random.next())
            }
        }

        // MARK: Running

        struct Result {
            var guest: HostCPU.State
            var host: HostCPU.State
            var guestMemory: [UInt8]
            var hostMemory: [UInt8]
            /// The vector of a fault on the emulator.
            var fault: UInt8?
        }

        func run(_ bytes: [UInt8], _ state: HostCPU.State, memory: [UInt8]) -> Result {
            var onHost = state
            onHost.gpr[Self.memoryRegister] = UInt64(UInt(bitPattern: host.scratch))
            host.scratch.copyMemory(from: memory, byteCount: memory.count)
            var after = host.run(bytes, onHost)
            after.gpr[Self.memoryRegister] = 0
            let hostMemory = [UInt8](UnsafeRawBufferPointer(start: host.scratch, count: memory.count))

            setGuest(state)
            bare[Self.memoryRegister] = BareCPU.dataAddress
            bare.write(memory, at: BareCPU.dataAddress)
            let fault = bare.run(bytes, limit: 1)
            var guest = readGuest(state)
            guest.gpr[Self.memoryRegister] = 0
            guest.gpr[4] = after.gpr[4]
            return Result(
                guest: guest, host: after, guestMemory: bare.read(memory.count, at: BareCPU.dataAddress),
                hostMemory: hostMemory, fault: fault)
        }

        private func setGuest(_ state: HostCPU.State) {
            let s = bare.s
            for i in 0..<16 where i != 4 { bare[i] = state.gpr[i] }
            s.flags = UInt32(truncatingIfNeeded: state.flags) & 0x8D5
            s.pointee.fpu.control = state.fx(0, as: UInt16.self)
            bare.cpu.setStatusWord(state.fx(2, as: UInt16.self))
            s.pointee.fpu.emptyMask = ~state.fx(4, as: UInt8.self)
            s.pointee.fpu.mxcsr = state.mxcsr
            for i in 0..<8 {
                s.pointee.fpu.registers[bare.cpu.physical(UInt8(i))] = X87Register(
                    significand: state.fx(32 + 16 * i, as: UInt64.self),
                    signExponent: state.fx(40 + 16 * i, as: UInt16.self))
            }
            for i in 0..<16 { s.xmm[i] = V128(low: state.xmm(i).0, high: state.xmm(i).1) }
        }

        private func readGuest(_ before: HostCPU.State) -> HostCPU.State {
            let s = bare.s
            var state = before
            for i in 0..<16 { state.gpr[i] = bare[i] }
            state.flags = UInt64(s.flags)
            state.setFX(0, s.pointee.fpu.control)
            state.setFX(2, bare.cpu.statusWord)
            state.setFX(4, ~s.pointee.fpu.emptyMask)
            state.mxcsr = s.pointee.fpu.mxcsr
            for i in 0..<8 {
                let value = s.pointee.fpu.registers[bare.cpu.physical(UInt8(i))]
                state.setFX(32 + 16 * i, value.significand)
                state.setFX(40 + 16 * i, value.signExponent)
            }
            for i in 0..<16 { state.setXMM(i, s.xmm[i].low, s.xmm[i].high) }
            return state
        }

        // MARK: Encodings

        /// One register and one memory encoding of a row, where it has them.
        func encodings(of row: OpcodeRow, registers: (reg: UInt8, rm: UInt8), wide: Bool, immediate: UInt8) -> [[UInt8]]
        {
            var prefix: [UInt8] = []
            switch row.prefix {
            case .p66: prefix = [0x66]
            case .pF3: prefix = [0xF3]
            case .pF2: prefix = [0xF2]
            case .any, .none: break
            }
            if wide { prefix.append(0x48) }
            let opcode: [UInt8] =
                switch row.map {
                case .one: [row.opcode]
                case .two: [0x0F, row.opcode]
                case .three38: [0x0F, 0x38, row.opcode]
                case .three3A: [0x0F, 0x3A, row.opcode]
                // No row of these families has a VEX prefix.
                case .vex0F, .vex38, .vex3A: []
                }
            let tail: [UInt8] = row.operands.contains { $0.method == .immediate } ? [immediate] : []
            if let exact = row.exactModRM { return [prefix + opcode + [exact] + tail] }
            guard row.attributes.contains(.hasModRM) else { return [prefix + opcode + tail] }
            let middle = (row.extension_ ?? registers.reg) << 3
            let isMemoryOnly = row.form == .memory
            let hasMemory = row.operands.contains {
                switch $0.method {
                case .general, .memory, .mmxRM, .xmmRM: true
                default: false
                }
            }
            var all: [[UInt8]] = []
            if !isMemoryOnly { all.append(prefix + opcode + [0xC0 | middle | registers.rm] + tail) }
            if isMemoryOnly || hasMemory && row.form != .register {
                all.append(prefix + opcode + [middle | UInt8(Self.memoryRegister)] + tail)
            }
            return all
        }
    }
#endif
