import Glibc
import Testing

@testable import Emulator

@Suite("Zero pages of an idle guest")
struct ZeroPageScanTests {
    private static let pages = 512

    /// Pages that the host keeps.
    private func resident(_ memory: UnsafeMutableRawBufferPointer) -> Int {
        var map = [UInt8](repeating: 0, count: Self.pages)
        mincore(memory.baseAddress, memory.count, &map)
        return map.count { $0 & 1 != 0 }
    }

    @Test("what was cleared goes back to the host, what holds something stays, and all reads as before")
    func clearedPagesAreGivenBack() throws {
        let ram = try GuestRAM(sizeBytes: UInt64(Self.pages * 4096))
        let memory = UnsafeMutableRawBufferPointer(start: ram.base, count: Int(ram.sizeBytes))
        for page in 0..<Self.pages { memory[page * 4096 + 17] = 1 }
        for page in 0..<Self.pages where page % 8 != 0 { memory[page * 4096 + 17] = 0 }
        #expect(resident(memory) == Self.pages)
        var scan = ZeroPageScan()
        var now = ZeroPageScan.pause
        // Not before its time, and not where the guest is about to wake.
        scan.step(memory, now: 0, sleep: .max)
        scan.step(memory, now: now, sleep: 0)
        #expect(resident(memory) == Self.pages)
        for _ in 0..<Self.pages * 4096 / ZeroPageScan.pieceBytes {
            scan.step(memory, now: now, sleep: .max)
            now += 1
        }
        #expect(resident(memory) == Self.pages / 8)
        for page in 0..<Self.pages { #expect(memory[page * 4096 + 17] == (page % 8 == 0 ? 1 : 0)) }
        // The memory is mapped as long as its owner is used.
        let bytes = ram.sizeBytes
        #expect(bytes == UInt64(memory.count))
    }
}
