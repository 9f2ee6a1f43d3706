import Testing

@testable import Images

/// Tables that are paged answer as those that are in memory, whatever is read, changed and written back between.
@Suite struct EntryTableTests {
    private static let start = 100
    private static let tooLong = EntryTable.residentBytes + 5000 * 8

    @Test(arguments: [1, 4, 8], [false, true]) func aPagedTableStaysEqualToAnArray(width: Int, bigEndian: Bool) throws {
        var random = SeededRandom(UInt64(width))
        let count = Self.tooLong / width
        var model = (0..<count).map { UInt64($0 &* 2_654_435_761) & (UInt64.max >> UInt64(64 - width * 8)) }
        func encoded(_ model: [UInt64]) -> [UInt8] {
            var out = [UInt8](repeating: 0xee, count: Self.start)
            out.reserveCapacity(Self.start + count * width)
            for value in model {
                for index in 0..<width {
                    out.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * (bigEndian ? width - 1 - index : index))))
                }
            }
            return out + [0xee, 0xee]
        }
        let storage = MemoryStorage(content: encoded(model))
        let table = try EntryTable(storage, at: UInt64(Self.start), count: count, width: width, bigEndian: bigEndian)
        for step in 0..<20_000 {
            let index = Int.random(in: 0..<count, using: &random)
            #expect(try table[index] == model[index])
            // Far more pages are changed than are kept clean.
            let value = random.next() & (UInt64.max >> UInt64(64 - width * 8))
            let place = Int.random(in: 0..<count, using: &random)
            try table.set(value, at: place)
            model[place] = value
            #expect(try table[place] == value)
            if step % 7000 == 6999 { try table.writeBack() }
        }
        try table.forEach { (index, value) throws(ImageError) in
            if value != model[index] { throw ImageError(.corrupt, "entry \(index) is \(value), not \(model[index])") }
        }
        try table.writeBack()
        #expect(table.dirtyPages.isEmpty)
        #expect(storage.bytes == encoded(model))
    }

    @Test func aRunEndsWithItsValueAndSkipsHoles() throws {
        let storage = MemoryStorage(content: [UInt8](repeating: 0, count: Self.tooLong))
        try storage.write([7], at: 1_000_003)
        try storage.write([UInt8](repeating: 0xff, count: 9000), at: 2_000_000)
        let table = try EntryTable(storage, at: 0, count: Self.tooLong + 100_000, width: 1, bigEndian: false)
        #expect(try table.run(of: 0, from: 0, limit: .max / 2) == 1_000_003)
        #expect(try table.run(of: 0, from: 5, limit: 1000) == 1000)
        #expect(try table.run(of: 0, from: 1_000_003, limit: 1000) == 0)
        #expect(try table.run(of: 0xff, from: 2_000_001, limit: .max / 2) == 8999)
        #expect(try table.run(of: 0, from: 2_009_000, limit: .max / 2) == Self.tooLong + 100_000 - 2_009_000)
        try table.set(1, at: Self.tooLong + 99_999)
        #expect(try table.run(of: 0, from: 2_009_000, limit: .max / 2) == Self.tooLong + 99_999 - 2_009_000)
    }

    /// A header may claim a table of gigabytes: what is read is what is asked for.
    @Test func aHugeTableCostsWhatIsUsedOfIt() throws {
        let table = try EntryTable(
            MemoryStorage(content: [1, 2, 3, 4]), at: 0, count: 1 << 40, width: 8, bigEndian: false)
        #expect(try table[0] == 0x0403_0201)
        #expect(try table[(1 << 40) - 1] == 0)
        #expect(try table.page(12345).allSatisfy { $0 == 0 })
    }

    /// Zeros, and an error when it is told to.
    private final class FailingStorage: UnwritableStorage, @unchecked Sendable {
        let path = "zeros"
        let byteCount: UInt64 = 16 << 20
        var fails = false
        var allocatedBytes: UInt64? { nil }
        var refusal: ImageError { ImageError(.io, "cannot be read") }
        func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
            if fails { throw refusal }
            buffer.zero(from: 0)
        }
        func dataRun(at offset: UInt64, limit: UInt64) -> (isData: Bool, length: UInt64) { (true, limit) }
        func close() {}
        func openSibling(_ path: String, create: Bool) throws(ImageError) -> any Storage { throw refusal }
    }

    @Test func aChangeAfterAFailedReadIsKept() throws {
        let storage = FailingStorage()
        let perPage = EntryTable.pageBytes / 8
        let table = try EntryTable(storage, at: 0, count: 1100 * perPage, width: 8, bigEndian: false)
        for page in 0..<1024 { _ = try table[page * perPage] }
        _ = try table[0]
        storage.fails = true
        #expect(throws: ImageError.self) { try table[1024 * perPage] }
        storage.fails = false
        try table.set(7, at: 0)
        _ = try table[1025 * perPage]
        #expect(try table[0] == 7)
    }
}
