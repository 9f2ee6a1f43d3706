/// The ACPI tables of the PC, built for a given place in memory (ACPI 6.4, chapter 5.2).
///
/// | table | what |
/// | --- | --- |
/// | RSDP | `RSD PTR `, points to RSDT and XSDT |
/// | RSDT, XSDT | point to the rest, with 32 and 64 bits |
/// | FADT, FACS | PM registers, SCI, power button, reset register |
/// | MADT | local APICs, I/O APIC, interrupt overrides |
/// | HPET | timer block |
/// | DSDT | devices in AML |
///
/// Every header: 0 signature, 4 length, 8 revision, 9 checksum, 10 OEM id, 16 OEM table id, 24 OEM revision, 28 creator, 32 revision.
struct ACPITables {
    /// PM registers' I/O base that the tables promise; firmware and direct boot program it.
    static let pmBase: UInt16 = 0x600
    static let sciInterrupt: UInt16 = 9
    private static let headerBytes = 36
    private static let oemID = Array("LABCTL".utf8)
    private static let oemTableID = Array("LABCTLPC".utf8)
    private static let creatorID = Array("LABC".utf8)

    /// A little-endian address inside the tables that refers to the tables' own memory.
    struct Pointer {
        let offset: Int
        let sizeBytes: Int
    }
    /// A byte that makes the bytes of its range sum to zero.
    struct Checksum {
        let offset: Int
        let start: Int
        let length: Int
    }

    /// Everything but the RSDP; FACS first, because it wants 64-byte alignment.
    private(set) var tables: [UInt8] = []
    private(set) var pointers: [Pointer] = []
    private(set) var checksums: [Checksum] = []
    /// The Root System Description Pointer (36 bytes), with right checksums.
    let rsdp: [UInt8]
    /// Offsets of RSDT and XSDT in `tables`, where the RSDP points.
    let rsdtOffset: Int
    let xsdtOffset: Int
    private let base: UInt64

    /// - Parameter base: physical address of `tables`, 64-byte aligned; with 0 the pointers are offsets to be relocated.
    init(
        base: UInt64, lowRAMEnd: UInt64, serialPortCount: Int, hasFloppy: Bool = false,
        topology: CPUTopology = CPUTopology()
    ) {
        self.base = base
        var writer = Writer(base: base)
        let facs = writer.appendRaw(Self.facs())
        let dsdt = writer.append(
            "DSDT", revision: 1,
            DSDT.terms(
                lowRAMEnd: lowRAMEnd, serialPortCount: serialPortCount, hasFloppy: hasFloppy,
                cpuCount: topology.count))
        let fadt = writer.append("FACP", revision: 3, Self.fadt())
        // FIRMWARE_CTRL and DSDT, and their 64-bit twins.
        for (offset, size, target) in [(36, 4, facs), (40, 4, dsdt), (140, 8, dsdt)] {
            writer.point(at: fadt + offset, size: size, to: target)
        }
        let madt = writer.append("APIC", revision: 1, Self.madt(topology))
        let hpet = writer.append("HPET", revision: 1, Self.hpet())
        let described = [fadt, madt, hpet]
        let rsdt = writer.append("RSDT", revision: 1, [UInt8](repeating: 0, count: 4 * described.count))
        let xsdt = writer.append("XSDT", revision: 1, [UInt8](repeating: 0, count: 8 * described.count))
        for (index, table) in described.enumerated() {
            writer.point(at: rsdt + Self.headerBytes + 4 * index, size: 4, to: table)
            writer.point(at: xsdt + Self.headerBytes + 8 * index, size: 8, to: table)
        }
        writer.finish()
        (tables, pointers, checksums) = (writer.bytes, writer.pointers, writer.checksums)
        (rsdtOffset, xsdtOffset) = (rsdt, xsdt)
        rsdp = Self.rsdp(rsdt: base + UInt64(rsdt), xsdt: base + UInt64(xsdt))
    }

    // MARK: Tables

    /// Signature, checksum of 20 bytes, OEM, revision 2, RSDT, length, XSDT, checksum of all 36.
    private static func rsdp(rsdt: UInt64, xsdt: UInt64) -> [UInt8] {
        var bytes = Array("RSD PTR ".utf8) + [0] + oemID + [2]
        bytes += Array(littleEndianBytes: UInt32(truncatingIfNeeded: rsdt)) + Array(littleEndianBytes: UInt32(36))
        bytes += Array(littleEndianBytes: xsdt) + [0, 0, 0, 0]
        bytes[8] = 0 &- bytes[0..<20].reduce(0, &+)
        bytes[32] = 0 &- bytes.reduce(0, &+)
        return bytes
    }

    private static func facs() -> [UInt8] {
        Array("FACS".utf8) + Array(littleEndianBytes: UInt32(64)) + [UInt8](repeating: 0, count: 56)
    }

    /// Fields from offset 36 on; 244 bytes with the header.
    private static func fadt() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 244 - headerBytes)
        func put<T: FixedWidthInteger>(_ offset: Int, _ value: T) {
            bytes.replaceSubrange(
                offset - headerBytes..<offset - headerBytes + T.bitWidth / 8, with: Array(littleEndianBytes: value))
        }
        /// Generic address: 1 (I/O space), bits, offset, access size, 64-bit address.
        func putRegister(_ offset: Int, bits: UInt8, access: UInt8, at port: UInt16) {
            for (index, byte) in [1, bits, 0, access].enumerated() { put(offset + index, UInt8(byte)) }
            put(offset + 4, UInt64(port))
        }
        put(45, UInt8(0))
        put(46, sciInterrupt)
        // SMI command port with the values that turn ACPI on and off.
        put(48, UInt32(0xB2))
        put(52, UInt8(0xF1))
        put(53, UInt8(0xF0))
        // PM1a event, PM1a control, PM timer, GPE0: ports, then lengths.
        put(56, UInt32(pmBase))
        put(64, UInt32(pmBase + 4))
        put(76, UInt32(pmBase + 8))
        put(80, UInt32(0xAFE0))
        for (offset, length) in [(88, 4), (89, 2), (91, 4), (92, 4)] { put(offset, UInt8(length)) }
        // C2 and C3 are not supported: latencies above 100 and 1000 µs say so.
        put(96, UInt16(0xFFF))
        put(98, UInt16(0xFFF))
        put(108, UInt8(0x32))
        // Legacy devices and an 8042 are there.
        put(109, UInt16(0x0003))
        // WBINVD works, C1 works, no sleep button, RTC wakes S4, reset register below.
        put(112, UInt32(1 << 0 | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 10))
        putRegister(116, bits: 8, access: 1, at: 0xCF9)
        put(128, UInt8(0x06))
        putRegister(148, bits: 32, access: 2, at: pmBase)
        putRegister(172, bits: 16, access: 2, at: pmBase + 4)
        putRegister(208, bits: 32, access: 3, at: pmBase + 8)
        putRegister(220, bits: 32, access: 1, at: 0xAFE0)
        return bytes
    }

    /// Local APIC address, flags (bit 0: 8259 pair too), then entries: type, length, data.
    private static func madt(_ topology: CPUTopology) -> [UInt8] {
        var bytes = Array(littleEndianBytes: UInt32(LocalAPIC.defaultBase)) + Array(littleEndianBytes: UInt32(1))
        // Processors by their number, as the DSDT has them, and the IDs of their APICs; enabled.
        for index in 0..<topology.count {
            bytes += [0, 8, UInt8(index), UInt8(topology.apicID(of: index))] + Array(littleEndianBytes: UInt32(1))
        }
        // I/O APIC 0 from GSI 0.
        bytes += [1, 12, 0, 0] + Array(littleEndianBytes: UInt32(IOAPIC.base)) + Array(littleEndianBytes: UInt32(0))
        // ISA 0 is GSI 2; the SCI and the PCI interrupts are active high and level-triggered.
        func override(_ irq: UInt8, gsi: UInt32, flags: UInt16) -> [UInt8] {
            [2, 10, 0, irq] + Array(littleEndianBytes: gsi) + Array(littleEndianBytes: flags)
        }
        bytes += override(0, gsi: 2, flags: 0)
        for irq in [5, 9, 10, 11] as [UInt8] { bytes += override(irq, gsi: UInt32(irq), flags: 0x000D) }
        // NMI on LINT1 of every processor.
        return bytes + [4, 6, 0xFF, 0, 0, 1]
    }

    /// Hardware id, address, block number, minimum tick, page protection.
    private static func hpet() -> [UInt8] {
        Array(littleEndianBytes: HPET.eventTimerBlockID) + [0, 0, 0, 0] + Array(littleEndianBytes: HPET.base) + [
            0, 0, 0, 0,
        ]
    }

    // MARK: Assembly

    private struct Writer {
        let base: UInt64
        var bytes: [UInt8] = []
        var pointers: [Pointer] = []
        var checksums: [Checksum] = []

        init(base: UInt64) { self.base = base }

        /// - Returns: the offset of the appended bytes.
        mutating func appendRaw(_ contents: [UInt8]) -> Int {
            bytes += [UInt8](repeating: 0, count: -bytes.count & 15)
            defer { bytes += contents }
            return bytes.count
        }

        mutating func append(_ signature: String, revision: UInt8, _ body: [UInt8]) -> Int {
            let length = headerBytes + body.count
            var header =
                Array(signature.utf8) + Array(littleEndianBytes: UInt32(length)) + [revision, 0] + oemID + oemTableID
            header += Array(littleEndianBytes: UInt32(1)) + creatorID + Array(littleEndianBytes: UInt32(1))
            let offset = appendRaw(header + body)
            checksums.append(Checksum(offset: offset + 9, start: offset, length: length))
            return offset
        }

        mutating func point(at offset: Int, size: Int, to target: Int) {
            let address = Array(littleEndianBytes: base + UInt64(target)).prefix(size)
            bytes.replaceSubrange(offset..<offset + size, with: address)
            pointers.append(Pointer(offset: offset, sizeBytes: size))
        }

        mutating func finish() {
            for sum in checksums {
                bytes[sum.offset] = 0
                bytes[sum.offset] = 0 &- bytes[sum.start..<sum.start + sum.length].reduce(0, &+)
            }
        }
    }
}
