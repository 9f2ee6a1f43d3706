import Testing

@testable import Images

/// Each case damages one field of a good image; opening or reading must end in one clear error.
@Suite struct QCOW2HostileTests {
    /// A small good image with data, a backing name and one feature extension, as bytes.
    static func sample() throws -> [UInt8] {
        let storage = MemoryStorage()
        let request = CreateRequest(path: "m", size: 4 << 20)
        try QCOW2Format().create(in: storage, request: request)
        let device = try QCOW2Format().open(storage: storage, options: OpenOptions(readOnly: false))
        try device.put([UInt8](repeating: 7, count: 200_000), at: 1000)
        try device.close()
        return storage.bytes
    }

    /// Names come from the image's own table, whose last entry may be short; the rest is told as one number, as QEMU does.
    @Test func unknownFeaturesAreNamedAsTheImageNamesThem() throws {
        var image = try Self.sample()
        image[72] = 0xE0
        var table: [UInt8] = []
        table.putBE(UInt32(0x6803_f857))
        table.putBE(UInt32(14))
        table += [0, 63] + Array("Test feature".utf8) + [0, 0] + [UInt8](repeating: 0, count: 8)
        let place = Int(image.be32(100))
        image.replaceSubrange(place..<place + table.count, with: table)
        let storage = MemoryStorage(content: image)
        let error = #expect(throws: ImageError.self) {
            _ = try QCOW2Format().open(storage: storage, options: OpenOptions())
        }
        let names = "Test feature, Unknown incompatible feature: 6000000000000000"
        #expect(error?.message.contains(names) == true, "\(error?.message ?? "")")
    }

    static let fields: [(name: String, offset: Int, bytes: [UInt8])] = [
        ("version 9", 4, [0, 0, 0, 9]),
        ("backing name outside the cluster", 8, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 4, 0]),
        ("backing name too long", 8, [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0]),
        ("cluster_bits 8", 20, [0, 0, 0, 8]),
        ("cluster_bits 40", 20, [0, 0, 0, 40]),
        ("size beyond the L1 table", 24, [0x7f, 0xff, 0, 0, 0, 0, 0, 0]),
        ("encryption 3", 32, [0, 0, 0, 3]),
        ("L1 of 4 billion entries", 36, [0xff, 0xff, 0xff, 0xff]),
        ("L1 unaligned", 40, [0, 0, 0, 0, 0, 3, 0, 1]),
        ("L1 past the end", 40, [0x7f, 0, 0, 0, 0, 0, 0, 0]),
        ("refcount table unaligned", 48, [0, 0, 0, 0, 0, 1, 0, 2]),
        ("refcount table huge", 56, [0xff, 0xff, 0xff, 0xff]),
        ("refcount table of no clusters", 56, [0, 0, 0, 0]),
        ("65537 snapshots", 60, [0, 1, 0, 1]),
        ("snapshot table past the end", 60, [0, 0, 0, 1, 0x70, 0, 0, 0, 0, 0, 0, 0]),
        ("unknown incompatible feature", 72, [0, 0, 0, 0, 0, 0, 1, 0]),
        ("refcount order 7", 96, [0, 0, 0, 7]),
        ("header length 3", 100, [0, 0, 0, 3]),
        ("header longer than a cluster", 100, [0, 16, 0, 0]),
        ("unknown compression", 104, [7]),
        ("extension longer than the header", 116, [0x7f, 0xff, 0xff, 0xff]),
    ]

    @Test(arguments: fields.indices) func refusesABadHeaderField(index: Int) throws {
        var bytes = try Self.sample()
        let field = Self.fields[index]
        bytes.replaceSubrange(field.offset..<field.offset + field.bytes.count, with: field.bytes)
        // For writing: who only reads needs no refcounts.
        let options = OpenOptions(readOnly: false)
        let error = #expect(throws: ImageError.self, "\(field.name)") {
            _ = try QCOW2Format().open(storage: MemoryStorage(content: bytes), options: options)
        }
        #expect(error?.kind == .corrupt || error?.kind == .unsupported)
        #expect(error?.message.isEmpty == false)
    }

    @Test func anyDamageEndsInAnErrorNotACrash() throws {
        let good = try Self.sample()
        var random = SeededRandom(99)
        for _ in 0..<1500 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                // Header, refcounts, L1 and L2 are in the first clusters; hit those mostly.
                let reach = Bool.random(using: &random) ? 200 : min(bytes.count, 6 * 65536)
                bytes[Int.random(in: 0..<reach, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
            let storage = MemoryStorage(content: bytes)
            guard let device = try? QCOW2Format().open(storage: storage, options: OpenOptions()) else { continue }
            let end = min(device.size, 8 << 20)
            var position: UInt64 = 0
            while position < end {
                _ = try? device.bytes(at: position, count: Int(min(65536, end - position)))
                position += 65536
            }
            _ = try? DiskImage.check(device, repair: .none, verifyData: true)
        }
    }

    @Test func backingLoopsAreRefused() throws {
        let scratch = Scratch()
        for (name, other) in [("a", "b"), ("b", "a")] {
            var request = CreateRequest(path: scratch.path(name), size: 1 << 20)
            request.backing = BackingReference(file: other, format: "qcow2")
            try DiskImage.create(request, format: "qcow2")
        }
        let error = #expect(throws: ImageError.self) { try open(scratch.path("a"), readOnly: true) }
        #expect(error?.message.contains("infinite loop") == true)
    }

    @Test func aGuestCannotTurnAGuessedRawDiskIntoQCOW2() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("disk"), format: "raw", size: 1 << 20)
        let guessed = try open(scratch.path("disk"))
        let header = Array(try Self.sample().prefix(512))
        #expect(throws: ImageError.self) { try guessed.put(header, at: 0) }
        try guessed.put([1, 2, 3], at: 0)
        try guessed.close()
        let named = try open(scratch.path("disk"), format: "raw")
        try named.put(header, at: 0)
        try named.close()
    }
}
