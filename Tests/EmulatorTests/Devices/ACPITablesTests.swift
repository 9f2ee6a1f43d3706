import Foundation
import Testing

@testable import Emulator

@Suite struct ACPITablesTests {
    private static let base: UInt64 = 0x7FF_0000
    let acpi = ACPITables(base: base, lowRAMEnd: 0x800_0000, serialPortCount: 2)

    private func number(_ bytes: [UInt8], _ offset: Int, _ size: Int) -> Int {
        (0..<size).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
    }

    /// Signature and bytes of every table that the RSDT or XSDT names, DSDT and FACS included.
    private func tables(rootOffset: Int, entryBytes: Int) -> [String: [UInt8]] {
        func table(_ address: Int) -> [UInt8] {
            let offset = address - Int(Self.base)
            return Array(acpi.tables[offset..<offset + number(acpi.tables, offset + 4, 4)])
        }
        let root = table(Int(Self.base) + rootOffset)
        var found: [String: [UInt8]] = [:]
        for offset in stride(from: 36, to: root.count, by: entryBytes) {
            let entry = table(number(root, offset, entryBytes))
            found[String(decoding: entry[0..<4], as: UTF8.self)] = entry
        }
        if let fadt = found["FACP"] {
            found["FACS"] = table(number(fadt, 36, 4))
            found["DSDT"] = table(number(fadt, 40, 4))
            #expect(number(fadt, 140, 8) == number(fadt, 40, 4))
        }
        return found
    }

    @Test func rootTablesLeadToAllOthersAndSumToZero() {
        for (offset, size) in [(acpi.rsdtOffset, 4), (acpi.xsdtOffset, 8)] {
            let found = tables(rootOffset: offset, entryBytes: size)
            #expect(Set(found.keys) == ["FACP", "FACS", "DSDT", "APIC", "HPET"])
            for (name, table) in found where name != "FACS" { #expect(table.reduce(0, &+) == 0, "\(name)") }
        }
        #expect(acpi.rsdp[0..<20].reduce(0, &+) == 0)
        #expect(acpi.rsdp.reduce(0, &+) == 0)
        #expect(number(acpi.rsdp, 16, 4) == Int(Self.base) + acpi.rsdtOffset)
    }

    @Test func onlyPoweringOffIsOffered() {
        let text = String(decoding: acpi.tables, as: UTF8.self)
        #expect(text.contains("_S5_"))
        // Sleeping in memory would need a wake-up through the FACS; without the object no guest tries.
        for state in ["_S1_", "_S2_", "_S3_", "_S4_"] { #expect(!text.contains(state), "\(state)") }
    }

    @Test func pointersMoveWithTheBase() {
        let relocatable = ACPITables(base: 0, lowRAMEnd: 0x800_0000, serialPortCount: 2)
        var moved = relocatable.tables
        for pointer in relocatable.pointers {
            let value = number(moved, pointer.offset, pointer.sizeBytes) + Int(Self.base)
            moved.replaceSubrange(
                pointer.offset..<pointer.offset + pointer.sizeBytes,
                with: Array(littleEndianBytes: UInt64(value)).prefix(pointer.sizeBytes))
        }
        for sum in relocatable.checksums {
            moved[sum.offset] = 0
            moved[sum.offset] = 0 &- moved[sum.start..<sum.start + sum.length].reduce(0, &+)
        }
        #expect(moved == acpi.tables)
    }

    @Test func packageLengthsGrowWithTheirBodies() {
        #expect(AML.buffer([1]) == [0x11, 0x03, 0x01, 1])
        #expect(AML.buffer([UInt8](repeating: 0, count: 100)).prefix(5) == [0x11, 0x48, 0x06, 0x0A, 100])
        #expect(AML.path("\\_SB.PCI0.ISA") == Array("\\".utf8) + [0x2F, 3] + Array("_SB_PCI0ISA_".utf8))
        #expect(AML.eisaID("PNP0A03") == [0x0C, 0x41, 0xD0, 0x0A, 0x03])
        #expect(AML.integer(0x1234) == [0x0B, 0x34, 0x12])
    }

    /// Intel's compiler (Debian's acpica-tools) must read back what we wrote; skipped where it is not installed.
    @Test(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/iasl")))
    func theCompilerReadsTheTablesBack() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("acpi-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let found = tables(rootOffset: acpi.rsdtOffset, entryBytes: 4)
        for (name, table) in found { try Data(table).write(to: folder.appendingPathComponent("\(name).dat")) }
        for name in found.keys.sorted() {
            let (status, output) = try run(["-d", "\(name).dat"], in: folder)
            #expect(status == 0, "\(name): \(output)")
            #expect(!output.contains("Error"), "\(name): \(output)")
            #expect(!output.contains("Invalid"), "\(name): \(output)")
        }
        let (status, output) = try run(["-p", "again", "DSDT.dsl"], in: folder)
        #expect(status == 0, "\(output)")
        #expect(output.contains(" 0 Errors"), "\(output)")
        let source = try String(contentsOf: folder.appendingPathComponent("DSDT.dsl"), encoding: .utf8)
        for text in ["Device (LNKD)", "\"PNP0501\"", "_S5", "Processor (C000", "OperationRegion (P40C, PCI_Config"] {
            #expect(source.contains(text), "\(text)")
        }
    }

    private func run(_ arguments: [String], in folder: URL) throws -> (Int32, String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/iasl")
        process.arguments = arguments
        process.currentDirectoryURL = folder
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }
}
