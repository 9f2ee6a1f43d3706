/// QEMU's `etc/table-loader` (hw/acpi/bios-linker-loader): how firmware puts our ACPI tables into memory.
///
/// 128-byte commands, little-endian, names of 56 bytes:
///
/// | command | fields |
/// | --- | --- |
/// | 1 allocate | 4 file, 60 alignment, 64 zone (1 high memory, 2 F-segment) |
/// | 2 add pointer | 4 file to change, 60 file pointed to, 116 offset, 120 size |
/// | 3 add checksum | 4 file, 60 checksum's offset, 64 start, 68 length |
struct TableLoaderScript {
    static let tablesFile = "etc/acpi/tables"
    static let rsdpFile = "etc/acpi/rsdp"
    static let scriptFile = "etc/table-loader"
    private static let commandBytes = 128
    private static let nameBytes = 56

    private(set) var bytes: [UInt8] = []

    /// - Parameter tables: built for base 0, so that their pointers are offsets.
    init(_ tables: ACPITables) {
        allocate(Self.rsdpFile, alignment: 16, zone: 2)
        allocate(Self.tablesFile, alignment: 64, zone: 1)
        for pointer in tables.pointers { addPointer(in: Self.tablesFile, pointer.offset, pointer.sizeBytes) }
        for sum in tables.checksums { addChecksum(Self.tablesFile, sum.offset, sum.start, sum.length) }
        addPointer(in: Self.rsdpFile, 16, 4)
        addPointer(in: Self.rsdpFile, 24, 8)
        addChecksum(Self.rsdpFile, 8, 0, 20)
        addChecksum(Self.rsdpFile, 32, 0, 36)
    }

    /// Adds tables, RSDP and script to the firmware's files.
    static func install(_ tables: ACPITables, in fwCfg: FwCfg) {
        fwCfg.setFile(tablesFile, tables.tables)
        fwCfg.setFile(rsdpFile, tables.rsdp)
        fwCfg.setFile(scriptFile, TableLoaderScript(tables).bytes)
    }

    private static func name(_ text: String) -> [UInt8] {
        Array(text.utf8) + [UInt8](repeating: 0, count: nameBytes - text.utf8.count)
    }

    private mutating func append(_ command: UInt32, _ fields: [UInt8]) {
        let used = Array(littleEndianBytes: command) + fields
        bytes += used + [UInt8](repeating: 0, count: Self.commandBytes - used.count)
    }

    private mutating func allocate(_ file: String, alignment: UInt32, zone: UInt8) {
        append(1, Self.name(file) + Array(littleEndianBytes: alignment) + [zone])
    }

    /// All pointers lead into the tables.
    private mutating func addPointer(in file: String, _ offset: Int, _ sizeBytes: Int) {
        let place = Array(littleEndianBytes: UInt32(offset)) + [UInt8(sizeBytes)]
        append(2, Self.name(file) + Self.name(Self.tablesFile) + place)
    }

    private mutating func addChecksum(_ file: String, _ offset: Int, _ start: Int, _ length: Int) {
        let numbers = [offset, start, length].reduce(into: [UInt8]()) { $0 += Array(littleEndianBytes: UInt32($1)) }
        append(3, Self.name(file) + numbers)
    }
}
