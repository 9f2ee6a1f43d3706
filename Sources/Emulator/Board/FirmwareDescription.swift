/// What the machine tells its firmware through fw_cfg.
enum FirmwareDescription {
    /// E820 types.
    private enum Memory { static let ram: UInt32 = 1, reserved: UInt32 = 2 }

    static func install(
        in fwCfg: FwCfg, config: PCConfig, lowRAMBytes: UInt64, highRAMBytes: UInt64
    ) {
        // The second is not how many there could be but where their APIC IDs end.
        let idLimit = UInt16(config.topology.apicIDLimit)
        fwCfg.set(.uuid, config.uuid)
        fwCfg.set(.ramSize, lowRAMBytes + highRAMBytes)
        fwCfg.set(.noGraphic, UInt16(0))
        fwCfg.set(.cpuCount, UInt16(config.topology.count))
        fwCfg.set(.maximumCPUs, idLimit)
        // No NUMA nodes, but the counts of CPUs' and nodes' entries are expected.
        fwCfg.set(.numa, [UInt8](repeating: 0, count: 8 + 8 * Int(idLimit)))
        // No "press ESC" prompt unless asked for: it would cost every boot 2.5 s.
        fwCfg.set(.bootMenu, UInt16(config.hasBootMenu ? 1 : 0))
        fwCfg.set(.irq0Override, UInt32(1))
        fwCfg.setFile("etc/e820", e820(lowRAMBytes: lowRAMBytes, highRAMBytes: highRAMBytes))
        for file in config.firmwareFiles { fwCfg.setFile(file.name, file.contents) }
        if !config.smbios.isEmpty { fwCfg.set(.smbiosEntries, smbiosEntries(config.smbios)) }
        let tables = ACPITables(
            base: 0, lowRAMEnd: lowRAMBytes, serialPortCount: config.serialPorts.count,
            hasFloppy: !config.floppies.isEmpty, topology: config.topology)
        TableLoaderScript.install(tables, in: fwCfg)
    }

    /// A count, then each field: 16-bit length of the entry, its kind (0, a field), the structure's type, 16-bit offset in the
    /// structure, bytes; little-endian. SeaBIOS (fw/paravirt.c, `qemu_smbios_header`) puts them into tables of its own.
    static func smbiosEntries(_ fields: [SMBIOSField]) -> [UInt8] {
        let headerBytes = 6
        return Array(littleEndianBytes: UInt16(fields.count))
            + fields.flatMap { field in
                Array(littleEndianBytes: UInt16(headerBytes + field.bytes.count)) + [0, field.type]
                    + Array(littleEndianBytes: field.offset) + field.bytes
            }
    }

    /// The RAM map: 64-bit address, 64-bit length, 32-bit type per entry, little-endian.
    static func e820(lowRAMBytes: UInt64, highRAMBytes: UInt64) -> [UInt8] {
        var ranges: [(UInt64, UInt64, UInt32)] = [(0, lowRAMBytes, Memory.ram)]
        if highRAMBytes > 0 { ranges.append((PhysicalMap.highRAMBase, highRAMBytes, Memory.ram)) }
        return ranges.flatMap { address, length, type in
            Array(littleEndianBytes: address) + Array(littleEndianBytes: length) + Array(littleEndianBytes: type)
        }
    }
}
