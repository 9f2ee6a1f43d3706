/// QEMU's firmware configuration device (QEMU documentation, specs/fw_cfg).
///
/// | port | what |
/// | --- | --- |
/// | 510 | write: selector, 16 bits little-endian; read: as 511 |
/// | 511 | read: next byte of the selected item, 0 past its end |
/// | 514 | DMA address, high half, big-endian; reads "QEMU" |
/// | 518 | DMA address, low half, big-endian: starts the transfer; reads " CFG" |
///
/// The DMA descriptor in guest memory, big-endian: control (bit 0 error, 1 read, 2 skip, 3 select, 4 write, 31–16 selector),
/// length, 64-bit address.
final class FwCfg: PortDevice, BoardDevice {
    /// Well-known items.
    enum Item: UInt16 {
        case signature = 0x00, interfaces = 0x01, uuid = 0x02, ramSize = 0x03, noGraphic = 0x04, cpuCount = 0x05
        case machineID = 0x06
        case kernelAddress = 0x07, kernelSize = 0x08, commandLine = 0x09, initrdAddress = 0x0A, initrdSize = 0x0B
        case bootDevice = 0x0C
        case numa = 0x0D, bootMenu = 0x0E, maximumCPUs = 0x0F
        case kernelEntry = 0x10, kernelData = 0x11, initrdData = 0x12
        case commandLineAddress = 0x13, commandLineSize = 0x14, commandLineData = 0x15
        case setupAddress = 0x16, setupSize = 0x17, setupData = 0x18
        case fileDirectory = 0x19
        case acpiTables = 0x8000, smbiosEntries = 0x8001, irq0Override = 0x8002, e820 = 0x8003, hpet = 0x8004
    }

    private static let firstFile: UInt16 = 0x20
    private static let nameBytes = 56
    private static let dmaBase: UInt16 = 0x514
    private enum Control {
        static let error: UInt32 = 1, read: UInt32 = 2, skip: UInt32 = 4, select: UInt32 = 8, write: UInt32 = 16
    }

    /// The longest transfer. Items are far smaller; what lies beyond an item's end is filled with zeros at the guest's
    /// word.
    private static let longestTransfer = 16 << 20

    private let memory: PhysicalMap
    private let scheduler: Scheduler
    private var items: [UInt16: [UInt8]] = [:]
    /// Names and contents in the directory's order.
    private var files: [(name: String, contents: [UInt8])] = []
    private var selector: UInt16 = 0
    private var current: [UInt8] = []
    private var position = 0
    private var dmaHigh: UInt32 = 0

    init(memory: PhysicalMap, scheduler: Scheduler) {
        self.memory = memory
        self.scheduler = scheduler
        set(.signature, Array("QEMU".utf8))
        // Bit 0: the ports; bit 1: DMA.
        set(.interfaces, UInt32(3))
        select(0)
    }

    func attach(to ports: PortBus) {
        ports.claim(0x510, count: 2, by: self)
        ports.claim(Self.dmaBase, count: 8, by: self)
    }

    func reset() {
        dmaHigh = 0
        select(0)
    }

    // MARK: Contents

    func set(_ item: Item, _ contents: [UInt8]) { items[item.rawValue] = contents }

    /// A little-endian number of the type's size.
    func set<T: FixedWidthInteger>(_ item: Item, _ value: T) { set(item, Array(littleEndianBytes: value)) }

    /// Adds or replaces a named file. The directory is sorted by name, as QEMU keeps it.
    func setFile(_ name: String, _ contents: [UInt8]) {
        precondition(name.utf8.count < Self.nameBytes, "fw_cfg file names have at most 55 bytes")
        files.removeAll { $0.name == name }
        files.append((name, contents))
        files.sort { $0.name < $1.name }
        var directory = Array(bigEndianBytes: UInt32(files.count))
        for (index, file) in files.enumerated() {
            let selector = Self.firstFile + UInt16(index)
            items[selector] = file.contents
            directory += Array(bigEndianBytes: UInt32(file.contents.count)) + Array(bigEndianBytes: selector) + [0, 0]
            directory += Array(file.name.utf8) + [UInt8](repeating: 0, count: Self.nameBytes - file.name.utf8.count)
        }
        set(.fileDirectory, directory)
    }

    // MARK: Access

    private func select(_ value: UInt16) {
        selector = value
        // Bit 14 asked for writing in old versions.
        current = items[value & ~0x4000] ?? []
        position = 0
    }

    private func nextByte() -> UInt8 {
        guard position < current.count else { return 0 }
        defer { position += 1 }
        return current[position]
    }

    func portRead(_ port: UInt16, size: Int) -> UInt32 {
        if port >= Self.dmaBase {
            let signature = Array("QEMU CFG".utf8)
            return PortBus.splitRead(port, size: size) { signature[Int(($0 - Self.dmaBase) & 7)] }
        }
        return size == 1 ? UInt32(nextByte()) : 0
    }

    func portWrite(_ port: UInt16, size: Int, value: UInt32) {
        switch (port, size) {
        case (0x510, 2...): select(UInt16(truncatingIfNeeded: value))
        case (Self.dmaBase, 4): dmaHigh = value.byteSwapped
        case (Self.dmaBase + 4, 4):
            transfer(UInt64(dmaHigh) << 32 | UInt64(value.byteSwapped))
            dmaHigh = 0
        default: break
        }
    }

    func movesInBulk(_ port: UInt16) -> Bool { port == 0x510 || port == 0x511 }

    func portReadBulk(_ port: UInt16, size: Int, count: Int, into buffer: UnsafeMutableRawPointer) {
        for index in 0..<size * count {
            // SAFETY: the caller hands size * count bytes. Only byte reads carry data.
            buffer.storeBytes(of: size == 1 ? nextByte() : 0, toByteOffset: index, as: UInt8.self)
        }
    }

    private func readBigEndian(_ address: UInt64, size: Int) -> UInt64 {
        var value: UInt64 = 0
        for index in 0..<size { value = value << 8 | memory.read(address &+ UInt64(index), size: 1) }
        return value
    }

    private func transfer(_ descriptor: UInt64) {
        scheduler.longWork()
        let control = UInt32(truncatingIfNeeded: readBigEndian(descriptor, size: 4))
        let length = Int(truncatingIfNeeded: readBigEndian(descriptor &+ 4, size: 4) & 0xFFFF_FFFF)
        let address = readBigEndian(descriptor &+ 8, size: 8)
        if control & Control.select != 0 { select(UInt16(truncatingIfNeeded: control >> 16)) }
        var result: UInt32 = 0
        if control & (Control.read | Control.write) != 0, length > Self.longestTransfer {
            result = Control.error
        } else if control & Control.read != 0 {
            copy(to: address, length: length)
        } else if control & Control.write != 0 {
            // No item is writable.
            result = Control.error
        } else if control & Control.skip != 0 {
            position += min(length, max(current.count - position, 0))
        }
        withUnsafeBytes(of: result.bigEndian) { memory.write(descriptor, from: $0) }
    }

    /// Copies the rest of the item, then zeros up to `length`.
    private func copy(to address: UInt64, length: Int) {
        let available = min(length, max(current.count - position, 0))
        current.withUnsafeBytes { bytes in
            memory.write(address, from: UnsafeRawBufferPointer(rebasing: bytes[position..<position + available]))
        }
        position += available
        let zeros = [UInt8](repeating: 0, count: 4096)
        var done = available
        while done < length {
            let count = min(length - done, zeros.count)
            zeros.withUnsafeBytes { bytes in
                memory.write(address &+ UInt64(done), from: UnsafeRawBufferPointer(rebasing: bytes[0..<count]))
            }
            done += count
        }
    }
}

extension [UInt8] {
    init<T: FixedWidthInteger>(littleEndianBytes value: T) {
        self = Swift.withUnsafeBytes(of: value.littleEndian) { [UInt8]($0) }
    }
    init<T: FixedWidthInteger>(bigEndianBytes value: T) {
        self = Swift.withUnsafeBytes(of: value.bigEndian) { [UInt8]($0) }
    }
}

extension FwCfg {
    var stateID: String { "fw-cfg" }

    func exchange(_ c: StateCoder) {
        c.field("selector", &selector)
        c.field("position", &position, in: 0...Int.max)
        c.field("dmaHigh", &dmaHigh)
    }

    func stateRestored() {
        let reached = position
        select(selector)
        position = min(reached, current.count)
    }
}
