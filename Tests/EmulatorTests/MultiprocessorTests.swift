import Testing

@testable import Emulator

@Suite("Several processors")
struct MultiprocessorTests {
    @Test(
        "firmware starts the others by INIT and a startup message, and all of them compute",
        arguments: [(2, Engine.interpreter), (4, .interpreter), (4, .translator), (16, .interpreter)])
    func othersAreStarted(count: Int, engine: Engine) throws {
        let guest = try MultiprocessorGuest()
        defer { guest.remove() }
        let machine = try guest.machine(CPUTopology(coresPerSocket: count), engine: engine)
        #expect(machine.run() == .debugExit(UInt32(count - 1)))
        let results = machine.results(of: count - 1)
        #expect(Set(results).count == 1 && results[0] != 0, "\(results)")
    }

    @Test("what they do to each other depends on the order of turns alone")
    func turnsAreDeterministic() throws {
        let guest = try MultiprocessorGuest()
        defer { guest.remove() }
        func digests() throws -> [[UInt64]] {
            let machine = try guest.machine(CPUTopology(coresPerSocket: 3))
            return (0..<40).map { _ in
                _ = machine.processors.run(budget: 1000)
                return machine.memoryDigest + machine.processors.cpus.map { $0.state.pointee.rip }
            }
        }
        #expect(try digests() == digests())
    }

    @Test("where time is counted in instructions, whole runs end in one state, clock and timers included")
    func countedRunsRepeat() throws {
        let guest = try MultiprocessorGuest()
        defer { guest.remove() }
        func end() throws -> ([StateSection], [UInt64], UInt64) {
            let clock = PCConfig.InstructionClock(shift: 3, sleeps: false)
            let machine = try guest.machine(CPUTopology(coresPerSocket: 3), instructionClock: clock)
            #expect(machine.run() == .debugExit(2))
            // No two machines have one generation ID.
            let sections = machine.savedSections().filter { $0.name != "vmgenid" }
            return (sections, machine.memoryDigest, machine.guestNanoseconds)
        }
        let (first, second) = (try end(), try end())
        #expect(first.0 == second.0 && first.1 == second.1 && first.2 == second.2)
        // Two processors ran some 164,000 instructions each, at 8 ns; the third waited for them.
        #expect((2_600_000..<4_000_000).contains(first.2), "\(first.2)")
    }

    @Test("a machine is saved and goes on with all of them, those that wait to be started included")
    func savedAndRestored() throws {
        let guest = try MultiprocessorGuest()
        defer { guest.remove() }
        let topology = CPUTopology(sockets: 2, coresPerSocket: 2)
        let path = guest.folder.appending(path: "state").path
        for turns in [0, 1, 3, 9] {
            let first = try guest.machine(topology)
            for _ in 0..<turns { _ = first.processors.run(budget: 5000) }
            try first.save(to: path)
            let second = try guest.machine(topology)
            try second.restore(from: path)
            #expect(second.savedSections() == first.savedSections())
            #expect(second.run() == .debugExit(3))
            #expect(Set(second.results(of: 3)).count == 1)
        }
        let other = try guest.machine(CPUTopology(coresPerSocket: 4))
        #expect(throws: MachineError.self) { try other.restore(from: path) }
        let single = try guest.machine(CPUTopology())
        #expect(throws: MachineError.self) { try single.restore(from: path) }
    }

    @Test("time-stamp counters of all begin at one moment")
    func counters() throws {
        let guest = try MultiprocessorGuest()
        defer { guest.remove() }
        let machine = try guest.machine(CPUTopology(coresPerSocket: 4))
        #expect(Set(machine.processors.cpus.map { $0.state.pointee.tscOffset }).count == 1)
        machine.processors.cpus[2].initialize()
        #expect(Set(machine.processors.cpus.map { $0.state.pointee.tscOffset }).count == 1)
    }

    @Test("lockstep with the interpreter is for one")
    func verifierIsRefused() throws {
        let guest = try MultiprocessorGuest()
        defer { guest.remove() }
        #expect {
            try guest.machine(CPUTopology(coresPerSocket: 2), engine: .verify)
        } throws: { "\($0)".contains("-accel verify compares the engines on one processor, not 2") }
        #expect(throws: MachineError.self) { try guest.machine(CPUTopology(coresPerSocket: 65)) }
    }

    // MARK: Shared code, own translations

    @Test("code that one changes is changed for the other", arguments: [Engine.interpreter, .translator])
    func crossModifyingCode(engine: Engine) throws {
        let first = try BareCPU(.flat32, engine: engine)
        let second = try BareCPU(.flat32, engine: engine, beside: first)
        let end = BareCPU.codeAddress + 5
        // mov eax, 1
        first.run([0xB8, 1, 0, 0, 0])
        second.go(at: BareCPU.codeAddress, end: end)
        #expect(first[Register.rax] == 1 && second[Register.rax] == 1)
        for value in 2...40 as ClosedRange<UInt8> {
            let (writer, reader) = value & 1 == 0 ? (second, first) : (first, second)
            // mov byte [1001h], value
            writer.run([0xC6, 0x05, 0x01, 0x10, 0x00, 0x00, value], at: 0x3000)
            reader.go(at: BareCPU.codeAddress, end: end)
            #expect(reader[Register.rax] == UInt64(value))
        }
    }

    @Test("when one throws all code away, the other finds none of it", arguments: [Engine.interpreter, .translator])
    func flushReachesAll(engine: Engine) throws {
        let first = try BareCPU(.flat32, engine: engine)
        let second = try BareCPU(.flat32, engine: engine, beside: first)
        for round in 0..<4 as Range<UInt8> {
            first.run([0xB8, round, 0, 0, 0])
            second.go(at: BareCPU.codeAddress, end: BareCPU.codeAddress + 5)
            #expect(second[Register.rax] == UInt64(round))
            (round & 1 == 0 ? first : second).cpu.blocks.flush()
            // Something else, where the old blocks were.
            first.run([0xB9, 7, 0, 0, 0, 0xBA, 8, 0, 0, 0], at: 0x5000)
            second.go(at: BareCPU.codeAddress, end: BareCPU.codeAddress + 5)
            first.go(at: BareCPU.codeAddress, end: BareCPU.codeAddress + 5)
            #expect(second[Register.rax] == UInt64(round) && first[Register.rax] == UInt64(round))
        }
    }

    @Test("a page that becomes code for one is no longer stored to unseen by the other")
    func pageBecomesCode() throws {
        let first = try BareCPU(.flat32, engine: .translator)
        let second = try BareCPU(.flat32, engine: .translator, beside: first)
        // mov byte [1001h], 9 while the page is data: it is in the store TLB of the second.
        let store: [UInt8] = [0xC6, 0x05, 0x01, 0x10, 0x00, 0x00, 9]
        second.run(store, at: 0x3000)
        first.run([0xB8, 1, 0, 0, 0])
        second.run(store, at: 0x3000)
        first.go(at: BareCPU.codeAddress, end: BareCPU.codeAddress + 5)
        #expect(first[Register.rax] == 9)
    }

    @Test("translations are each one's own: the other's INVLPG does not drop them")
    func shootdown() throws {
        let first = try BareCPU(.flat32), second = try BareCPU(.flat32, beside: first)
        // One page directory, 4 MiB by a page table: linear 0x20000 is page 0x21000 and then page 0x22000.
        let directory: UInt64 = 0x30_0000, table: UInt64 = 0x30_1000
        first.memory.write(directory, size: 4, value: table | 7)
        for page in 0..<1024 as Range<UInt64> { first.memory.write(table + page * 4, size: 4, value: page << 12 | 7) }
        first.memory.write(table + 0x20 * 4, size: 4, value: 0x2_1007)
        first.memory.write(0x2_1000, size: 4, value: 0x1111)
        first.memory.write(0x2_2000, size: 4, value: 0x2222)
        for cpu in [first.cpu, second.cpu] {
            #expect(cpu.writeCR3(directory) && cpu.writeCR0(CR0.pg | CR0.pe | CR0.ne))
        }
        // mov eax, [20000h]
        let load: [UInt8] = [0xA1, 0x00, 0x00, 0x02, 0x00]
        // invlpg [20000h]
        let invalidate: [UInt8] = [0x0F, 0x01, 0x3D, 0x00, 0x00, 0x02, 0x00]
        first.run(load)
        second.run(load)
        #expect(first[Register.rax] == 0x1111 && second[Register.rax] == 0x1111)
        first.memory.write(table + 0x20 * 4, size: 4, value: 0x2_2007)
        first.run(invalidate)
        first.run(load)
        second.run(load)
        #expect(first[Register.rax] == 0x2222)
        #expect(second[Register.rax] == 0x1111, "until it is told")
        second.run(invalidate)
        second.run(load)
        #expect(second[Register.rax] == 0x2222)
    }

    @Test("MWAIT ends when another processor stores to the monitored line")
    func monitorIsWatched() throws {
        let first = try BareCPU(.flat32), second = try BareCPU(.flat32, beside: first)
        first.s.pointee.flagsRest |= RFLAGS.interrupt
        first[Register.rax] = BareCPU.dataAddress
        first.run([0x0F, 0x01, 0xC8])
        #expect(first.cpu.monitored?.hasChanged == false)
        second[Register.rax] = 5
        // mov [A020h], eax: the same line; then the next one
        second.run([0xA3, 0x40, 0xA0, 0, 0])
        #expect(first.cpu.monitored?.hasChanged == false)
        second.run([0xA3, 0x20, 0xA0, 0, 0])
        #expect(first.cpu.monitored?.hasChanged == true)
    }

    // MARK: What the guest is told

    @Test("APIC IDs are fields of package, core and thread")
    func apicIDs() {
        let packed = CPUTopology(sockets: 2, coresPerSocket: 3, threadsPerCore: 2)
        #expect((0..<packed.count).map(packed.apicID) == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13])
        #expect(packed.apicIDLimit == 14)
        #expect(CPUTopology().apicIDLimit == 1)
        for sockets in 1...64 {
            for cores in 1...64 / sockets {
                for threads in 1...64 / (sockets * cores) {
                    let topology = CPUTopology(sockets: sockets, coresPerSocket: cores, threadsPerCore: threads)
                    #expect(topology.apicIDLimit <= 255)
                }
            }
        }
    }

    @Test("CPUID tells each processor its ID and how they are packed")
    func identification() throws {
        let guest = try MultiprocessorGuest()
        defer { guest.remove() }
        let cpus = try guest.machine(CPUTopology(sockets: 2, coresPerSocket: 3, threadsPerCore: 2)).processors.cpus
        for (cpu, id) in zip(cpus, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13] as [UInt32]) {
            let leaf1 = cpu.cpuid(1, 0)
            #expect(leaf1.ebx >> 24 == id && leaf1.ebx >> 16 & 0xFF == 6 && leaf1.edx & 1 << 28 != 0)
            let threads = cpu.cpuid(0xB, 0), cores = cpu.cpuid(0xB, 1), end = cpu.cpuid(0xB, 2)
            #expect(threads == CPUIDResult(eax: 1, ebx: 2, ecx: 0x100, edx: id))
            #expect(cores == CPUIDResult(eax: 3, ebx: 6, ecx: 0x201, edx: id))
            #expect(end == CPUIDResult(ecx: 2, edx: id))
            #expect(cpu.cpuid(4, 0).eax >> 26 == 2 && cpu.cpuid(4, 0).eax >> 14 & 0xFFF == 1)
        }
        let single = try BareCPU(.flat32).cpu
        #expect(single.cpuid(1, 0).edx & 1 << 28 == 0 && single.cpuid(1, 0).ebx >> 16 == 1)
    }

    @Test("the MADT lists every processor with its APIC ID, the DSDT with its number")
    func tables() throws {
        let topology = CPUTopology(sockets: 3, coresPerSocket: 3)
        let acpi = ACPITables(base: 0, lowRAMEnd: 0x800_0000, serialPortCount: 1, topology: topology)
        let start = try #require(acpi.tables.firstIndex(of: "APIC"))
        let length = Int(acpi.tables[start + 4]) | Int(acpi.tables[start + 5]) << 8
        var found: [[UInt8]] = []
        var at = start + 44
        while at < start + length {
            if acpi.tables[at] == 0 { found.append(Array(acpi.tables[at + 2..<at + 5])) }
            at += Int(acpi.tables[at + 1])
        }
        #expect(found == (0..<9).map { [UInt8($0), UInt8(topology.apicID(of: $0)), 1] })
        let text = String(decoding: acpi.tables, as: UTF8.self)
        for index in 0..<9 { #expect(text.contains("C00\(index)")) }
        #expect(!text.contains("C009"))
    }
}

extension [UInt8] {
    /// Where a text of four characters begins.
    fileprivate func firstIndex(of signature: String) -> Int? {
        indices.dropLast(3).first { Array(self[$0..<$0 + 4]) == Array(signature.utf8) }
    }
}
