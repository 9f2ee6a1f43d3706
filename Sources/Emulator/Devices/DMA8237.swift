/// Two Intel 8237A DMA controllers and the page registers (Intel 82371SB datasheet, 4.2; 8237A datasheet).
///
/// | port | read | write |
/// | --- | --- | --- |
/// | 00–07 | current address and count of channels 0–3, low byte then high | base and current |
/// | 08 | status: 3–0 terminal count (cleared), 7–4 request | command: 2 disables the controller |
/// | 09 | – | request: 1–0 channel, 2 set |
/// | 0A | – | mask: 1–0 channel, 2 masked |
/// | 0B | – | mode: 1–0 channel, 3–2 direction (1 to memory, 2 from memory), 4 autoinitialise, 5 down |
/// | 0C, 0D, 0E | –, temporary, – | clear byte pointer, master clear, unmask all |
/// | 0F | mask | mask of all four |
/// | 81–83, 87 | page of channels 2, 3, 1, 0 | the same |
/// | 89–8B, 8F | page of channels 6, 7, 5, 4 | the same |
/// | C0–DE | as 00–0F for channels 4–7, every second port; they count 16-bit words | the same |
///
/// A count of n moves n + 1 units. Channels do not cross their page: 64 KiB, or 128 KiB for words.
final class DMA8237: PortDevice, BoardDevice {
    private struct Channel {
        var baseAddress: UInt16 = 0
        var baseCount: UInt16 = 0
        var address: UInt16 = 0
        var count: UInt16 = 0
        var mode: UInt8 = 0
        var page: UInt8 = 0
        var isMasked = true

        mutating func exchange(_ c: StateCoder) {
            c.field("baseAddress", &baseAddress)
            c.field("baseCount", &baseCount)
            c.field("address", &address)
            c.field("count", &count)
            c.field("mode", &mode)
            c.field("page", &page)
            c.field("isMasked", &isMasked)
        }
    }

    /// What one controller holds besides its channels.
    private struct Controller {
        var command: UInt8 = 0
        var terminalCounts: UInt8 = 0
        var requests: UInt8 = 0
        /// The next access to a 16-bit register concerns its high byte.
        var isHighNext = false

        mutating func exchange(_ c: StateCoder) {
            c.field("command", &command)
            c.field("terminalCounts", &terminalCounts)
            c.field("requests", &requests)
            c.field("isHighNext", &isHighNext)
        }
    }

    /// Channel by the low nibble of its page port.
    private static let pageChannels: [UInt16: Int] = [1: 2, 2: 3, 3: 1, 7: 0, 9: 6, 0xA: 7, 0xB: 5, 0xF: 4]

    private let memory: PhysicalMap
    private var channels = [Channel](repeating: Channel(), count: 8)
    private var controllers = [Controller(), Controller()]
    /// Page ports that serve no channel are plain memory.
    private var spare = [UInt8](repeating: 0, count: 16)

    init(memory: PhysicalMap) { self.memory = memory }

    func attach(to ports: PortBus) {
        ports.claim(0x00, count: 16, by: self)
        ports.claim(0x81, count: 15, by: self)
        ports.claim(0xC0, count: 32, by: self)
    }

    func reset() {
        channels = [Channel](repeating: Channel(), count: 8)
        controllers = [Controller(), Controller()]
        spare = [UInt8](repeating: 0, count: 16)
    }

    // MARK: For devices

    /// Is the channel programmed and unmasked? A device starts its transfer then.
    func isReady(_ channel: Int) -> Bool {
        !channels[channel].isMasked && controllers[channel >> 2].command & 4 == 0
    }

    /// A device's bytes go to memory, as far as the channel's count reaches.
    /// - Returns: bytes taken, and whether the terminal count was reached.
    func write(_ channel: Int, from bytes: UnsafeRawBufferPointer) -> (count: Int, isDone: Bool) {
        move(channel, bytes.count) { address, offset, count in
            // Verify transfers (direction 0) count without touching memory.
            guard self.channels[channel].mode & 0x0C == 0x04 else { return }
            self.memory.write(address, from: UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count]))
        }
    }

    /// Memory's bytes for a device.
    func read(_ channel: Int, into bytes: UnsafeMutableRawBufferPointer) -> (count: Int, isDone: Bool) {
        move(channel, bytes.count) { address, offset, count in
            guard self.channels[channel].mode & 0x0C == 0x08 else { return }
            self.memory.read(address, into: UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + count]))
        }
    }

    /// Walks the channel unit by unit, so that wrapping inside the page and counting down come out right.
    private func move(
        _ index: Int, _ byteCount: Int, _ copy: (UInt64, Int, Int) -> Void
    ) -> (count: Int, isDone: Bool) {
        let unit = index < 4 ? 1 : 2
        var done = 0
        while isReady(index), done + unit <= byteCount {
            let channel = channels[index]
            let address =
                unit == 1
                ? UInt64(channel.page) << 16 | UInt64(channel.address)
                : UInt64(channel.page & 0xFE) << 16 | UInt64(channel.address) << 1
            copy(address, done, unit)
            done += unit
            channels[index].address &+= channel.mode & 0x20 == 0 ? 1 : 0xFFFF
            channels[index].count &-= 1
            if channel.count == 0 {
                finish(index)
                return (done, true)
            }
        }
        return (done, false)
    }

    private func finish(_ index: Int) {
        controllers[index >> 2].terminalCounts |= 1 << UInt8(index & 3)
        if channels[index].mode & 0x10 != 0 {
            channels[index].address = channels[index].baseAddress
            channels[index].count = channels[index].baseCount
        } else {
            channels[index].isMasked = true
        }
    }

    // MARK: Ports

    func portRead(_ port: UInt16, size: Int) -> UInt32 { PortBus.splitRead(port, size: size, readByte) }
    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        PortBus.splitWrite(port, size: size, value: value, writeByte)
    }

    private func readByte(_ port: UInt16) -> UInt8 {
        switch port {
        case 0x00...0x0F: return readRegister(0, Int(port))
        case 0xC0...0xDF: return readRegister(1, Int(port - 0xC0) >> 1)
        case 0x80...0x8F:
            let nibble = port & 0xF
            return Self.pageChannels[nibble].map { channels[$0].page } ?? spare[Int(nibble)]
        default: return 0xFF
        }
    }

    private func writeByte(_ port: UInt16, _ value: UInt8) {
        switch port {
        case 0x00...0x0F: writeRegister(0, Int(port), value)
        case 0xC0...0xDF: writeRegister(1, Int(port - 0xC0) >> 1, value)
        case 0x80...0x8F:
            let nibble = port & 0xF
            if let channel = Self.pageChannels[nibble] {
                channels[channel].page = value
            } else {
                spare[Int(nibble)] = value
            }
        default: break
        }
    }

    private func readRegister(_ controller: Int, _ register: Int) -> UInt8 {
        switch register {
        case 0..<8:
            let channel = channels[controller * 4 + register >> 1]
            let word = register & 1 == 0 ? channel.address : channel.count
            controllers[controller].isHighNext.toggle()
            return UInt8(truncatingIfNeeded: controllers[controller].isHighNext ? word : word >> 8)
        case 8:
            let status = controllers[controller].terminalCounts | controllers[controller].requests << 4
            controllers[controller].terminalCounts = 0
            return status
        case 15:
            return (0..<4).reduce(0) { $0 | (channels[controller * 4 + $1].isMasked ? 1 << UInt8($1) : 0) }
        default: return 0
        }
    }

    private func writeRegister(_ controller: Int, _ register: Int, _ value: UInt8) {
        let first = controller * 4
        let chosen = first + Int(value & 3)
        switch register {
        case 0..<8: writeWord(controller, first + register >> 1, isCount: register & 1 != 0, value)
        case 8: controllers[controller].command = value
        case 9:
            let bit: UInt8 = 1 << (value & 3)
            controllers[controller].requests = controllers[controller].requests & ~bit | (value & 4 != 0 ? bit : 0)
        case 10: channels[chosen].isMasked = value & 4 != 0
        case 11: channels[chosen].mode = value
        case 12: controllers[controller].isHighNext = false
        case 13:
            controllers[controller] = Controller()
            for channel in first..<first + 4 { channels[channel].isMasked = true }
        case 14: for channel in first..<first + 4 { channels[channel].isMasked = false }
        case 15: for channel in 0..<4 { channels[first + channel].isMasked = value >> UInt8(channel) & 1 != 0 }
        default: break
        }
    }

    private func writeWord(_ controller: Int, _ index: Int, isCount: Bool, _ value: UInt8) {
        let isHigh = controllers[controller].isHighNext
        controllers[controller].isHighNext.toggle()
        func merged(_ old: UInt16) -> UInt16 {
            isHigh ? old & 0x00FF | UInt16(value) << 8 : old & 0xFF00 | UInt16(value)
        }
        if isCount {
            channels[index].baseCount = merged(channels[index].baseCount)
            channels[index].count = channels[index].baseCount
        } else {
            channels[index].baseAddress = merged(channels[index].baseAddress)
            channels[index].address = channels[index].baseAddress
        }
    }
}

extension DMA8237 {
    var stateID: String { "dma" }

    func exchange(_ c: StateCoder) {
        for index in channels.indices { c.group("channels\(index)") { channels[index].exchange(c) } }
        for index in controllers.indices { c.group("controllers\(index)") { controllers[index].exchange(c) } }
        c.field("spare", &spare)
    }
}
