/// The 64 Ki I/O ports of the PC. Absent ports read as ones and swallow writes, as an ISA bus does.
final class PortBus {
    private final class Unclaimed: PortDevice {
        func portRead(_ port: UInt16, size: Int) -> UInt32 {
            size == 1 ? 0xFF : size == 2 ? 0xFFFF : 0xFFFF_FFFF
        }
        func portWrite(_ port: UInt16, size: Int, value: UInt32) {}
    }

    private let unclaimed = Unclaimed()
    /// One byte per port, an index into `devices`; 0 is nobody.
    private var owner = [UInt8](repeating: 0, count: 65536)
    private var devices: [any PortDevice]

    init() { devices = [unclaimed] }

    /// Gives `count` ports from `first` to `device`; later claims win, as with overlapping PCI BARs.
    func claim(_ first: UInt16, count: Int, by device: any PortDevice) {
        let slot: Int
        if let known = devices.firstIndex(where: { $0 === device }) {
            slot = known
        } else {
            precondition(devices.count < 256, "more than 255 port devices on the board")
            slot = devices.count
            devices.append(device)
        }
        for port in Int(first)..<min(Int(first) + count, 65536) { owner[port] = UInt8(slot) }
    }

    /// Takes ports back where `device` still owns them (a PCI BAR that moves or is disabled).
    func release(_ first: UInt16, count: Int, from device: any PortDevice) {
        guard let slot = devices.firstIndex(where: { $0 === device }) else { return }
        for port in Int(first)..<min(Int(first) + count, 65536) where owner[port] == UInt8(slot) { owner[port] = 0 }
    }

    func device(at port: UInt16) -> any PortDevice { devices[Int(owner[Int(port)])] }

    func read(_ port: UInt16, size: Int) -> UInt32 { device(at: port).portRead(port, size: size) }
    func write(_ port: UInt16, size: Int, value: UInt32) { device(at: port).portWrite(port, size: size, value: value) }

    /// Answers a wide access byte by byte, little-endian, through `read`.
    static func splitRead(_ port: UInt16, size: Int, _ read: (UInt16) -> UInt8) -> UInt32 {
        var value: UInt32 = 0
        for i in 0..<size { value |= UInt32(read(port &+ UInt16(i))) << UInt32(8 * i) }
        return value
    }

    /// Hands a wide access on byte by byte, little-endian, through `write`.
    static func splitWrite(_ port: UInt16, size: Int, value: UInt32, _ write: (UInt16, UInt8) -> Void) {
        for i in 0..<size { write(port &+ UInt16(i), UInt8(truncatingIfNeeded: value >> UInt32(8 * i))) }
    }
}
