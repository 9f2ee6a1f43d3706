import Foundation

@testable import Emulator

/// A machine of several processors whose firmware starts the others, lets each compute, waits for all and ends with their number.
struct MultiprocessorGuest {
    /// At F000:0000, where the others begin: ds = 1000h; number = lock xadd [0], 1; di = (number + 1) << 12; then 8000h times
    /// bx = bx * 20077 + 12345, [di] = bx, [di + 2] ^= bx; lock inc [2]; cli; hlt.
    private static let others: [UInt8] = [
        0xB8, 0x00, 0x10, 0x8E, 0xD8, 0xB8, 0x01, 0x00, 0xF0, 0x0F, 0xC1, 0x06, 0x00, 0x00, 0x40, 0xC1, 0xE0, 0x0C,
        0x89, 0xC7, 0xBB, 0x39, 0x30, 0xB9, 0x00, 0x80, 0x69, 0xDB, 0x6D, 0x4E, 0x81, 0xC3, 0x39, 0x30, 0x89, 0x1D,
        0x31, 0x5D, 0x02, 0xE2, 0xF1, 0xF0, 0xFF, 0x06, 0x02, 0x00, 0xFA, 0xF4, 0xEB, 0xFC,
    ]
    /// At F000:0080: bx = processors - 1, from CMOS 5Fh; IA32_APIC_BASE = x2APIC mode; spurious vector = enabled; INIT, then startup
    /// with vector F0h, to all others; pause until [2] = bx; port 501h = [0]; hlt.
    private static let boot: [UInt8] = [
        0xB8, 0x00, 0x10, 0x8E, 0xD8, 0xB0, 0x5F, 0xE6, 0x70, 0xE4, 0x71, 0x88, 0xC3, 0x30, 0xFF, 0x66, 0xB9, 0x1B,
        0x00, 0x00, 0x00, 0x66, 0xB8, 0x00, 0x0D, 0xE0, 0xFE, 0x66, 0x31, 0xD2, 0x0F, 0x30, 0x66, 0xB9, 0x0F, 0x08,
        0x00, 0x00, 0x66, 0xB8, 0xFF, 0x01, 0x00, 0x00, 0x0F, 0x30, 0x66, 0xB9, 0x30, 0x08, 0x00, 0x00, 0x66, 0xB8,
        0x00, 0x45, 0x0C, 0x00, 0x0F, 0x30, 0x66, 0xB8, 0xF0, 0x46, 0x0C, 0x00, 0x0F, 0x30, 0xF3, 0x90, 0x39, 0x1E,
        0x02, 0x00, 0x75, 0xF8, 0xBA, 0x01, 0x05, 0xA0, 0x00, 0x00, 0xEE, 0xF4, 0xEB, 0xFD,
    ]
    private static let bootOffset = 0x80

    let folder: URL
    private let firmware: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "labctl-smp-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        firmware = folder.appending(path: "bios.bin")
        var image = [UInt8](repeating: 0xF4, count: 0x1_0000)
        image.replaceSubrange(0..<Self.others.count, with: Self.others)
        image.replaceSubrange(Self.bootOffset..<Self.bootOffset + Self.boot.count, with: Self.boot)
        // jmp far F000:0080
        image.replaceSubrange(0xFFF0..<0xFFF5, with: [0xEA, 0x80, 0x00, 0x00, 0xF0])
        try Data(image).write(to: firmware)
    }

    func remove() { try? FileManager.default.removeItem(at: folder) }

    func machine(
        _ topology: CPUTopology, engine: Engine = .interpreter, instructionClock: PCConfig.InstructionClock? = nil
    ) throws -> Machine {
        var config = PCConfig()
        config.memoryBytes = 2 << 20
        config.firmwarePath = firmware.path
        config.debugExitPort = 0x501
        config.clockSeconds = 1_000_000_000
        config.engine = engine
        config.topology = topology
        config.instructionClock = instructionClock
        return try Machine(config)
    }
}

extension Machine {
    /// What each of `count` processors computed: equal values, which no other's stores disturbed.
    func results(of count: Int) -> [UInt64] {
        (1...count).map { board.memory.read(0x1_0000 + UInt64($0) << 12, size: 4) }
    }
}
