/// Intel 8259A programmable interrupt controllers, two in cascade as in the PIIX3 (Intel 82371SB datasheet, 4.4).
///
/// | port | read | write |
/// | --- | --- | --- |
/// | 20, A0 | IRR or ISR (OCW3), or the poll byte | ICW1 (bit 4), OCW3 (bit 3), OCW2 |
/// | 21, A1 | mask | ICW2–4 after ICW1, else OCW1 (mask) |
/// | 4D0, 4D1 | ELCR | bit n: input n is level-triggered (0, 1, 2, 8 and 13 are always edge) |
///
/// The slave's output is input 2 of the master.
final class PIC8259: PortDevice, BoardDevice {
    private struct Chip {
        var requests: UInt8 = 0
        var mask: UInt8 = 0
        var inService: UInt8 = 0
        /// Present level of each wire, for edge detection.
        var inputs: UInt8 = 0
        var levelTriggered: UInt8 = 0
        let levelCapable: UInt8
        var vectorBase: UInt8 = 0
        /// The input with the highest priority; rotation changes it.
        var highest: UInt8 = 0
        /// Next initialisation word expected: 0 none, 2, 3 or 4.
        var expectedICW: UInt8 = 0
        var needsICW4 = false
        var isSingle = false
        var autoEOI = false
        var rotatesOnAutoEOI = false
        var specialMask = false
        var specialFullyNested = false
        var readsInService = false
        var polls = false

        init(levelCapable: UInt8) { self.levelCapable = levelCapable }

        /// Distance from the highest priority to the first set bit, 8 when none is set.
        private func priority(of bits: UInt8) -> UInt8 {
            guard bits != 0 else { return 8 }
            let rotated = highest == 0 ? bits : bits >> highest | bits << (8 - highest)
            return UInt8(rotated.trailingZeroBitCount)
        }

        /// The input that may interrupt now.
        func pending(isMaster: Bool) -> UInt8? {
            let candidate = priority(of: requests & ~mask)
            guard candidate < 8 else { return nil }
            var blocking = inService
            // Special mask mode: masked inputs in service block nobody.
            if specialMask { blocking &= ~mask }
            // Special fully nested mode: the slave may interrupt again while it is in service.
            if specialFullyNested, isMaster { blocking &= ~4 }
            return candidate < priority(of: blocking) ? (candidate &+ highest) & 7 : nil
        }

        mutating func exchange(_ c: StateCoder) {
            c.field("requests", &requests)
            c.field("mask", &mask)
            c.field("inService", &inService)
            c.field("inputs", &inputs)
            c.field("levelTriggered", &levelTriggered)
            c.field("vectorBase", &vectorBase)
            c.field("highest", &highest, in: 0...7)
            c.field("expectedICW", &expectedICW)
            c.field("needsICW4", &needsICW4)
            c.field("isSingle", &isSingle)
            c.field("autoEOI", &autoEOI)
            c.field("rotatesOnAutoEOI", &rotatesOnAutoEOI)
            c.field("specialMask", &specialMask)
            c.field("specialFullyNested", &specialFullyNested)
            c.field("readsInService", &readsInService)
            c.field("polls", &polls)
        }

        mutating func setInput(_ input: UInt8, _ level: Bool) {
            let bit: UInt8 = 1 << input
            if level {
                if levelTriggered & bit != 0 || inputs & bit == 0 { requests |= bit }
                inputs |= bit
            } else {
                if levelTriggered & bit != 0 { requests &= ~bit }
                inputs &= ~bit
            }
        }

        mutating func acknowledge(_ input: UInt8) {
            let bit: UInt8 = 1 << input
            if autoEOI {
                if rotatesOnAutoEOI { highest = (input + 1) & 7 }
            } else {
                inService |= bit
            }
            // A level-triggered request stays until the wire falls.
            if levelTriggered & bit == 0 { requests &= ~bit }
        }

        mutating func writeCommand(_ value: UInt8) {
            if value & 0x10 != 0 {
                let kept = (inputs, levelTriggered)
                self = Chip(levelCapable: levelCapable)
                (inputs, levelTriggered) = kept
                requests = inputs & levelTriggered
                needsICW4 = value & 1 != 0
                isSingle = value & 2 != 0
                expectedICW = 2
            } else if value & 8 != 0 {
                if value & 4 != 0 { polls = true }
                if value & 2 != 0 { readsInService = value & 1 != 0 }
                if value & 0x40 != 0 { specialMask = value & 0x20 != 0 }
            } else {
                writeOCW2(value)
            }
        }

        /// OCW2: bits 7–5 rotate, specific, EOI; bits 2–0 the level of a specific command.
        private mutating func writeOCW2(_ value: UInt8) {
            let level = value & 7
            switch value >> 5 {
            case 0, 4: rotatesOnAutoEOI = value & 0x80 != 0
            case 1, 5:
                let first = priority(of: inService)
                guard first < 8 else { return }
                let input = (first &+ highest) & 7
                inService &= ~(1 << input)
                if value & 0x80 != 0 { highest = (input + 1) & 7 }
            case 3, 7:
                inService &= ~(1 << level)
                if value & 0x80 != 0 { highest = (level + 1) & 7 }
            case 6: highest = (level + 1) & 7
            default: break
            }
        }

        mutating func writeData(_ value: UInt8) {
            switch expectedICW {
            case 2:
                vectorBase = value & 0xF8
                expectedICW = isSingle ? (needsICW4 ? 4 : 0) : 3
            case 3: expectedICW = needsICW4 ? 4 : 0
            case 4:
                specialFullyNested = value & 0x10 != 0
                autoEOI = value & 2 != 0
                expectedICW = 0
            default: mask = value
            }
        }
    }

    /// Inputs 0, 1, 2, 8 and 13 belong to the timer, keyboard, cascade, RTC and FPU and stay edge-triggered.
    private var master = Chip(levelCapable: 0xF8)
    private var slave = Chip(levelCapable: 0xDE)
    /// INT to the processor or to the local APIC's LINT0; called at each change.
    var outputChanged: (Bool) -> Void = { _ in }
    private(set) var output = false

    func attach(to ports: PortBus) {
        ports.claim(0x20, count: 2, by: self)
        ports.claim(0xA0, count: 2, by: self)
        ports.claim(0x4D0, count: 2, by: self)
    }

    func reset() {
        let inputs = (master.inputs, slave.inputs)
        master = Chip(levelCapable: master.levelCapable)
        slave = Chip(levelCapable: slave.levelCapable)
        (master.inputs, slave.inputs) = inputs
        update()
    }

    /// - Parameter irq: 0–15; 2 is the cascade and has no wire of its own.
    func setInput(_ irq: Int, _ level: Bool) {
        if irq < 8 { master.setInput(UInt8(irq), level) } else { slave.setInput(UInt8(irq & 7), level) }
        update()
    }

    /// The processor's interrupt-acknowledge cycles: the vector, 7 of the chip asked when nothing is pending.
    func acknowledge() -> UInt8 {
        defer { update() }
        guard let input = master.pending(isMaster: true) else { return master.vectorBase | 7 }
        master.acknowledge(input)
        guard input == 2 else { return master.vectorBase | input }
        guard let second = slave.pending(isMaster: false) else { return slave.vectorBase | 7 }
        slave.acknowledge(second)
        return slave.vectorBase | second
    }

    private func update() {
        master.setInput(2, slave.pending(isMaster: false) != nil)
        // The cascade follows the slave's level even though its wire counts as an edge input.
        if master.inputs & 4 == 0 { master.requests &= ~4 } else { master.requests |= 4 }
        let level = master.pending(isMaster: true) != nil
        guard level != output else { return }
        output = level
        outputChanged(level)
    }

    // MARK: Ports

    func portRead(_ port: UInt16, size: Int) -> UInt32 {
        let value = PortBus.splitRead(port, size: size, readByte)
        update()
        return value
    }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        PortBus.splitWrite(port, size: size, value: value, writeByte)
        update()
    }

    private func readByte(_ port: UInt16) -> UInt8 {
        switch port {
        case 0x20, 0x21: Self.read(&master, isMaster: true, isData: port & 1 != 0)
        case 0xA0, 0xA1: Self.read(&slave, isMaster: false, isData: port & 1 != 0)
        case 0x4D0: master.levelTriggered
        case 0x4D1: slave.levelTriggered
        default: 0xFF
        }
    }

    private static func read(_ chip: inout Chip, isMaster: Bool, isData: Bool) -> UInt8 {
        if chip.polls {
            // The poll command turns the next read into an acknowledge: bit 7 pending, bits 2–0 the input.
            chip.polls = false
            guard let input = chip.pending(isMaster: isMaster) else { return 0 }
            chip.acknowledge(input)
            return 0x80 | input
        }
        if isData { return chip.mask }
        return chip.readsInService ? chip.inService : chip.requests
    }

    private func writeByte(_ port: UInt16, _ value: UInt8) {
        switch port {
        case 0x20: master.writeCommand(value)
        case 0x21: master.writeData(value)
        case 0xA0: slave.writeCommand(value)
        case 0xA1: slave.writeData(value)
        case 0x4D0: master.levelTriggered = value & master.levelCapable
        case 0x4D1: slave.levelTriggered = value & slave.levelCapable
        default: break
        }
    }
}

extension PIC8259 {
    var stateID: String { "pic" }

    func exchange(_ c: StateCoder) {
        c.group("master") { master.exchange(c) }
        c.group("slave") { slave.exchange(c) }
        c.field("output", &output)
    }
}
