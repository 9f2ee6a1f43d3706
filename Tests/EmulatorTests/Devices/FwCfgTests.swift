import Testing

@testable import Emulator

@Suite struct FwCfgTests {
    let rig: BoardRig

    init() throws { rig = try BoardRig() }

    private func read(_ selector: UInt16, _ count: Int) -> [UInt8] {
        rig.ports.write(0x510, size: 2, value: UInt32(selector))
        return (0..<count).map { _ in rig.ports.in8(0x511) }
    }

    /// Name to selector and size, from the directory.
    private func directory() -> [String: (selector: UInt16, size: Int)] {
        let count = Int(read(0x19, 4)[3])
        let bytes = read(0x19, 4 + 64 * count)
        var files: [String: (selector: UInt16, size: Int)] = [:]
        for entry in 0..<count {
            let at = 4 + 64 * entry
            let size = bytes[at..<at + 4].reduce(0) { $0 << 8 | Int($1) }
            let name = String(decoding: bytes[(at + 8)..<(at + 64)].prefix { $0 != 0 }, as: UTF8.self)
            files[name] = (UInt16(bytes[at + 4]) << 8 | UInt16(bytes[at + 5]), size)
        }
        return files
    }

    /// Runs one DMA command; returns the control word that the device left.
    private func dma(_ control: UInt32, length: UInt32, to address: UInt64) -> UInt32 {
        let descriptor =
            Array(bigEndianBytes: control) + Array(bigEndianBytes: length) + Array(bigEndianBytes: address)
        descriptor.withUnsafeBytes { rig.board.memory.write(0x9000, from: $0) }
        rig.ports.write(0x514, size: 4, value: 0)
        rig.ports.write(0x518, size: 4, value: UInt32(0x9000).byteSwapped)
        return UInt32(rig.board.memory.read(0x9000, size: 4)).byteSwapped
    }

    @Test func signatureAndInterfaces() {
        #expect(read(0, 5) == Array("QEMU".utf8) + [0])
        #expect(read(1, 4) == [3, 0, 0, 0])
        #expect(rig.ports.read(0x514, size: 4) == 0x554D_4551)
        #expect(rig.ports.read(0x518, size: 4) == 0x4746_4320)
    }

    @Test func sizesAndCounts() {
        #expect(read(3, 8) == Array(littleEndianBytes: UInt64(32 << 20)))
        #expect(read(5, 2) == [1, 0])
        #expect(read(0x8002, 1) == [1])
        #expect(read(0x7777, 2) == [0, 0])
    }

    @Test func theMemoryMapIsAFile() throws {
        let file = try #require(directory()["etc/e820"])
        #expect(file.size == 20)
        #expect(
            read(file.selector, 20) == Array(littleEndianBytes: UInt64(0)) + Array(littleEndianBytes: UInt64(32 << 20))
                + [1, 0, 0, 0])
    }

    /// Plays firmware: allocates, patches pointers, sums, and then reads the tables as an operating system would.
    @Test func theTableLoaderScriptYieldsWorkingTables() throws {
        let files = directory()
        var places: [String: (base: Int, bytes: [UInt8])] = [:]
        func contents(_ name: String) throws -> [UInt8] {
            let file = try #require(files[name])
            return read(file.selector, file.size)
        }
        func text(_ bytes: ArraySlice<UInt8>) -> String { String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self) }
        func number(_ bytes: [UInt8], _ at: Int, _ size: Int) -> Int {
            (0..<size).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) }
        }
        let script = try contents("etc/table-loader")
        #expect(script.count % 128 == 0)
        for at in stride(from: 0, to: script.count, by: 128) {
            let command = Array(script[at..<at + 128])
            let name = text(command[4..<60])
            switch number(command, 0, 4) {
            case 1: places[name] = (places.count == 0 ? 0xF_5000 : 0x1F0_0000, try contents(name))
            case 2:
                let target = try #require(places[text(command[60..<116])]).base
                let (offset, size) = (number(command, 116, 4), number(command, 120, 1))
                let value = number(try #require(places[name]).bytes, offset, size) + target
                for byte in 0..<size {
                    places[name]?.bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte))
                }
            default:
                let (offset, start, length) = (number(command, 60, 4), number(command, 64, 4), number(command, 68, 4))
                let sum = try #require(places[name]).bytes[start..<start + length].reduce(0, &+)
                places[name]?.bytes[offset] &-= sum
            }
        }
        let expected = ACPITables(base: 0x1F0_0000, lowRAMEnd: 32 << 20, serialPortCount: 1)
        #expect(places["etc/acpi/tables"]?.bytes == expected.tables)
        #expect(places["etc/acpi/rsdp"]?.bytes == expected.rsdp)
    }

    @Test func DMASelectsSkipsAndReads() {
        #expect(dma(0 << 16 | 0x0A, length: 4, to: 0xA000) == 0)
        #expect(rig.board.memory.read(0xA000, size: 4) == 0x554D_4551)
        #expect(dma(0x0C, length: 1, to: 0) == 0)
        #expect(dma(0x02, length: 8, to: 0xA000) == 0)
        #expect(rig.board.memory.read(0xA000, size: 8) == 0x554D45, "the rest, then zeros")
        #expect(dma(0x10, length: 4, to: 0xA000) & 1 == 1, "nothing is writable")
    }

    @Test func hostileDMALengthsAreBounded() {
        #expect(dma(0x0A, length: 0xFFFF_FFFF, to: 0xFFFF_FFFF_FFFF_F000) & 1 == 1)
    }

    @Test func theHostsFilesAndSMBIOSFieldsAreThere() throws {
        var config = PCConfig()
        config.firmwareFiles = [("opt/org.example/x", Array("hello".utf8))]
        config.smbios = [SMBIOSField(type: 1, offset: 7, bytes: [0x41, 0])]
        FirmwareDescription.install(in: rig.board.fwCfg, config: config, lowRAMBytes: 1 << 20, highRAMBytes: 0)
        let file = try #require(directory()["opt/org.example/x"])
        #expect(read(file.selector, file.size) == Array("hello".utf8))
        // A count; then length 8, kind 0, type 1, offset 7, "A" and its end.
        #expect(read(0x8001, 11) == [1, 0, 8, 0, 0, 1, 7, 0, 0x41, 0, 0])
    }
}
