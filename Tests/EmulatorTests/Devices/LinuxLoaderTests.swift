import Foundation
import Testing

@testable import Emulator

/// Files for a boot without firmware, removed with the object.
final class KernelFiles {
    let folder: URL
    var kernel: String { folder.appendingPathComponent("bzImage").path }
    var initrd: String { folder.appendingPathComponent("initrd").path }

    /// A bzImage of protocol 2.12 with two setup sectors and a kernel of `kernelBytes` bytes, each its offset's low byte.
    init(kernelBytes: Int = 5000, relocatable: Bool = true, change: (inout [UInt8]) -> Void = { _ in }) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("linux-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var image = [UInt8](repeating: 0, count: 3 * 512)
        func put<T: FixedWidthInteger>(_ offset: Int, _ value: T) {
            image.replaceSubrange(offset..<offset + T.bitWidth / 8, with: Array(littleEndianBytes: value))
        }
        put(0x1F1, UInt8(2))
        put(0x1FE, UInt16(0xAA55))
        put(0x200, UInt16(0x66EB))
        put(0x202, UInt32(0x5372_6448))
        put(0x206, UInt16(0x020C))
        put(0x211, UInt8(1))
        put(0x22C, UInt32(0x7FFF_FFFF))
        put(0x230, UInt32(0x20_0000))
        put(0x234, UInt8(relocatable ? 1 : 0))
        put(0x238, UInt32(2047))
        put(0x258, UInt64(0x100_0000))
        put(0x260, UInt32(0x40_0000))
        image += (0..<kernelBytes).map { UInt8(truncatingIfNeeded: $0) }
        change(&image)
        try Data(image).write(to: URL(fileURLWithPath: kernel))
        try Data([UInt8](repeating: 0xC9, count: 70_000)).write(to: URL(fileURLWithPath: initrd))
    }

    deinit { try? FileManager.default.removeItem(at: folder) }
}

@Suite struct LinuxLoaderTests {
    private func rig(_ files: KernelFiles, memory: UInt64 = 64 << 20, line: String = "console=ttyS0") throws -> BoardRig
    {
        let rig = try BoardRig {
            $0.memoryBytes = memory
            $0.linux = PCConfig.Linux(kernelPath: files.kernel, initrdPath: files.initrd, commandLine: line)
        }
        try rig.board.reset()
        return rig
    }

    private func number(_ rig: BoardRig, _ address: UInt64, _ size: Int) -> UInt64 {
        rig.board.memory.read(address, size: size)
    }

    @Test func theKernelIsEnteredByThe32BitProtocol() throws {
        let rig = try rig(try KernelFiles())
        let entry = try #require(rig.board.bootEntry)
        #expect(entry.instructionPointer == 0x100_0000)
        #expect(number(rig, 0x100_0000, 4) == 0x0302_0100)
        let table = UInt64(entry.gdtBase)
        #expect(number(rig, table + UInt64(entry.codeSelector), 8) == 0x00CF_9A00_0000_FFFF)
        #expect(number(rig, table + UInt64(entry.dataSelector), 8) == 0x00CF_9200_0000_FFFF)
        #expect(entry.cr0 & 0x8000_0001 == 1)
    }

    @Test func theScreenIsATextScreen() throws {
        let rig = try rig(try KernelFiles())
        let page = UInt64(try #require(rig.board.bootEntry).parameters)
        #expect(
            number(rig, page + 0x07, 1) == 80 && number(rig, page + 0x0E, 1) == 25 && number(rig, page + 0x0F, 1) == 1)
        let image = rig.board.vga.snapshot(showsBlinking: false)
        #expect(image.width == 720 && image.height == 400)
        #expect(!image.rgb.contains { $0 != 0 }, "black")
        // What a kernel writes there is seen.
        rig.board.memory.write(0xB_8000, size: 2, value: 0x0741)
        #expect(rig.board.vga.snapshot(showsBlinking: false).rgb.contains(0xAA))
    }

    @Test func theParametersDescribeEverything() throws {
        let rig = try rig(try KernelFiles())
        let page = UInt64(try #require(rig.board.bootEntry).parameters)
        #expect(number(rig, page + 0x202, 4) == 0x5372_6448)
        #expect(number(rig, page + 0x210, 1) == 0xFF)
        let initrd = number(rig, page + 0x218, 4)
        #expect(number(rig, page + 0x21C, 4) == 70_000)
        #expect(initrd % 4096 == 0)
        #expect(number(rig, initrd + 69_999, 1) == 0xC9)
        let line = number(rig, page + 0x228, 4)
        #expect((0..<13).map { UInt8(number(rig, line + $0, 1)) } == Array("console=ttyS0".utf8))
        #expect(number(rig, line + 13, 1) == 0)
        let rsdp = number(rig, page + 0x70, 8)
        #expect(number(rig, rsdp, 8) == 0x2052_5450_2044_5352)
        #expect(number(rig, 0x40E, 2) << 4 == rsdp, "kernels that know no RSDP field look in the EBDA")
    }

    @Test func theMemoryMapCoversRAMWithoutOverlap() throws {
        let rig = try rig(try KernelFiles(), memory: 64 << 20)
        let page = UInt64(try #require(rig.board.bootEntry).parameters)
        var end: UInt64 = 0
        var usable: UInt64 = 0
        for index in 0..<number(rig, page + 0x1E8, 1) {
            let entry = page + 0x2D0 + 20 * index
            let (start, length) = (number(rig, entry, 8), number(rig, entry + 8, 8))
            #expect(start >= end)
            end = start + length
            if number(rig, entry + 16, 4) == 1 { usable += length }
        }
        #expect(usable == 64 << 20 - 0x6_0400 - 0x1_0000)
    }

    @Test func aFixedKernelLoadsAtOneMegabyte() throws {
        let rig = try rig(try KernelFiles(relocatable: false))
        #expect(rig.board.bootEntry?.instructionPointer == 0x10_0000)
    }

    @Test func thePlatformIsSetUpAsFirmwareWould() throws {
        let rig = try rig(try KernelFiles())
        #expect(rig.config(1, 0, 0x60) == 0x0B0B_0A0A)
        #expect(rig.ports.in8(0x4D1) == 0x0C)
        #expect(rig.ports.read(0x604, size: 2) == 0, "PM registers answer at 600h")
        #expect(rig.config(1, 1, 0x20) & 0xFFF1 > 1)
        #expect(rig.config(1, 1, 0x04, size: 2) & 5 == 5)
        #expect(rig.config(2, 0, 0x10) & 0xFFFF_FFF0 >= 0xE000_0000)
        #expect(rig.config(1, 3, 0x3C, size: 1) == 9)
    }

    @Test func aResetBringsTheKernelBackEvenWhenItsNameIsGone() throws {
        let files = try KernelFiles()
        let rig = try rig(files)
        try FileManager.default.removeItem(atPath: files.kernel)
        rig.board.memory.write(0x100_0000, size: 4, value: 0)
        try rig.board.reset()
        #expect(number(rig, 0x100_0000, 4) == 0x0302_0100)
        #expect(rig.board.bootEntry != nil)
    }

    @Test func whatIsNoKernelIsRefused() throws {
        for change in [{ $0[0x202] = 0 }, { $0[0x211] = 0 }, { $0.removeSubrange(100...) }] as [(inout [UInt8]) -> Void]
        {
            let files = try KernelFiles(change: change)
            #expect(throws: MachineError.self) { try rig(files) }
        }
    }

    @Test func whatDoesNotFitIsRefused() throws {
        let files = try KernelFiles()
        #expect(throws: MachineError.self) { try rig(files, memory: 17 << 20) }
        #expect(throws: MachineError.self) { try rig(files, line: String(repeating: "x", count: 3000)) }
        let missing = try KernelFiles()
        try FileManager.default.removeItem(atPath: missing.initrd)
        #expect(throws: MachineError.self) { try rig(missing) }
    }
}
