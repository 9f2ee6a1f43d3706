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
/// Fields of the boot parameters: 000 screen (6 mode, 7 columns, E lines, F a VGA, 10 scan lines of a character), 002 extended KiB, 070 RSDP address, 1E0 extended KiB (32 bits), 1E8 E820 count, 1F1 setup
/// header (210 loader type, 218 initrd, 21C its size, 228 command line), 2D0 E820 entries of 20 bytes.
struct LinuxLoader: KernelLoader {
    private enum Place {
        static let commandLine: UInt64 = 0x1_1000
        static let commandLineBytes = 0xF000
    }
    /// "A boot loader without an assigned number".
    private static let loaderType: UInt8 = 0xFF

    private let memory: PhysicalMap
    private let serialPortCount: Int
    private let topology: CPUTopology
    /// Kept open, so that a reset finds the same files again whatever happened to their names.
    private let kernel: HostFile
    private let initrd: HostFile?
    private let header: LinuxSetupHeader
    private let initrdBase: UInt64
    private let layout: DirectBootLayout
    private let commandLine: [UInt8]

    /// Opens the files and finds everything its place.
    /// - Throws: `badFile` when a file cannot be read, is no kernel, or does not fit into memory.
    init(
        _ linux: PCConfig.Linux, memory: PhysicalMap, serialPortCount: Int, topology: CPUTopology = CPUTopology()
    ) throws(MachineError) {
        self.topology = topology
        self.memory = memory
        self.serialPortCount = serialPortCount
        layout = try DirectBootLayout(memory: memory)
        let tableBase = layout.tableBase
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
        let size = kernel.sizeBytes - header.setupBytes
        try layout.copy(kernel, from: header.setupBytes, count: size, to: UInt64(header.loadAddress))
        if let initrd { try layout.copy(initrd, from: 0, count: initrd.sizeBytes, to: initrdBase) }
        layout.store(commandLine + [0], at: Place.commandLine)
        layout.storeTables(serialPortCount: serialPortCount, topology: topology)
        storeParameters()
        return layout.entry(at: header.loadAddress)
    }

    // MARK: Structures

    private func storeParameters() {
        var page = [UInt8](repeating: 0, count: 4096)
        func put<T: FixedWidthInteger>(_ offset: Int, _ value: T) {
            page.replaceSubrange(offset..<offset + T.bitWidth / 8, with: Array(littleEndianBytes: value))
        }
        page.replaceSubrange(0x1F1..<0x1F1 + header.bytes.count, with: header.bytes)
        let extendedKiB = (memory.lowRAMBytes - 0x10_0000) >> 10
        // The screen: VGA text mode 3, 80 columns, 25 lines of 16 scan lines.
        (page[0x06], page[0x07], page[0x0E], page[0x0F], page[0x10]) = (3, 80, 25, 1, 16)
        put(0x002, UInt16(clamping: extendedKiB))
        put(0x1E0, UInt32(extendedKiB))
        put(0x070, DirectBootLayout.ebda)
        page[0x210] = Self.loaderType
        put(0x218, UInt32(initrdBase))
        put(0x21C, UInt32(initrd?.sizeBytes ?? 0))
        put(0x228, UInt32(Place.commandLine))
        let map = layout.memoryMap
        page[0x1E8] = UInt8(map.count)
        for (index, range) in map.enumerated() {
            put(0x2D0 + 20 * index, range.start)
            put(0x2D0 + 20 * index + 8, range.end - range.start)
            put(0x2D0 + 20 * index + 16, range.type)
        }
        layout.store(page, at: DirectBootLayout.parameters)
    }
}
