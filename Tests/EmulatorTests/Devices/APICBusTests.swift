import Testing

@testable import Emulator

/// Local APICs of four processors on one bus, with what each received.
final class APICBusRig {
    let clock = FakeClock()
    let apics: [LocalAPIC]
    let ioAPIC: IOAPIC
    private(set) var received: [String] = []

    init(topology: CPUTopology = CPUTopology(coresPerSocket: 4)) {
        let clock = clock, pic = PIC8259()
        apics = (0..<topology.count).map { index in
            LocalAPIC(
                pic: pic, processorIndex: index, initialID: topology.apicID(of: index), scheduler: clock.scheduler,
                tscHertz: 1_000_000_000
            ) { clock.now }
        }
        ioAPIC = IOAPIC(bus: APICBus(apics), pic: pic)
        for (index, apic) in apics.enumerated() {
            apic.mmioWrite(0xF0, size: 4, value: 0x1FF)
            apic.interruptLineChanged = { [unowned self] in if $0 { received.append("\(index) INTR") } }
            apic.nmi = { [unowned self] in received.append("\(index) NMI") }
            apic.initReceived = { [unowned self] in received.append("\(index) INIT") }
            apic.startupReceived = { [unowned self] in received.append("\(index) startup \($0)") }
        }
    }

    func take() -> [String] {
        defer { received = [] }
        return received
    }

    /// The interrupt command of a processor.
    func command(_ sender: Int, _ low: UInt32, to destination: UInt8 = 0) {
        apics[sender].mmioWrite(0x310, size: 4, value: UInt64(destination) << 24)
        apics[sender].mmioWrite(0x300, size: 4, value: UInt64(low))
    }

    /// Which processors have a vector to take; it is taken.
    func taken(_ vector: UInt8) -> [Int] {
        received = []
        return apics.indices.filter { index in
            guard apics[index].acknowledgeInterrupt() == vector else { return false }
            // EOI, in whichever mode.
            apics[index].writeRegister(0x0B, 0)
            return true
        }
    }
}

@Suite("Interrupt messages among processors")
struct APICBusTests {
    let rig = APICBusRig()

    @Test("IDs are the topology's, and only the first is the boot processor")
    func identities() {
        let rig = APICBusRig(topology: CPUTopology(sockets: 2, coresPerSocket: 3))
        #expect(rig.apics.map { $0.mmioRead(0x20, size: 4) >> 24 } == [0, 1, 2, 4, 5, 6])
        #expect(rig.apics.map { $0.baseMSR & 0x100 != 0 } == [true, false, false, false, false, false])
        // The 8259 pair's output runs to the boot processor only.
        #expect(rig.apics.map { $0.mmioRead(0x350, size: 4) & 0x1_0000 != 0 }.dropFirst().allSatisfy { $0 })
    }

    @Test("shorthands: itself, all, all others")
    func shorthands() {
        rig.command(1, 0x4_0040)
        #expect(rig.taken(0x40) == [1])
        rig.command(1, 0x8_0041)
        #expect(rig.taken(0x41) == [0, 1, 2, 3])
        rig.command(1, 0xC_0042)
        #expect(rig.taken(0x42) == [0, 2, 3])
    }

    @Test("physical destinations name one, or all with FFh")
    func physical() {
        rig.command(0, 0x50, to: 3)
        #expect(rig.taken(0x50) == [3])
        rig.command(2, 0x51, to: 0xFF)
        #expect(rig.taken(0x51) == [0, 1, 2, 3])
        rig.command(0, 0x52, to: 9)
        #expect(rig.taken(0x52) == [])
    }

    @Test("logical destinations are sets, flat or in clusters")
    func logical() {
        for (index, apic) in rig.apics.enumerated() { apic.mmioWrite(0xD0, size: 4, value: 1 << UInt64(24 + index)) }
        rig.command(0, 0x860, to: 0b1010)
        #expect(rig.taken(0x60) == [1, 3])
        for (index, apic) in rig.apics.enumerated() {
            apic.mmioWrite(0xE0, size: 4, value: 0x0FFF_FFFF)
            apic.mmioWrite(0xD0, size: 4, value: UInt64(index / 2) << 28 | 1 << UInt64(24 + index % 2))
        }
        rig.command(0, 0x861, to: 0x12)
        #expect(rig.taken(0x61) == [3])
        rig.command(0, 0x862, to: 0xF1)
        #expect(rig.taken(0x62) == [0, 2])
    }

    @Test("lowest priority goes to one: who has the lowest")
    func lowestPriority() {
        for (index, apic) in rig.apics.enumerated() {
            apic.mmioWrite(0xD0, size: 4, value: 1 << UInt64(24 + index))
            apic.taskPriority = [0x30, 0x10, 0x20, 0x10][index]
        }
        rig.command(0, 0x970, to: 0b1111)
        #expect(rig.taken(0x70) == [1])
        rig.command(0, 0x971, to: 0b0101)
        #expect(rig.taken(0x71) == [2])
        // One that is off in software takes none.
        rig.apics[1].mmioWrite(0xF0, size: 4, value: 0xFF)
        rig.command(0, 0x972, to: 0b1010)
        #expect(rig.taken(0x72) == [3])
    }

    @Test("NMI, INIT and startup reach those that are off in software, too")
    func startingMessages() {
        rig.apics[2].mmioWrite(0xF0, size: 4, value: 0xFF)
        rig.command(0, 0x4400, to: 2)
        rig.command(0, 0xC_4500)
        rig.command(0, 0xC_4699)
        #expect(
            rig.take() == [
                "2 NMI", "1 INIT", "2 INIT", "3 INIT", "1 startup 153", "2 startup 153", "3 startup 153",
            ])
        // Level de-assert only sets arbitration IDs.
        rig.command(0, 0x8500, to: 1)
        #expect(rig.take() == [])
        // Turned off as a whole, one hears nothing.
        #expect(rig.apics[3].writeBase(LocalAPIC.defaultBase))
        rig.command(0, 0xC_4500)
        #expect(rig.take() == ["1 INIT", "2 INIT"])
    }

    @Test("INIT resets the registers but not ID and base")
    func initKeepsIdentity() {
        let apic = rig.apics[3]
        apic.mmioWrite(0x320, size: 4, value: 0x2_0055)
        apic.mmioWrite(0x80, size: 4, value: 0x40)
        rig.command(0, 0x80, to: 3)
        apic.initialise()
        #expect(apic.mmioRead(0x20, size: 4) >> 24 == 3 && apic.mappedBase == LocalAPIC.defaultBase)
        #expect(apic.mmioRead(0x320, size: 4) == 0x1_0000 && apic.taskPriority == 0)
        #expect(apic.mmioRead(0xF0, size: 4) == 0xFF && !apic.isLineAsserted)
    }

    @Test("x2APIC: wide destinations, clusters of sixteen, self IPI")
    func x2APIC() {
        let rig = APICBusRig(topology: CPUTopology(coresPerSocket: 20))
        for apic in rig.apics { #expect(apic.writeBase(apic.baseMSR | 0x400)) }
        func command(_ low: UInt64, to destination: UInt64) {
            #expect(rig.apics[0].writeX2APIC(0x830, destination << 32 | low))
        }
        #expect(rig.apics[17].readX2APIC(0x802) == 17 && rig.apics[17].readX2APIC(0x80D) == 0x1_0002)
        command(0x40, to: 17)
        #expect(rig.taken(0x40) == [17])
        command(0x41, to: 0xFFFF_FFFF)
        #expect(rig.taken(0x41) == Array(0..<20))
        command(0x842, to: 0x1_0005)
        #expect(rig.taken(0x42) == [16, 18])
        command(0x843, to: 0x8001)
        #expect(rig.taken(0x43) == [0, 15])
        #expect(rig.apics[4].writeX2APIC(0x83F, 0x44))
        #expect(rig.taken(0x44) == [4])
        command(0xC_0045, to: 0)
        #expect(rig.taken(0x45) == Array(1..<20))
    }

    @Test("the I/O APIC sends to the processor that an entry names, and hears its EOI")
    func ioAPICDestinations() {
        func redirect(_ pin: UInt32, low: UInt32, destination: UInt32) {
            for (register, value) in [(0x11 + pin * 2, destination << 24), (0x10 + pin * 2, low)] {
                rig.ioAPIC.mmioWrite(0x00, size: 4, value: UInt64(register))
                rig.ioAPIC.mmioWrite(0x10, size: 4, value: UInt64(value))
            }
        }
        redirect(4, low: 0x44, destination: 2)
        rig.ioAPIC.setInput(4, true)
        #expect(rig.taken(0x44) == [2])
        // Level-triggered at processor 3: comes again after its EOI while the wire stands.
        redirect(10, low: 0x804A, destination: 3)
        rig.ioAPIC.setInput(10, true)
        #expect(rig.taken(0x4A) == [3])
        #expect(rig.taken(0x4A) == [3])
        rig.ioAPIC.setInput(10, false)
        #expect(rig.taken(0x4A) == [3])
        #expect(rig.taken(0x4A) == [])
        // Lowest priority among a set.
        for (index, apic) in rig.apics.enumerated() {
            apic.mmioWrite(0xD0, size: 4, value: 1 << UInt64(24 + index))
            apic.taskPriority = index == 2 ? 0 : 0x20
        }
        redirect(5, low: 0x945, destination: 0xF)
        rig.ioAPIC.setInput(5, true)
        #expect(rig.taken(0x45) == [2])
    }
}
