#if arch(x86_64)
    import Testing

    @testable import Emulator

    @Suite("x87 against the host's processor") struct X87HostTests {
        /// Images and approximated functions have tests of their own.
        static let excluded: Set<String> = [
            "fnsave", "frstor", "fnstenv", "fldenv", "fldcw", "fsin", "fcos", "fsincos", "fptan", "fpatan", "f2xm1",
            "fyl2x", "fyl2xp1", "fwait",
        ]

        /// D9 D8+i is an undocumented FSTP that does not notice an empty stack on all processors.
        static let rows = OpcodeTable.shared.rows.filter {
            $0.family == .x87 && !excluded.contains($0.mnemonic) && !($0.opcode == 0xD9 && $0.mnemonic == "fstp_sti")
        }

        /// A random stack, control word and memory operand.
        static func state(_ lab: FPUDifferential, unmasked: Bool) -> HostCPU.State {
            var state = HostCPU.State()
            for i in 0..<16 where i != 4 { state.gpr[i] = lab.random.next() }
            state.flags = 0x202 | lab.random.next() & 0x8D5
            let masks = unmasked ? UInt16(lab.random.next() & 0x3F) : 0x3F
            let precision: UInt16 = lab.random.pick([0, 0x200, 0x300, 0x300])
            let rounding: UInt16 = lab.random.pick([0, 0, 0x400, 0x800, 0xC00])
            state.setFX(0, 0x40 | masks | precision | rounding)
            state.setFX(2, UInt16(lab.random.below(8)) << 11 | UInt16(lab.random.next() & 0x4700))
            state.setFX(4, UInt8(truncatingIfNeeded: lab.random.pick([0xFF, 0xFF, 0x7F, 0xF3, 0, lab.random.next()])))
            for i in 0..<8 {
                let value = lab.extended()
                state.setFX(32 + 16 * i, value.significand)
                state.setFX(40 + 16 * i, value.signExponent)
            }
            return state
        }

        static func memory(_ lab: FPUDifferential, _ row: OpcodeRow) -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: FPUDifferential.memorySize)
            func put<T: FixedWidthInteger>(_ value: T) {
                for i in 0..<T.bitWidth / 8 { bytes[i] = UInt8(truncatingIfNeeded: value >> T(8 * i)) }
            }
            let name = row.mnemonic
            if name.hasSuffix("_m32") {
                put(lab.single())
            } else if name.hasSuffix("_m64") {
                put(lab.double())
            } else if name == "fbld" {
                for i in 0..<10 { bytes[i] = UInt8(lab.random.below(10) * 16 + lab.random.below(10)) }
                bytes[9] = lab.random.below(2) == 0 ? 0x80 : 0
            } else if name == "fld_m80" {
                let value = lab.extended()
                put(value.significand)
                bytes[8] = UInt8(value.signExponent & 0xFF)
                bytes[9] = UInt8(value.signExponent >> 8)
            } else {
                put(
                    lab.random.below(2) == 0
                        ? lab.random.next() : UInt64(bitPattern: Int64(lab.random.below(2000) - 1000)))
            }
            return bytes
        }

        static func difference(_ row: OpcodeRow, rounds: Int, engine: Engine) throws -> String? {
            let lab = try FPUDifferential(seed: UInt64(row.code) &+ 1000, engine: engine)
            for round in 0..<rounds {
                let state = state(lab, unmasked: round & 3 == 3)
                let memory = memory(lab, row)
                let registers = (reg: UInt8(0), rm: UInt8(lab.random.below(8)))
                for code in lab.encodings(of: row, registers: registers, wide: false, immediate: 0) {
                    let result = lab.run(code, state, memory: memory)
                    let isFlagCompare = row.mnemonic.hasSuffix("comi") || row.mnemonic.hasSuffix("comip")
                    if let text = compare(result, ignoring: isFlagCompare ? 0x200 : 0) {
                        let hex = code.map { String($0, radix: 16) }.joined(separator: " ")
                        return
                            "\(row.mnemonic) [\(hex)] round \(round): \(text)\nbefore \(describe(state)) memory \(memory[0..<10])"
                    }
                }
            }
            return nil
        }

        static func describe(_ state: HostCPU.State) -> String {
            var text =
                "cw \(String(state.fx(0, as: UInt16.self), radix: 16)) sw \(String(state.fx(2, as: UInt16.self), radix: 16))"
            text += " tags \(String(state.fx(4, as: UInt8.self), radix: 2))"
            for i in 0..<8 {
                text += " \(String(state.fx(40 + 16 * i, as: UInt16.self), radix: 16)):"
                text += String(state.fx(32 + 16 * i, as: UInt64.self), radix: 16)
            }
            return text
        }

        /// - Parameter mask: status bits that processors disagree about: FCOMI's C1 is 0 on Intel's, unchanged on AMD's.
        private static func compare(_ r: FPUDifferential.Result, ignoring mask: UInt16) -> String? {
            if let fault = r.fault { return "fault \(fault)" }
            var isSame = r.guest.fx[0..<2] == r.host.fx[0..<2] && r.guest.fx[4] == r.host.fx[4]
            isSame = isSame && (r.guest.fx(2, as: UInt16.self) ^ r.host.fx(2, as: UInt16.self)) & ~mask == 0
            isSame = isSame && r.guestMemory == r.hostMemory
            isSame = isSame && r.guest.gpr == r.host.gpr && (r.guest.flags ^ r.host.flags) & 0x8D5 == 0
            for i in 0..<8 where r.guest.fx[32 + 16 * i..<42 + 16 * i] != r.host.fx[32 + 16 * i..<42 + 16 * i] {
                isSame = false
            }
            if isSame { return nil }
            return
                "\nguest  \(describe(r.guest)) memory \(r.guestMemory[0..<10]) flags \(String(r.guest.flags & 0x8D5, radix: 16))"
                + "\nhost   \(describe(r.host)) memory \(r.hostMemory[0..<10]) flags \(String(r.host.flags & 0x8D5, radix: 16))"
        }

        @Test(
            "every row gives the same stack, status and memory", arguments: rows.indices,
            [Engine.interpreter, .translator])
        func row(_ index: Int, engine: Engine) throws {
            let difference = try Self.difference(Self.rows[index], rounds: 400, engine: engine)
            #expect(difference == nil)
        }
    }
#endif
