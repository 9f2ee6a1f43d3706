/// The VM Generation ID (Microsoft, "Virtual Machine Generation ID", 2012; QEMU documentation, specs/vmgenid): 16 bytes that are
/// others whenever the machine has been turned back or copied, so that guests forget what must not be used twice.
///
/// | where | what |
/// | --- | --- |
/// | FED10000, 4 KiB | the page; the identifier is 40 bytes from its start, as in QEMU's |
/// | ACPI `\_SB.VGEN` | `ADDR` gives the identifier's address; `VM_Gen_Counter` |
/// | GPE 5 | it has changed |
/// | fw_cfg `etc/vmgenid_guid`, `etc/vmgenid_addr` | the page, and its address |
///
/// The page is not in RAM: a guest cannot lose or forge it, and a kernel that starts without firmware finds it too.
final class VMGenerationID: MMIODevice, BoardDevice {
    static let base: UInt64 = 0xFED1_0000
    static let mappedBytes: UInt64 = 0x1000
    /// Where the identifier lies in its page.
    static let offset: UInt64 = 40
    static let generalEvent = 5
    static let identifierBytes = 16

    private var identifier = VMGenerationID.fresh()

    private static func fresh() -> [UInt8] {
        var host = SystemRandomNumberGenerator()
        return (0..<identifierBytes).map { _ in UInt8.random(in: 0...UInt8.max, using: &host) }
    }

    /// Files for the firmware.
    func describe(to fwCfg: FwCfg) {
        var page = [UInt8](repeating: 0, count: Int(Self.mappedBytes))
        page.replaceSubrange(Int(Self.offset)..<Int(Self.offset) + Self.identifierBytes, with: identifier)
        fwCfg.setFile("etc/vmgenid_guid", page)
        fwCfg.setFile("etc/vmgenid_addr", Array(littleEndianBytes: Self.base))
    }

    /// The machine is another one from now on.
    func renew() { identifier = Self.fresh() }

    func mmioRead(_ offset: UInt64, size: Int) -> UInt64 {
        var value: UInt64 = 0
        for index in (0..<size).reversed() {
            let place = offset &+ UInt64(index) &- Self.offset
            value = value << 8 | (place < UInt64(Self.identifierBytes) ? UInt64(identifier[Int(place)]) : 0)
        }
        return value
    }

    func mmioWrite(_ offset: UInt64, size: Int, value: UInt64) {}

    /// Power-on and reset change nothing: it is the same machine.
    func reset() {}

    var stateID: String { "vmgenid" }

    func exchange(_ c: StateCoder) {
        c.field("identifier", &identifier, count: Self.identifierBytes...Self.identifierBytes)
    }
}
