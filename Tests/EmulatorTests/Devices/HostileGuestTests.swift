import Testing

@testable import Emulator

/// What a guest can write must never end the process, and never make it grow.
@Suite struct HostileGuestTests {
    // MARK: Arithmetic

    @Test(arguments: [UInt8(0x02), 0x06, 0x00, 0x04])
    func anyBytesInTheClockAreADate(format: UInt8) throws {
        let rig = try BoardRig()
        func write(_ index: UInt8, _ value: UInt8) {
            rig.ports.out8(0x70, index)
            rig.ports.out8(0x71, value)
        }
        write(0x0B, format)
        for index in [0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x32] as [UInt8] {
            for value in 0...255 as ClosedRange<UInt8> {
                write(index, value)
                for read in [0x00, 0x06, 0x07, 0x08, 0x09, 0x32] as [UInt8] {
                    rig.ports.out8(0x70, read)
                    _ = rig.ports.in8(0x71)
                }
            }
        }
    }

    @Test func datesBefore1970AndAfter9999AreDates() {
        let moments: [(Int64, String)] = [
            (-1, "1969-12-31 23:59:59 3"), (-62_135_596_800, "1-1-1 0:0:0 1"), (-62_167_219_200, "0-1-1 0:0:0 6"),
            (253_402_300_800, "10000-1-1 0:0:0 6"), (.min, "0-1-1 0:0:0 6"), (.max, "29999-12-31 23:59:59 5"),
        ]
        for (seconds, text) in moments {
            let date = CalendarDate(secondsSince1970: seconds)
            let shown =
                "\(date.year)-\(date.month)-\(date.day) \(date.hour):\(date.minute):\(date.second) \(date.weekday)"
            #expect(shown == text)
            if CalendarDate.knownSeconds.contains(seconds) { #expect(date.secondsSince1970 == seconds) }
        }
    }

    /// A device that answers more than it was asked for.
    private final class Generous: PortDevice, MMIODevice {
        func portRead(_ port: UInt16, size: Int) -> UInt32 { ~0 }
        func portWrite(_ port: UInt16, size: Int, value: UInt32) {}
        func mmioRead(_ offset: UInt64, size: Int) -> UInt64 { ~0 }
        func mmioWrite(_ offset: UInt64, size: Int, value: UInt64) {}
    }

    @Test(arguments: [1, 2, 4]) func theBusesCutAnAnswerToTheSizeAskedFor(size: Int) throws {
        let device = Generous()
        let ports = PortBus()
        ports.claim(0x100, count: 4, by: device)
        let memory = try PhysicalMap(ramSizeBytes: 1 << 20)
        memory.map("generous", at: 0xD000_0000, length: 4096, .device(device))
        let most = (UInt64(1) << UInt64(8 * size)) - 1
        #expect(UInt64(ports.read(0x100, size: size)) == most)
        #expect(UInt64(ports.read(0x200, size: size)) == most)
        #expect(memory.read(0xD000_0000, size: size) == most)
        #expect(memory.read(0xE000_0000, size: size) == 0, "nobody there")
    }

    @Test(arguments: [0xFEC0_0000, 0xFEC0_0008, 0xFEE0_0000, 0xFEE0_0020, 0xFEE0_0FF8, 0xFED0_0000, 0xA_0000])
    func aDescriptorInsideADeviceIsOnlyNonsense(address: UInt64) throws {
        let rig = try BoardRig()
        rig.ports.write(0x514, size: 4, value: 0)
        rig.ports.write(0x518, size: 4, value: UInt32(address).byteSwapped)
        #expect(rig.ports.read(0x514, size: 4) == 0x554D_4551, "the device still answers")
    }

    @Test func aTransferFarBeyondTheItemsEndIsRefused() throws {
        let rig = try BoardRig()
        let length = UInt32(17 << 20)
        let descriptor =
            Array(bigEndianBytes: UInt32(2)) + Array(bigEndianBytes: length) + Array(bigEndianBytes: UInt64(0x10_0000))
        descriptor.withUnsafeBytes { rig.board.memory.write(0x9000, from: $0) }
        rig.ports.write(0x518, size: 4, value: UInt32(0x9000).byteSwapped)
        #expect(rig.byte(0x9003) == 1, "the error bit")
    }

    @Test func aDeadlineInAllEternityNeverComes() {
        let rig = APICRig()
        rig.enable()
        rig.write(0x320, 2 << 17 | 0x40)
        rig.clock.advance(to: 1000)
        rig.apic.tscDeadlineMSR = ~0
        #expect(rig.clock.scheduler.nextDeadline > 1 << 60)
    }

    // MARK: Ports

    @Test func portsUnderAMovedBARComeBack() throws {
        let rig = try BoardRig()
        let before = (0..<16).map { rig.ports.device(at: 0x1F0 + UInt16($0)) }
        // The bus master's BAR over the command ports of the primary channel, then away again.
        rig.setConfig(1, 1, 0x20, 0x1F0)
        rig.setConfig(1, 1, 0x04, 5, size: 2)
        #expect(rig.ports.device(at: 0x1F0) !== before[0])
        rig.setConfig(1, 1, 0x20, 0xC000)
        for (index, device) in before.enumerated() {
            #expect(rig.ports.device(at: 0x1F0 + UInt16(index)) === device, "port \(0x1F0 + index)")
        }
        // The power management block over the PICs' ELCR and the PCI ports.
        let pci = rig.ports.device(at: 0xCFC)
        rig.setConfig(1, 3, 0x40, 0x0C81)
        rig.setConfig(1, 3, 0x40, 0x0CC1)
        rig.setConfig(1, 3, 0x80, 1, size: 1)
        #expect(rig.ports.device(at: 0xCFC) !== pci)
        rig.board.power.reset()
        #expect(rig.ports.device(at: 0xCFC) === pci)
    }

    // MARK: What grows

    @Test func anUnreadKeyboardControllerKeepsABoundedNumberOfAnswers() throws {
        let rig = try BoardRig()
        for round in 0..<10_000 {
            rig.ports.out8(0x64, 0xD2)
            rig.ports.out8(0x60, UInt8(truncatingIfNeeded: round))
            rig.ports.out8(0x64, 0xD4)
            rig.ports.out8(0x60, round & 1 == 0 ? 0xFE : 0xEE)
            rig.ports.out8(0x60, 0xEE)
        }
        var count = 0
        while rig.ports.in8(0x64) & 1 != 0, count < 10_000 {
            _ = rig.ports.in8(0x60)
            count += 1
        }
        #expect(count < 200)
    }

    /// Counts what the guest has taken.
    private final class Taker: SerialBackend, @unchecked Sendable {
        // Unchecked: used on the test's thread only.
        var taken = 0
        func transmit(_ byte: UInt8) {}
        func inputTaken(_ count: Int) { taken += count }
    }

    @Test func whatIsTypedIsBoundedAndTheHostHearsOfRoom() throws {
        let taker = Taker()
        let rig = try BoardRig { $0.serialPorts = [taker] }
        let block = [UInt8](repeating: 0x41, count: 1 << 16)
        for _ in 0..<64 { rig.board.serialInput(port: 0, block) }
        #expect(taker.taken == 1, "the receiver has room for one byte without its FIFO")
        var read = 0
        while rig.ports.in8(0x3FD) & 1 != 0 {
            _ = rig.ports.in8(0x3F8)
            read += 1
        }
        #expect(read == UART16550.waitingLimit + 1)
        #expect(taker.taken == read)
    }

    @Test func keysOfAClientThatNeverStopsAreBounded() throws {
        let rig = try BoardRig()
        for _ in 0..<10_000 { #expect(rig.board.keys.press(["a"], holdMilliseconds: 1) == nil) }
        var codes = 0
        while rig.clock.scheduler.nextDeadline != .max, codes < 100_000 {
            rig.clock.advance(to: rig.clock.scheduler.nextDeadline)
            while rig.ports.in8(0x64) & 1 != 0 {
                _ = rig.ports.in8(0x60)
                codes += 1
            }
        }
        #expect(codes >= KeyInjector.queueLimit && codes <= 4 * KeyInjector.queueLimit)
    }

    // MARK: Time

    @Test func aHandlerThatFaultsAtItsFirstByteDoesNotHoldTheProcessor() throws {
        let rig = try SystemRig(.real)
        // #UD and #GP lead to code beyond the segment's end, which faults again when it is fetched.
        rig.s.pointee.segments[SegmentIndex.cs].limit = 0x7FFF
        for vector in [6, 13] { rig.write([0xFF, 0xFF, 0x00, 0x00], at: UInt64(vector) * 4) }
        rig.write([0x0F, 0x0B], at: SystemRig.code)
        rig.s.pointee.rip = SystemRig.code
        #expect(rig.cpu.run(budget: 1000) == .budget)
    }

    /// Ends the processor's slice at each access, as costly devices do.
    private final class Costly: PortDevice {
        var accesses = 0
        var work: () -> Void = {}
        func portRead(_ port: UInt16, size: Int) -> UInt32 { access() }
        func portWrite(_ port: UInt16, size: Int, value: UInt32) { _ = access() }
        private func access() -> UInt32 {
            accesses += 1
            work()
            return 0
        }
    }

    @Test(arguments: [0x6C, 0x6E] as [UInt8]) func aRepeatedPortAccessStopsWhereTheDeviceSaysSo(code: UInt8) throws {
        let bare = try BareCPU(.flat32)
        let device = Costly()
        device.work = { [unowned bare] in bare.cpu.kick() }
        bare.cpu.ports.claim(0x100, count: 1, by: device)
        bare[Register.rdx] = 0x100
        bare[Register.rcx] = 5000
        bare[Register.rsi] = BareCPU.dataAddress
        bare[Register.rdi] = BareCPU.dataAddress
        bare.write([0xF3, code, 0xEB, 0xFE], at: BareCPU.codeAddress)
        bare.s.pointee.rip = BareCPU.codeAddress
        _ = bare.cpu.run(budget: 100)
        #expect(device.accesses == 1)
        #expect(bare[Register.rcx] == 4999)
        for _ in 0..<4999 { _ = bare.cpu.run(budget: 100) }
        #expect(bare[Register.rcx] == 0)
    }

    // MARK: Logs

    @Test func theInterruptLogNamesVectorAndPlace() throws {
        let rig = try SystemRig(.protected32)
        var lines: [String] = []
        rig.cpu.tracer = Tracer(items: .int) { lines.append($0) }
        rig.write([0xCD, 0x40], at: SystemRig.code)
        rig.s.pointee.rip = SystemRig.code
        _ = rig.cpu.run(budget: 10)
        #expect(lines.count == 1)
        #expect(lines.first?.hasPrefix("v=40 e=0000 i=1 cpl=0 IP=0008:") ?? false, "\(lines)")
    }
}
