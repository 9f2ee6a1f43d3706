#if arch(x86_64)
    import Seeded

    @testable import Emulator

    /// Streams of a dozen random general-purpose instructions, run by an engine and by the host's own processor: registers,
    /// flags and memory must agree afterwards. 64-bit mode, the one that the host runs for us.
    struct CPUStreamFuzz {
        /// The memory operand's page: the same address for guest and host, so that no register tells them apart.
        private static let dataAddress: UInt = 0x20_0000
        private static let length = 12
        /// What a stream cannot have: faults, results that the manual leaves undefined, what asks for the processor's kind.
        private static let excluded: Set<String> = [
            "div", "idiv", "bsf", "bsr", "shld", "shrd", "cpuid", "rdtsc", "rdtscp", "rdpmc", "xgetbv", "rdrand",
            "rdseed",
            "int", "int3", "into", "popf", "pushf", "hlt", "ud2",
        ]
        private static let rows = IntegerHostTests.rows.map { OpcodeTable.shared.rows[$0] }.filter {
            !excluded.contains($0.mnemonic)
        }
        /// cmp eax, ecx: gives every arithmetic flag a value again.
        private static let settle: [UInt8] = [0x39, 0xC8]

        private let host: HostCPU
        private let bare: BareCPU
        /// False where the host did not give the page that both need.
        let isPossible: Bool

        init() throws {
            host = HostCPU(scratchAddress: Self.dataAddress)
            bare = try BareCPU(.flat64)
            isPossible = UInt(bitPattern: host.scratch) == Self.dataAddress
        }

        private struct Snapshot {
            var gpr: [UInt64]
            var flags: UInt32
            var data: [UInt8]
        }

        private func snapshot() -> Snapshot {
            Snapshot(
                gpr: (0..<16).map { bare[$0] }, flags: bare.s.flags, data: bare.read(4096, at: UInt64(Self.dataAddress))
            )
        }

        private func restore(_ snapshot: Snapshot) {
            for i in 0..<16 { bare[i] = snapshot.gpr[i] }
            bare.s.flags = snapshot.flags
            bare.write(snapshot.data, at: UInt64(Self.dataAddress))
        }

        /// One stream.
        /// - Returns: what differs, and for which bytes; nil when nothing does.
        func difference(seed: UInt64, engine: FuzzEngine) -> String? {
            var random = SeededRandom(seed)
            var first = Snapshot(gpr: [], flags: 0x202 | UInt32(random.next() & 0x8D5), data: random.bytes(4096))
            first.gpr = (0..<16).map { _ in IntegerHostTests.operand(&random) }
            first.gpr[Register.rsp] = BareCPU.stackTop
            first.gpr[Register.rbx] = UInt64(Self.dataAddress) + 1024 + UInt64(random.below(16)) * 16
            restore(first)
            let code = makeStream(&random, base: first.gpr[Register.rbx])
            guard !code.isEmpty else { return nil }
            // All at once: blocks, not single instructions.
            restore(first)
            bare.write(code + [0xF4], at: BareCPU.codeAddress)
            bare.s.pointee.rip = BareCPU.codeAddress
            bare.s.pointee.halted = false
            _ = engine.run(bare.cpu, 1000)
            return compare(code, from: first)
        }

        /// Adds instructions that neither fault nor lose the memory operand's address.
        private func makeStream(_ random: inout SeededRandom, base: UInt64) -> [UInt8] {
            var code: [UInt8] = []
            for _ in 0..<Self.length {
                let row = random.pick(Self.rows)
                guard let (bytes, memory) = IntegerHostTests.encoding(row, &random) else { continue }
                // Bit strings reach as far as their offset says.
                if memory, row.mnemonic.hasPrefix("bt"), row.extension_ == nil { continue }
                let isLoose = row.flagsUndefined != 0 || IntegerHostTests.shifts.contains(row.mnemonic)
                let before = snapshot()
                guard bare.run(bytes + (isLoose ? Self.settle : [])) == nil, bare[Register.rbx] == base,
                    bare[Register.rsp] == BareCPU.stackTop
                else {
                    bare.s.pointee.fault.isPending = false
                    restore(before)
                    continue
                }
                code += bytes + (isLoose ? Self.settle : [])
            }
            return code
        }

        private func compare(_ code: [UInt8], from first: Snapshot) -> String? {
            var state = HostCPU.State()
            state.gpr = first.gpr
            state.flags = UInt64(first.flags)
            host.scratch.copyMemory(from: first.data, byteCount: 4096)
            let after = host.run(code, state)
            let text = code.map { hex($0, 2) }.joined(separator: " ")
            for i in 0..<16 where i != Register.rsp && after.gpr[i] != bare[i] {
                return "\(text): register \(i) is \(hex(bare[i], 16)), the host has \(hex(after.gpr[i], 16))"
            }
            let mask = UInt64(RFLAGS.arithmetic)
            if after.flags & mask != UInt64(bare.s.flags) & mask {
                return "\(text): flags are \(hex(bare.s.flags, 8)), the host has \(hex(after.flags, 8))"
            }
            let data = [UInt8](UnsafeRawBufferPointer(start: host.scratch, count: 4096))
            return data == bare.read(4096, at: UInt64(Self.dataAddress)) ? nil : "\(text): memory"
        }
    }
#endif
