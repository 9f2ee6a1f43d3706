import Foundation
import Testing

@testable import Emulator

/// A kernel file and a module, removed with the object.
private final class MultibootFiles {
    let folder: URL
    var kernel: String { folder.appendingPathComponent("kernel").path }
    var module: String { folder.appendingPathComponent("module").path }

    init(_ image: [UInt8]) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("multiboot-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data(image).write(to: URL(fileURLWithPath: kernel))
        try Data([1, 2, 3, 4, 5]).write(to: URL(fileURLWithPath: module))
    }

    deinit { try? FileManager.default.removeItem(at: folder) }
}

private func words(_ values: UInt32...) -> [UInt8] { values.flatMap { Array(littleEndianBytes: $0) } }

@Suite struct MultibootLoaderTests {
    /// One segment of 8 KiB at 1 MiB: the header, the entry behind it, a byte at its end; linked at C0100000h.
    private func elf(_ header: [UInt8], is64: Bool = false, change: (inout [UInt8]) -> Void = { _ in }) -> [UInt8] {
        func word(_ value: UInt32) -> [UInt8] { is64 ? words(value, 0) : words(value) }
        var image: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, is64 ? 2 : 1, 1, 1] + [UInt8](repeating: 0, count: 9)
        image += [2, 0, is64 ? 0x3E : 3, 0] + words(1) + word(0xC010_0040) + word(is64 ? 64 : 52) + word(0) + words(0)
        image += [is64 ? 64 : 52, 0, is64 ? 56 : 32, 0, 1, 0, 0, 0, 0, 0, 0, 0]
        let segment: [UInt8] =
            is64
            ? words(1, 5) + word(0x1000) + word(0xC010_0000) + word(0x10_0000) + word(0x200) + word(0x2000)
                + word(0x1000)
            : words(1, 0x1000, 0xC010_0000, 0x10_0000, 0x200, 0x2000, 5, 0x1000)
        image += segment
        image += [UInt8](repeating: 0, count: 0x1000 - image.count)
        image += header + [UInt8](repeating: 0xAA, count: 0x200 - header.count)
        change(&image)
        return image
    }

    private let header1 = words(0x1BAD_B002, 3, 0 &- 0x1BAD_B002 &- 3)
    private let header2 = words(0xE852_52D6, 0, 24, 0 &- 0xE852_52D6 &- 24, 0, 8)

    private func rig(_ image: [UInt8], line: String = "quiet", modules: Bool = false) throws -> BoardRig {
        let files = try MultibootFiles(image)
        let rig = try BoardRig {
            $0.linux = PCConfig.Linux(
                kernelPath: files.kernel, initrdPath: modules ? "\(files.module) one,\(files.module) two" : nil,
                commandLine: line)
        }
        // Memory of an earlier run is no kernel's to find.
        rig.board.memory.write(0x10_1000, size: 4, value: 0xDEAD_BEEF)
        try rig.board.reset()
        return rig
    }

    private func number(_ rig: BoardRig, _ address: UInt64, _ size: Int = 4) -> UInt64 {
        rig.board.memory.read(address, size: size)
    }

    private func text(_ rig: BoardRig, _ address: UInt64) -> String {
        String(decoding: (0..<200).map { UInt8(number(rig, address + $0, 1)) }.prefix { $0 != 0 }, as: UTF8.self)
    }

    @Test(arguments: [false, true]) func anELFKernelIsLoadedAndEntered(is64: Bool) throws {
        let rig = try rig(elf(header1, is64: is64))
        let entry = try #require(rig.board.bootEntry)
        #expect(entry.instructionPointer == 0x10_0040, "physical")
        #expect(entry.eax == 0x2BAD_B002)
        #expect(number(rig, 0x10_0000) == 0x1BAD_B002)
        #expect(number(rig, 0x10_01FF, 1) == 0xAA)
        #expect(number(rig, 0x10_1000) == 0, "what is not in the file is zero")
    }

    @Test func versionOneIsToldWhatThereIs() throws {
        let rig = try rig(elf(header1), modules: true)
        let information = UInt64(try #require(rig.board.bootEntry).ebx)
        #expect(number(rig, information) & 0x4D == 0x4D)
        #expect(number(rig, information + 8) == (32 << 10) - 1024 - 64)
        #expect(text(rig, number(rig, information + 16)).hasSuffix("/kernel quiet"))
        #expect(number(rig, information + 20) == 2)
        let list = number(rig, information + 24)
        for (index, name) in ["one", "two"].enumerated() {
            let start = number(rig, list + UInt64(index) * 16), end = number(rig, list + UInt64(index) * 16 + 4)
            #expect(end - start == 5 && start % 4096 == 0 && start >= 0x10_2000)
            #expect(number(rig, start, 4) == 0x0403_0201)
            #expect(text(rig, number(rig, list + UInt64(index) * 16 + 8)).hasSuffix("/module \(name)"))
        }
        let map = number(rig, information + 48)
        #expect(number(rig, map) == 20 && number(rig, map + 4, 8) == 0 && number(rig, map + 20) == 1)
    }

    @Test func versionTwoIsToldInTags() throws {
        let rig = try rig(elf(header2), modules: true)
        let entry = try #require(rig.board.bootEntry)
        #expect(entry.eax == 0x36D7_6289)
        let start = UInt64(entry.ebx), end = start + number(rig, start)
        var kinds: [UInt64] = []
        var tag = start + 8
        while tag < end {
            kinds.append(number(rig, tag))
            #expect(tag % 8 == 0)
            tag += (number(rig, tag + 4) + 7) & ~7
        }
        #expect(kinds == [1, 2, 3, 3, 4, 6, 15, 0])
    }

    @Test func addressesInTheHeaderStandAboveELF() throws {
        // A flat file: header at 8, to be at 200008h; 16 bytes in all, then zeros up to 200100h; entry 20000Ch.
        let header = words(
            0x1BAD_B002, 0x1_0000, 0 &- 0x1BAD_B002 &- 0x1_0000, 0x20_0008, 0x20_0000, 0x20_0010, 0x20_0100, 0x20_000C)
        let rig = try rig([UInt8](repeating: 7, count: 8) + header)
        #expect(rig.board.bootEntry?.instructionPointer == 0x20_000C)
        #expect(number(rig, 0x20_0000) == 0x0707_0707)
        #expect(number(rig, 0x20_0008) == 0x1BAD_B002)
        #expect(number(rig, 0x20_0010) == 0)
    }

    @Test func anELFFileWithoutAHeaderIsEnteredToo() throws {
        #expect(try rig(elf([])).board.bootEntry?.instructionPointer == 0x10_0040)
    }

    @Test func damagedFilesAreRefusedByName() throws {
        let damages: [((inout [UInt8]) -> Void, String)] = [
            ({ $0 = [UInt8](repeating: 0x20, count: 4000) }, "neither a Linux kernel"),
            (
                {
                    $0[0x1C] = 0xFF; $0[0x1F] = 0x7F
                }, "program headers"
            ), ({ $0[0x2C] = 0xFF }, "program headers"),
            (
                {
                    $0[52 + 0x10] = 0xFF; $0[52 + 0x12] = 0xFF
                }, "outside of the file"
            ),
            ({ $0[52 + 0x0F] = 0x70 }, "MiB"), ({ $0[5] = 2 }, "not one for x86"), ({ $0[52] = 2 }, "nothing in it"),
            (
                {
                    $0[52 + 0x0F] = 0xFF; $0[52 + 0x17] = 0x10
                }, "above 4 GiB"
            ),
        ]
        for (change, wanted) in damages {
            #expect { try rig(elf(header1, change: change)) } throws: {
                guard case MachineError.badFile(_, let reason)? = $0 as? MachineError else { return false }
                return reason.contains(wanted)
            }
        }
        let header = words(0x1BAD_B002, 0x1_0000, 0 &- 0x1BAD_B002 &- 0x1_0000, 0x20_0000, 0x30_0000, 0, 0, 0x20_0000)
        #expect(throws: MachineError.self) { try rig(header) }
    }
}
