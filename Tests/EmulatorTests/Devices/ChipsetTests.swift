import Testing

@testable import Emulator

/// A whole board with a firmware of our own: 256 KiB whose bytes tell where they are.
final class BoardRig {
    let clock = FakeClock()
    let board: PCBoard
    var log: [UInt8] = []

    init(_ change: (inout PCConfig) -> Void = { _ in }) throws {
        var config = PCConfig()
        config.memoryBytes = 32 << 20
        config.clockSeconds = 0
        change(&config)
        let clock = clock
        let image = (0..<0x4_0000).map { UInt8(truncatingIfNeeded: $0 >> 12) }
        board = try PCBoard(config: config, firmware: FirmwareROM(contents: image), clock: { clock.now })
        clock.scheduler = board.scheduler
    }

    var ports: PortBus { board.ports }
    func config(_ slot: Int, _ function: Int, _ offset: Int, size: Int = 4) -> UInt32 {
        select(slot, function, offset)
        return ports.read(0xCFC + UInt16(offset & 3), size: size)
    }
    func setConfig(_ slot: Int, _ function: Int, _ offset: Int, _ value: UInt32, size: Int = 4) {
        select(slot, function, offset)
        ports.write(0xCFC + UInt16(offset & 3), size: size, value: value)
    }
    private func select(_ slot: Int, _ function: Int, _ offset: Int) {
        ports.write(0xCF8, size: 4, value: 0x8000_0000 | UInt32(slot << 11 | function << 8 | offset & 0xFC))
    }
    func byte(_ address: UInt64) -> UInt8 { UInt8(board.memory.read(address, size: 1)) }
}

@Suite struct ChipsetTests {
    @Test func theBusHasQEMUsFunctions() throws {
        let rig = try BoardRig()
        let found = [(0, 0), (1, 0), (1, 1), (1, 3), (2, 0)].map { rig.config($0.0, $0.1, 0) }
        #expect(found == [0x1237_8086, 0x7000_8086, 0x7010_8086, 0x7113_8086, 0x1111_1234])
        #expect(rig.config(3, 0, 0) == 0xFFFF_FFFF)
        #expect(rig.config(0, 0, 0x2C) == 0x1100_1AF4)
        #expect(rig.config(1, 0, 0x0E, size: 1) == 0x80)
        #expect(rig.config(1, 3, 0x5B, size: 1) == 0x02)
    }

    @Test func theROMIsAtTheTopAndItsEndBelowOneMegabyte() throws {
        let rig = try BoardRig()
        #expect(rig.byte(0xFFFF_FFF0) == 0x3F)
        #expect(rig.byte(0xFFFC_0000) == 0x00)
        #expect(rig.byte(0xF_FFF0) == 0x3F)
        #expect(rig.byte(0xE_0000) == 0x20)
        #expect(rig.byte(0xC_0000) == 0, "nobody answers")
        #expect(rig.board.memory.target(ofPageAt: 0xFFFE_0000).read != nil, "code runs from the alias")
    }

    @Test func PAMSwitchesReadsAndWritesApart() throws {
        let rig = try BoardRig()
        let memory = rig.board.memory
        memory.write(0xF_0000, size: 1, value: 0xAA)
        #expect(rig.byte(0xF_0000) == 0x30, "a ROM keeps its contents")
        rig.setConfig(0, 0, 0x59, 0x20, size: 1)
        memory.write(0xF_0000, size: 1, value: 0xAA)
        #expect(rig.byte(0xF_0000) == 0x30)
        rig.setConfig(0, 0, 0x59, 0x10, size: 1)
        #expect(rig.byte(0xF_0000) == 0xAA)
        memory.write(0xF_0000, size: 1, value: 0xBB)
        #expect(rig.byte(0xF_0000) == 0xAA)
        rig.setConfig(0, 0, 0x5A, 0x33, size: 1)
        memory.write(0xC_4000, size: 1, value: 0x77)
        #expect(rig.byte(0xC_4000) == 0x77)
        #expect(rig.byte(0xC_8000) == 0)
        try rig.board.reset()
        #expect(rig.byte(0xF_0000) == 0x30)
        #expect(rig.byte(0xC_4000) == 0)
    }

    @Test func SMRAMOpensOverTheVGAWindowAndLocks() throws {
        let rig = try BoardRig()
        rig.board.memory.ramPointer(0xA_0000)?.storeBytes(of: 0x5A, as: UInt8.self)
        rig.setConfig(0, 0, 0x72, 0x4A, size: 1)
        #expect(rig.byte(0xA_0000) == 0x5A)
        rig.setConfig(0, 0, 0x72, 0x1A, size: 1)
        rig.setConfig(0, 0, 0x72, 0x4A, size: 1)
        #expect(rig.config(0, 0, 0x72, size: 1) == 0x1A)
    }

    @Test func PIRQsReachTheirISAInterrupt() throws {
        let rig = try BoardRig()
        let device = PCIDevice(name: "test", vendor: 1, device: 2, classCode: 0, interruptPin: 1)
        rig.board.pci.plug(device, slot: 3)
        rig.ports.out8(0x4D1, 0x0C)
        // Slot 3, pin A: PIRQ (1 − 1 + 3 − 1) & 3 = C.
        device.interrupt.set(true)
        rig.ports.out8(0xA0, 0x0A)
        #expect(rig.ports.in8(0xA0) == 0)
        rig.setConfig(1, 0, 0x62, 11, size: 1)
        #expect(rig.ports.in8(0xA0) == 0x08)
        device.interrupt.set(false)
        #expect(rig.ports.in8(0xA0) == 0)
    }

    @Test func resetsAreRequestedThroughCF9AndPort92() throws {
        let rig = try BoardRig()
        var resets = 0
        rig.board.resetRequested = { resets += 1 }
        rig.ports.out8(0xCF9, 0x02)
        rig.ports.out8(0xCF9, 0x06)
        rig.ports.out8(0x92, 0x03)
        rig.ports.out8(0x64, 0xFE)
        #expect(resets == 3)
    }

    @Test func A20IsReadBackThroughBothPorts() throws {
        let rig = try BoardRig()
        rig.board.memory.write(0x10_0000, size: 1, value: 0x11)
        rig.board.memory.write(0, size: 1, value: 0x22)
        rig.ports.out8(0x92, 0)
        #expect(rig.ports.in8(0x92) & 2 == 0)
        #expect(rig.byte(0x10_0000) == 0x22)
        rig.ports.out8(0x64, 0xDF)
        #expect(rig.ports.in8(0x92) & 2 != 0)
        #expect(rig.byte(0x10_0000) == 0x11)
    }

    @Test func theFirmwareLogAndTheDebugExit() throws {
        let rig = try BoardRig { $0.debugExitPort = 0x501 }
        var exits: [UInt32] = []
        rig.board.firmwareLog = { rig.log.append($0) }
        rig.board.debugExit = { exits.append($0) }
        #expect(rig.ports.in8(0x402) == 0xE9)
        rig.ports.out8(0x402, 0x21)
        rig.ports.out8(0x501, 0x10)
        #expect(rig.log == [0x21])
        #expect(exits == [0x10], "shifted once, by who ends the process")
        #expect(rig.ports.in8(0x300) == 0xFF)
    }

    @Test func theLocalAPICFollowsItsBase() throws {
        let rig = try BoardRig()
        let memory = rig.board.memory
        #expect(memory.read(0xFEE0_0030, size: 4) == 0x5_0014)
        #expect(rig.board.localAPIC.writeBase(0x0100_0900))
        #expect(memory.read(0x0100_0030, size: 4) == 0x5_0014, "in front of memory")
        #expect(memory.target(ofPageAt: 0xFEE0_0000).device == nil)
        #expect(rig.board.localAPIC.writeBase(0x0100_0000))
        #expect(memory.read(0x0100_0030, size: 4) == 0, "disabled")
        rig.board.localAPIC.reset()
        #expect(memory.read(0xFEE0_0030, size: 4) == 0x5_0014)
    }

    @Test func anFPUErrorIsIRQ13UntilPortF0IsWritten() throws {
        let rig = try BoardRig()
        // The second 8259 with vectors from 28h and nothing masked, as a cascade of the first.
        for base in [UInt16(0x20), 0xA0] {
            for value in [0x11, base == 0x20 ? 0x20 : 0x28, base == 0x20 ? 4 : 2, 1, 0].enumerated() {
                rig.ports.out8(base + (value.offset == 0 ? 0 : 1), UInt8(value.element))
            }
        }
        rig.board.systemPorts.raiseFloatingPointError()
        #expect(rig.board.pic.acknowledge() == 0x2D)
        rig.ports.out8(0xF0, 0)
        rig.ports.out8(0xA0, 0x20)
        rig.ports.out8(0x20, 0x20)
        #expect(!rig.board.pic.output)
    }

    @Test func theSerialPortsAreWhereTheyBelong() throws {
        let recorder = SerialRecorder()
        let rig = try BoardRig { $0.serialPorts = [recorder, nil] }
        rig.ports.out8(0x3F8, 0x41)
        #expect(recorder.bytes == [0x41])
        #expect(rig.ports.in8(0x2FD) == 0x60)
        #expect(rig.ports.in8(0x3ED) == 0xFF)
        rig.board.serialInput(port: 0, [0x42])
        #expect(rig.ports.in8(0x3F8) == 0x42)
    }
}

@Suite struct PowerManagementTests {
    let rig: BoardRig

    init() throws {
        rig = try BoardRig()
        rig.setConfig(1, 3, 0x40, 0x601)
        rig.setConfig(1, 3, 0x80, 1, size: 1)
    }

    @Test func theTimerRunsAtItsFrequency() {
        let before = rig.ports.read(0x608, size: 4)
        rig.clock.advance(by: 1_000_000_000)
        #expect(rig.ports.read(0x608, size: 4) &- before == 3_579_545)
        rig.clock.advance(by: 10_000_000_000)
        #expect(rig.ports.read(0x608, size: 4) < 1 << 24)
    }

    @Test func thePowerButtonRaisesTheSCI() {
        rig.ports.out8(0x4D1, 0x02)
        rig.ports.out8(0xB2, 0xF1)
        #expect(rig.ports.read(0x604, size: 2) & 1 == 1)
        rig.ports.write(0x602, size: 2, value: 0x100)
        rig.board.pressPowerButton()
        rig.ports.out8(0xA0, 0x0A)
        #expect(rig.ports.in8(0xA0) == 0x02)
        #expect(rig.ports.read(0x600, size: 2) & 0x100 != 0)
        rig.ports.write(0x600, size: 2, value: 0x100)
        #expect(rig.ports.in8(0xA0) == 0)
    }

    @Test func sleepingInS5PowersOff() {
        var isOff = false
        rig.board.powerOff = { isOff = true }
        rig.ports.write(0x604, size: 2, value: 0x1C00)
        #expect(!isOff)
        rig.ports.write(0x604, size: 2, value: 0x2000)
        #expect(isOff)
    }

    @Test func theTimerCarryInterruptsWhenEnabled() {
        rig.ports.out8(0xB2, 0xF1)
        rig.ports.write(0x602, size: 2, value: 1)
        rig.ports.out8(0xA0, 0x0A)
        rig.clock.advance(by: 2_343_000_000)
        #expect(rig.ports.in8(0xA0) == 0)
        rig.clock.advance(by: 1_000_000)
        #expect(rig.ports.in8(0xA0) == 0x02)
    }

    @Test func registersMoveWithTheirBase() {
        rig.setConfig(1, 3, 0x40, 0xB001)
        #expect(rig.ports.read(0x604, size: 2) == 0xFFFF)
        #expect(rig.ports.read(0xB004, size: 2) == 0)
    }

    @Test func theSMBusIsEmpty() {
        rig.setConfig(1, 3, 0x90, 0xB101)
        rig.setConfig(1, 3, 0xD2, 9, size: 1)
        rig.ports.out8(0xB102, 0x48)
        #expect(rig.ports.in8(0xB100) == 0x04)
        rig.ports.out8(0xB100, 0x04)
        #expect(rig.ports.in8(0xB100) == 0)
    }
}
