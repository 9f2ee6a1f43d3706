/// The 64 Ki I/O ports of the PC. Absent ports read as ones and swallow writes, as an ISA bus does.
final class PortBus {
    private final class Unclaimed: PortDevice {
        func portRead(_ port: UInt16, size: Int) -> UInt32 { ~0 }
        func portWrite(_ port: UInt16, size: Int, value: UInt32) {}
    }

    private struct Claim: Equatable {
        let first: Int
        let end: Int
        let slot: UInt8
    }

    private let unclaimed = Unclaimed()
    /// Oldest first. Where claims overlap the newest answers; when it goes, the one below it answers again.
    private var claims: [Claim] = []
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
        let claim = Self.claim(first, count, slot)
        claims.append(claim)
        for port in claim.first..<claim.end { owner[port] = claim.slot }
    }

    /// Undoes the newest `claim` of the same ports by `device` (a PCI BAR that moves or is disabled). Whoever had the ports
    /// before has them again.
    func release(_ first: UInt16, count: Int, from device: any PortDevice) {
        guard let slot = devices.firstIndex(where: { $0 === device }) else { return }
        let claim = Self.claim(first, count, slot)
        guard let index = claims.lastIndex(of: claim) else { return }
        claims.remove(at: index)
        for port in claim.first..<claim.end {
            owner[port] = claims.last { ($0.first..<$0.end).contains(port) }?.slot ?? 0
        }
    }

    private static func claim(_ first: UInt16, _ count: Int, _ slot: Int) -> Claim {
        Claim(first: Int(first), end: min(Int(first) + count, 65536), slot: UInt8(slot))
    }

    func device(at port: UInt16) -> any PortDevice { devices[Int(owner[Int(port)])] }

    func read(_ port: UInt16, size: Int) -> UInt32 {
        device(at: port).portRead(port, size: size).clipped(toBytes: size)
    }
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
