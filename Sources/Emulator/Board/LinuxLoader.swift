/// Puts a Linux kernel, its initial RAM disk, its command line and our ACPI tables into memory and says where to start:
/// the 32-bit boot protocol, entered directly (docs/decisions/0101-linux-without-firmware.md).
///
/// | physical address | what |
/// | --- | --- |
/// | 0400 | BIOS data area: EBDA segment at 40E, base memory at 413 |
/// | 8000 | GDT |
/// | 9000 | stack, growing down |
/// | 10000 | boot parameters, one page |
/// | 11000 | command line |
/// | 9FC00 | RSDP, where a BIOS's EBDA would be |
/// | 100000 or preferred | kernel |
/// | below the tables | initial RAM disk, page-aligned |
/// | last 64 KiB of low RAM | ACPI tables |
///
/// Fields of the boot parameters: 002 extended KiB, 070 RSDP address, 1E0 extended KiB (32 bits), 1E8 E820 count, 1F1 setup
/// header (210 loader type, 218 initrd, 21C its size, 228 command line), 2D0 E820 entries of 20 bytes.
struct LinuxLoader {
    private enum Place {
        static let gdt: UInt64 = 0x8000
        static let stackTop: UInt32 = 0x9000
        static let parameters: UInt64 = 0x1_0000
        static let commandLine: UInt64 = 0x1_1000
        static let commandLineBytes = 0xF000
        static let ebda: UInt64 = 0x9_FC00
        static let tableBytes: UInt64 = 0x1_0000
    }
    private enum E820 { static let ram: UInt32 = 1, reserved: UInt32 = 2 }
    /// "A boot loader without an assigned number".
    private static let loaderType: UInt8 = 0xFF

    private let memory: PhysicalMap
    private let serialPortCount: Int
    /// Kept open, so that a reset finds the same files again whatever happened to their names.
    private let kernel: HostFile
    private let initrd: HostFile?
    private let header: LinuxSetupHeader
    private let initrdBase: UInt64
    private let tableBase: UInt64
    private let commandLine: [UInt8]

    /// Opens the files and finds everything its place.
    /// - Throws: `badFile` when a file cannot be read, is no kernel, or does not fit into memory.
    init(_ linux: PCConfig.Linux, memory: PhysicalMap, serialPortCount: Int) throws(MachineError) {
        self.memory = memory
        self.serialPortCount = serialPortCount
        guard memory.lowRAMBytes >= 16 << 20 else {
            throw .badConfiguration("a kernel needs at least 16 MiB of memory, not \(memory.lowRAMBytes >> 20) MiB")
        }
        tableBase = memory.lowRAMBytes - Place.tableBytes
        kernel = try HostFile(linux.kernelPath)
        header = try LinuxSetupHeader(prefix: kernel.read(LinuxSetupHeader.prefixBytes, at: 0), path: kernel.path)
        let kernelEnd = try Self.kernelEnd(kernel, header, limit: tableBase)
        if let path = linux.initrdPath {
            let file = try HostFile(path)
            initrdBase = try Self.place(file, above: kernelEnd, below: min(tableBase, UInt64(header.initrdLimit) + 1))
            initrd = file
        } else {
            initrdBase = 0
            initrd = nil
        }
        commandLine = Array(linux.commandLine.utf8)
        let limit = min(header.commandLineLimit, Place.commandLineBytes - 1)
        guard commandLine.count <= limit else {
            throw .badConfiguration(
                "the kernel command line has \(commandLine.count) bytes; this kernel takes \(limit)")
        }
    }

    /// - Returns: the first address beyond what the kernel needs before it knows the memory map.
    private static func kernelEnd(
        _ kernel: HostFile, _ header: LinuxSetupHeader, limit: UInt64
    ) throws(MachineError) -> UInt64 {
        let size = kernel.sizeBytes - header.setupBytes
        guard size > 0 else { throw .badFile(path: kernel.path, reason: "the file ends inside its setup code") }
        let end = UInt64(header.loadAddress) + max(UInt64(size), UInt64(header.initBytes))
        guard end <= limit else {
            throw .badFile(
                path: kernel.path, reason: "the kernel needs \(end >> 20) MiB of memory, the machine has \(limit >> 20)"
            )
        }
        return end
    }

    private static func place(_ file: HostFile, above start: UInt64, below end: UInt64) throws(MachineError) -> UInt64 {
        let size = UInt64(file.sizeBytes)
        guard size <= end, (end - size) & ~0xFFF >= start else {
            throw .badFile(
                path: file.path,
                reason:
                    "\(size >> 20) MiB do not fit between the kernel and \(end >> 20) MiB; give the machine more memory"
            )
        }
        return (end - size) & ~0xFFF
    }

    /// Fills guest memory; at power-on and again after every reset.
    /// - Throws: `badFile` when the host cannot read.
    func load() throws(MachineError) -> BootEntry {
        try copy(kernel, from: header.setupBytes, to: UInt64(header.loadAddress))
        if let initrd { try copy(initrd, from: 0, to: initrdBase) }
        store(commandLine + [0], at: Place.commandLine)
        storeTables()
        storeDescriptors()
        storeParameters()
        return BootEntry(
            instructionPointer: header.loadAddress, parameters: UInt32(Place.parameters), stackPointer: Place.stackTop,
            gdtBase: UInt32(Place.gdt), gdtLimit: 4 * 8 - 1)
    }

    /// The rest of a file straight into guest RAM, without a copy in between; `init` has checked that it fits.
    private func copy(_ file: HostFile, from offset: Int, to address: UInt64) throws(MachineError) {
        let count = file.sizeBytes - offset
        guard count > 0, let target = memory.ramPointer(address) else { return }
        try file.read(into: UnsafeMutableRawBufferPointer(start: target, count: count), at: offset)
        memory.announceWrite(address, UInt64(count))
    }

    // MARK: Structures

    private func store(_ bytes: [UInt8], at address: UInt64) {
        bytes.withUnsafeBytes { memory.write(address, from: $0) }
    }

    private func storeTables() {
        let acpi = ACPITables(base: tableBase, lowRAMEnd: memory.lowRAMBytes, serialPortCount: serialPortCount)
        store(acpi.tables, at: tableBase)
        store(acpi.rsdp, at: Place.ebda)
        store(Array(littleEndianBytes: UInt16(Place.ebda >> 4)), at: 0x40E)
        store(Array(littleEndianBytes: UInt16(Place.ebda >> 10)), at: 0x413)
    }

    /// Null, unused, flat 32-bit code (10h), flat data (18h).
    private func storeDescriptors() {
        let descriptors: [UInt64] = [0, 0, 0x00CF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF]
        store(descriptors.flatMap { descriptor in Array(littleEndianBytes: descriptor) }, at: Place.gdt)
    }

    private func memoryMap() -> [(start: UInt64, end: UInt64, type: UInt32)] {
        var map: [(start: UInt64, end: UInt64, type: UInt32)] = [
            (0, Place.ebda, E820.ram),
            (Place.ebda, 0xA_0000, E820.reserved),
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

    private func storeParameters() {
        var page = [UInt8](repeating: 0, count: 4096)
        func put<T: FixedWidthInteger>(_ offset: Int, _ value: T) {
            page.replaceSubrange(offset..<offset + T.bitWidth / 8, with: Array(littleEndianBytes: value))
        }
        page.replaceSubrange(0x1F1..<0x1F1 + header.bytes.count, with: header.bytes)
        let extendedKiB = (memory.lowRAMBytes - 0x10_0000) >> 10
        put(0x002, UInt16(clamping: extendedKiB))
        put(0x1E0, UInt32(extendedKiB))
        put(0x070, Place.ebda)
        page[0x210] = Self.loaderType
        put(0x218, UInt32(initrdBase))
        put(0x21C, UInt32(initrd?.sizeBytes ?? 0))
        put(0x228, UInt32(Place.commandLine))
        let map = memoryMap()
        page[0x1E8] = UInt8(map.count)
        for (index, range) in map.enumerated() {
            put(0x2D0 + 20 * index, range.start)
            put(0x2D0 + 20 * index + 8, range.end - range.start)
            put(0x2D0 + 20 * index + 16, range.type)
        }
        store(page, at: Place.parameters)
    }
}
