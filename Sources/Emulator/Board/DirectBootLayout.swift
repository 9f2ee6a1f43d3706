/// Puts a kernel into memory and says where to start; at power-on and again after every reset.
protocol KernelLoader {
    /// - Throws: `badFile` when the host cannot read.
    func load() throws(MachineError) -> BootEntry
}

/// What every kernel that starts without firmware finds in memory: descriptors, a stack, ACPI tables, and what a BIOS leaves in its
/// data area. Where things are: LinuxLoader.swift.
struct DirectBootLayout {
    static let gdt: UInt64 = 0x8000
    static let stackTop: UInt32 = 0x9000
    static let parameters: UInt64 = 0x1_0000
    static let ebda: UInt64 = 0x9_FC00
    private static let tableBytes: UInt64 = 0x1_0000
    private enum E820 { static let ram: UInt32 = 1, reserved: UInt32 = 2 }

    private let memory: PhysicalMap
    /// ACPI tables, and the end of what a kernel may use below 4 GiB.
    let tableBase: UInt64

    /// - Throws: `badConfiguration` for a machine too small for any kernel.
    init(memory: PhysicalMap) throws(MachineError) {
        guard memory.lowRAMBytes >= 16 << 20 else {
            throw .badConfiguration("a kernel needs at least 16 MiB of memory, not \(memory.lowRAMBytes >> 20) MiB")
        }
        self.memory = memory
        tableBase = memory.lowRAMBytes - Self.tableBytes
    }

    /// Stores the descriptors and enters flat 32-bit code at `address`.
    func entry(at address: UInt32) -> BootEntry {
        // Null, unused, flat 32-bit code (10h), flat data (18h).
        let descriptors: [UInt64] = [0, 0, 0x00CF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF]
        store(descriptors.flatMap { descriptor in Array(littleEndianBytes: descriptor) }, at: Self.gdt)
        return BootEntry(
            instructionPointer: address, parameters: UInt32(Self.parameters), stackPointer: Self.stackTop,
            gdtBase: UInt32(Self.gdt), gdtLimit: 4 * 8 - 1)
    }

    /// - Returns: the RSDP.
    @discardableResult
    func storeTables(serialPortCount: Int, topology: CPUTopology) -> [UInt8] {
        let acpi = ACPITables(
            base: tableBase, lowRAMEnd: memory.lowRAMBytes, serialPortCount: serialPortCount, topology: topology)
        store(acpi.tables, at: tableBase)
        store(acpi.rsdp, at: Self.ebda)
        store(Array(littleEndianBytes: UInt16(Self.ebda >> 4)), at: 0x40E)
        store(Array(littleEndianBytes: UInt16(Self.ebda >> 10)), at: 0x413)
        return acpi.rsdp
    }

    func store(_ bytes: [UInt8], at address: UInt64) {
        bytes.withUnsafeBytes { memory.write(address, from: $0) }
    }

    /// A piece of a file straight into guest RAM, without a copy in between; the caller has checked that it fits.
    func copy(_ file: HostFile, from offset: Int, count: Int, to address: UInt64) throws(MachineError) {
        guard count > 0, let target = memory.ramPointer(address) else { return }
        try file.read(into: UnsafeMutableRawBufferPointer(start: target, count: count), at: offset)
        memory.announceWrite(address, UInt64(count))
    }

    /// Zeroes memory that the caller has checked.
    func zero(_ address: UInt64, _ count: UInt64) {
        guard count > 0, let target = memory.ramPointer(address) else { return }
        target.initializeMemory(as: UInt8.self, repeating: 0, count: Int(count))
        memory.announceWrite(address, count)
    }

    /// E820 ranges.
    var memoryMap: [(start: UInt64, end: UInt64, type: UInt32)] {
        var map: [(start: UInt64, end: UInt64, type: UInt32)] = [
            (0, Self.ebda, E820.ram),
            (Self.ebda, 0xA_0000, E820.reserved),
            (0xF_0000, 0x10_0000, E820.reserved),
            (0x10_0000, tableBase, E820.ram),
            (tableBase, memory.lowRAMBytes, E820.reserved),
            // The firmware's ROM.
            (0xFFFC_0000, 0x1_0000_0000, E820.reserved),
        ]
        let highBytes = memory.ramSizeBytes - memory.lowRAMBytes
        if highBytes > 0 { map.append((PhysicalMap.highRAMBase, PhysicalMap.highRAMBase + highBytes, E820.ram)) }
        return map
    }
}
