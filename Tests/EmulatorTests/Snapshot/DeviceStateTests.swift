import Seeded
import Testing

@testable import Emulator

@Suite("Devices saved in the middle of their work")
struct DeviceStateTests {
    /// Sections that differ, each with its first field that does.
    private func differences(_ a: [StateSection], _ b: [StateSection]) -> [String] {
        zip(a, b).filter { $0 != $1 }.map { one, other in
            let place = zip(one.bytes, other.bytes).enumerated().first { $1.0 != $1.1 }?.offset ?? 0
            let around = one.bytes[max(0, place - 60)..<min(one.bytes.count, place + 8)]
            return "\(one.name) at \(place): \(String(decoding: around, as: UTF8.self).debugDescription)"
        }
    }

    @Test("a fresh board goes on from a saved state as the board that was saved")
    func twinsStayTwins() throws {
        let rounds = try FuzzBudget(rounds: 3).run("device states") { seed in
            var original = try DeviceFuzz(seed: seed)
            for save in 0..<8 {
                for _ in 0..<700 { try original.step() }
                var twin = try original.twin()
                #expect(
                    differences(original.savedState, twin.savedState) == [], "right after save \(save), seed \(seed)")
                for step in 0..<250 {
                    try original.step()
                    try twin.step()
                    guard step % 25 == 24 else { continue }
                    let found = differences(original.savedState, twin.savedState)
                    try #require(found == [], "\(step) steps after save \(save), seed \(seed)")
                }
                #expect(original.memoryDigest == twin.memoryDigest)
            }
        }
        #expect(rounds > 0)
    }

    @Test("a section whose bytes were altered, checksum and all, ends in an error or a board that works")
    func alteredFieldsDoNotCrash() throws {
        let rounds = try FuzzBudget(rounds: 2).run("altered states") { seed in
            var random = SeededRandom(seed)
            var original = try DeviceFuzz(seed: seed)
            for _ in 0..<1500 { try original.step() }
            let whole = original.savedState
            for _ in 0..<150 {
                var sections = whole
                let victim = random.below(sections.count)
                var bytes = sections[victim].bytes
                guard !bytes.isEmpty else { continue }
                for _ in 0...random.below(4) {
                    bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
                }
                sections[victim] = StateSection(name: sections[victim].name, version: 1, bytes: bytes)
                do {
                    try original.restore(sections, at: original.now)
                    for _ in 0..<30 { try original.step() }
                } catch is MachineError {}
                try original.restore(whole, at: original.now)
            }
        }
        #expect(rounds > 0)
    }

    /// Names of a type's stored properties, those of its superclasses included.
    private func properties(_ subject: Any) -> [String] {
        var names: [String] = []
        var mirror: Mirror? = Mirror(reflecting: subject)
        while let m = mirror {
            names += m.children.compactMap(\.label)
            mirror = m.superclassMirror
        }
        return names
    }

    /// What is no state: wires and closures, what the machine is built of, and what follows from other fields.
    private static let wires: Set<String> = [
        "scheduler", "memory", "ports", "pic", "ioAPIC", "localAPIC", "a20", "wires", "pit", "rtc", "firmware",
        "keyboard",
        "backend", "dma", "channel", "base", "timer", "timeout", "alarm", "alarms", "video", "rom", "edid", "name",
        "writeMask", "bars", "serialPortCount", "items", "files", "drives", "commandBase", "controlPort", "unit",
        "serial",
        "totalSectors", "disc", "disk", "kind", "format", "buffer", "capacity", "tscHertz",
        "memoryBytes",
        // Closures that the board connects.
        "outputChanged", "interruptLineChanged", "nmi", "initReceived", "startupReceived", "endOfInterrupt", "tscNow",
        "resetRequested", "powerOff", "suspend", "debugOutput", "postCodeWritten", "hasData", "interruptRouter",
        "started",
        "isAllowed", "expired", "longWork", "clock", "mappingChanged", "commandSent", "bus",
        "processorIndex", "initialID",
        // What the CPU model offers.
        "offersX2APIC", "physicalAddressBits",
        // What the ROM's font looks like.
        "$__lazy_storage_$_fonts",
        // Worked out again by `stateRestored`.
        "current", "mapped", "mappedPM", "mappedSMBus", "segments", "smramRegion", "applied", "functions",
        "isInterruptConnected", "isInterruptEnabled", "nextDeadline", "timers",
    ]

    /// The parts of a device that have fields of their own.
    private func parts(of device: any BoardDevice) -> [Any] {
        switch device {
        case let device as IDEController:
            let engines: [Any] = device.channels.map(\.busMaster), channels: [Any] = device.channels
            let drives: [Any] = device.drives
            return [device] + channels + engines + drives
        case let device as KBC8042: return [device, device.keyboard, device.mouse]
        case let device as VGADevice: return [device, device.registers, device.registers.dac, device.vbe]
        case let device as FDC82077:
            let drives: [Any] = device.drives
            return [device] + drives
        default: return [device]
        }
    }

    @Test("no device has a property that is neither saved nor known as a wire")
    func everyPropertyIsSaved() throws {
        let fuzz = try DeviceFuzz(seed: 1)
        for device in fuzz.board.devices {
            let coder = StateCoder(saving: device.stateID, version: 1, now: 0)
            device.exchange(coder)
            let saved = coder.names.flatMap { $0.split(separator: ".").map(String.init) }
            for part in parts(of: device) {
                for property in properties(part) where !Self.wires.contains(property) {
                    #expect(
                        saved.contains { $0.hasPrefix(property) },
                        "\(type(of: part)).\(property) is not in the state of \(device.stateID)")
                }
            }
        }
    }

    @Test("no register of the processor is neither saved nor known to follow from others")
    func everyRegisterIsSaved() throws {
        let derived: Set<String> = [
            "flagResult", "flagAux", "flagsRest", "readTLB", "writeTLB", "budget", "isKicked", "slices", "native",
            "cpl",
            "modeKey",
            "codeBreakpoints", "dataBreakpoints", "portBreakpoints", "fpuTrapped", "owner", "operand",
        ]
        let memory = try PhysicalMap(ramSizeBytes: 1 << 20)
        let cpu = CPU(memory: memory, ports: PortBus())
        let coder = StateCoder(saving: "cpu", version: 1, now: 0)
        cpu.exchange(coder)
        let saved = coder.names.flatMap { $0.split(separator: ".").map(String.init) }
        for property in properties(cpu.state.pointee) + properties(cpu.state.pointee.fpu)
        where !derived.contains(property) {
            #expect(saved.contains { $0.hasPrefix(property) }, "CPUState.\(property) is not saved")
        }
    }

    @Test("a board's devices and timers have names of their own")
    func namesAreUnique() throws {
        let fuzz = try DeviceFuzz(seed: 1)
        let names = fuzz.board.deviceList.names
        #expect(Set(names).count == names.count)
        let coder = StateCoder(saving: "timers", version: 1, now: 0)
        fuzz.board.scheduler.exchange(coder)
        #expect(Set(coder.names).count == coder.names.count)
        #expect(names.allSatisfy { $0.utf8.count <= StateFormat.nameBytes })
    }
}
