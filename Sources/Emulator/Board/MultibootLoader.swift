/// Starts Multiboot kernels of both versions and plain ELF ones, in protected mode (Multiboot Specification 0.6.96, 3.2 and 3.3; 2.0, 3.3
/// and 3.6). An ELF file without a header is entered like one of version 1.
///
/// | physical address | what |
/// | --- | --- |
/// | 8000 | GDT |
/// | 9000 | stack, growing down |
/// | 10000 | information for the kernel: EBX points there |
/// | 9FC00 | RSDP, where a BIOS's EBDA would be |
/// | where it says | kernel |
/// | above it | modules, page-aligned: the files of `-initrd`, separated by commas, each with its own words behind the name |
/// | last 64 KiB of low RAM | ACPI tables |
struct MultibootLoader: KernelLoader {
    private static let magic1: UInt32 = 0x2BAD_B002, magic2: UInt32 = 0x36D7_6289
    private static let informationBytes = 0x8_0000
    private static let loaderName = "labctl"

    private struct Module {
        var file: HostFile
        var line: String
        var address: UInt64
    }

    private let memory: PhysicalMap
    private let serialPortCount: Int
    private let topology: CPUTopology
    private let file: HostFile
    private let header: MultibootHeader?
    private let segments: [ELFImage.Segment]
    private let entry: UInt32
    private let commandLine: String
    private let modules: [Module]
    private let layout: DirectBootLayout

    /// - Throws: `badFile` when a file cannot be read, is no kernel, or does not fit into memory.
    init(
        _ linux: PCConfig.Linux, memory: PhysicalMap, serialPortCount: Int, topology: CPUTopology = CPUTopology()
    ) throws(MachineError) {
        self.topology = topology
        self.memory = memory
        self.serialPortCount = serialPortCount
        layout = try DirectBootLayout(memory: memory)
        file = try HostFile(linux.kernelPath)
        header = MultibootHeader(try file.read(32768, at: 0))
        if let header, let addresses = header.addresses, let start = header.entry {
            segments = [try Self.segment(addresses, header.offset, file)]
            entry = start
        } else if let image = try ELFImage(file) {
            segments = image.segments
            entry = header?.entry ?? image.entry
        } else {
            throw .badFile(path: file.path, reason: "neither a Linux kernel (bzImage) nor a Multiboot or ELF kernel")
        }
        commandLine = linux.commandLine.isEmpty ? linux.kernelPath : linux.kernelPath + " " + linux.commandLine
        var end: UInt64 = 0x10_0000
        for segment in segments {
            let last = segment.address + segment.memoryBytes
            guard last <= layout.tableBase, memory.ramPointer(segment.address) != nil else {
                throw .badFile(
                    path: file.path,
                    reason: "the kernel needs memory up to \(last >> 20) MiB, the machine has \(layout.tableBase >> 20)"
                )
            }
            end = max(end, last)
        }
        modules = try Self.place(linux.initrdPath, from: end, below: layout.tableBase)
    }

    private static func segment(
        _ addresses: MultibootHeader.Addresses, _ headerOffset: Int, _ file: HostFile
    ) throws(MachineError) -> ELFImage.Segment {
        let offset = headerOffset - (Int(addresses.header) - Int(addresses.load))
        let available = file.sizeBytes - offset
        let wanted = addresses.loadEnd == 0 ? available : Int(addresses.loadEnd) - Int(addresses.load)
        guard addresses.load <= addresses.header, offset >= 0, wanted > 0, wanted <= available else {
            throw .badFile(path: file.path, reason: "damaged: its Multiboot header names bytes outside of the file")
        }
        let whole = max(wanted, Int(addresses.zeroEnd) - Int(addresses.load))
        return ELFImage.Segment(
            offset: offset, address: UInt64(addresses.load), fileBytes: wanted, memoryBytes: UInt64(whole))
    }

    private static func place(
        _ list: String?, from start: UInt64, below end: UInt64
    ) throws(MachineError) -> [Module] {
        var next = (start + 0xFFF) & ~0xFFF
        var modules: [Module] = []
        for text in (list ?? "").split(separator: ",") {
            let path = String(text.split(separator: " ").first ?? "")
            let file = try HostFile(path)
            guard UInt64(file.sizeBytes) <= end &- min(next, end) else {
                throw .badFile(path: path, reason: "does not fit into memory; give the machine more")
            }
            modules.append(Module(file: file, line: String(text), address: next))
            next = (next + UInt64(file.sizeBytes) + 0xFFF) & ~0xFFF
        }
        return modules
    }

    func load() throws(MachineError) -> BootEntry {
        for segment in segments {
            try layout.copy(file, from: segment.offset, count: segment.fileBytes, to: segment.address)
            let rest = segment.memoryBytes - UInt64(segment.fileBytes)
            layout.zero(segment.address + UInt64(segment.fileBytes), rest)
        }
        for module in modules {
            try layout.copy(module.file, from: 0, count: module.file.sizeBytes, to: module.address)
        }
        let rsdp = layout.storeTables(serialPortCount: serialPortCount, topology: topology)
        let information = header?.version == 2 ? information2(rsdp) : information1()
        guard information.count <= Self.informationBytes else {
            throw .badConfiguration("the command lines of kernel and modules are too long")
        }
        layout.store(information, at: DirectBootLayout.parameters)
        var start = layout.entry(at: entry)
        start.eax = header?.version == 2 ? Self.magic2 : Self.magic1
        start.ebx = UInt32(DirectBootLayout.parameters)
        start.parameters = 0
        return start
    }

    // MARK: What the kernel is told

    /// KiB of conventional memory, and above 1 MiB.
    private var lowerKiB: UInt32 { UInt32(DirectBootLayout.ebda >> 10) }
    private var upperKiB: UInt32 { UInt32((layout.tableBase - 0x10_0000) >> 10) }

    /// Version 1: a structure of 120 bytes, then what it points to.
    private func information1() -> [UInt8] {
        let base = UInt32(DirectBootLayout.parameters)
        var fixed = [UInt8](repeating: 0, count: 120)
        var rest: [UInt8] = []
        func put(_ offset: Int, _ value: UInt32) {
            fixed.replaceSubrange(offset..<offset + 4, with: Array(littleEndianBytes: value))
        }
        /// Appends and says where.
        func add(_ bytes: [UInt8]) -> UInt32 {
            let place = base + 120 + UInt32(rest.count)
            rest += bytes + [UInt8](repeating: 0, count: -bytes.count & 3)
            return place
        }
        // Memory sizes, command line, modules, memory map, loader's name.
        put(0, 1 | 1 << 2 | (modules.isEmpty ? 0 : 1 << 3) | 1 << 6 | 1 << 9)
        put(4, lowerKiB)
        put(8, upperKiB)
        put(16, add(Array(commandLine.utf8) + [0]))
        let entries = modules.flatMap { module -> [UInt8] in
            let line = add(Array(module.line.utf8) + [0])
            let start = UInt32(module.address)
            return [start, start + UInt32(module.file.sizeBytes), line, 0].flatMap { word -> [UInt8] in
                Array(littleEndianBytes: word)
            }
        }
        put(20, UInt32(modules.count))
        put(24, add(entries))
        let map = layout.memoryMap.flatMap { range -> [UInt8] in
            Array(littleEndianBytes: UInt32(20)) + Array(littleEndianBytes: range.start)
                + Array(littleEndianBytes: range.end - range.start) + Array(littleEndianBytes: range.type)
        }
        put(44, UInt32(map.count))
        put(48, add(map))
        put(64, add(Array(Self.loaderName.utf8) + [0]))
        return fixed + rest
    }

    /// Version 2: total size, then tags of type, size and contents, each at a multiple of 8.
    private func information2(_ rsdp: [UInt8]) -> [UInt8] {
        var tags: [UInt8] = []
        func add(_ type: UInt32, _ contents: [UInt8]) {
            tags += Array(littleEndianBytes: type) + Array(littleEndianBytes: UInt32(8 + contents.count)) + contents
            tags += [UInt8](repeating: 0, count: -tags.count & 7)
        }
        add(1, Array(commandLine.utf8) + [0])
        add(2, Array(Self.loaderName.utf8) + [0])
        for module in modules {
            let start = UInt32(module.address)
            add(
                3,
                Array(littleEndianBytes: start) + Array(littleEndianBytes: start + UInt32(module.file.sizeBytes))
                    + Array(module.line.utf8) + [0])
        }
        add(4, Array(littleEndianBytes: lowerKiB) + Array(littleEndianBytes: upperKiB))
        let map = layout.memoryMap.flatMap { range -> [UInt8] in
            Array(littleEndianBytes: range.start) + Array(littleEndianBytes: range.end - range.start)
                + Array(littleEndianBytes: range.type) + Array(littleEndianBytes: UInt32(0))
        }
        add(6, Array(littleEndianBytes: UInt32(24)) + Array(littleEndianBytes: UInt32(0)) + map)
        add(15, rsdp)
        add(0, [])
        return Array(littleEndianBytes: UInt32(8 + tags.count)) + [0, 0, 0, 0] + tags
    }
}
