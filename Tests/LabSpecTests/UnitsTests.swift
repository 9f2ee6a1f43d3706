import Seeded
import Testing

@testable import LabSpec

@Suite struct UnitsTests {
    @Test(arguments: [
        ("0", 0), ("512", 512), ("512B", 512), ("1K", 1024), ("256M", 256 << 20), ("256m", 256 << 20),
        ("10G", 10 << 30),
        ("1.5T", 3 << 39), ("10 GiB", 10 << 30), ("64MiB", 64 << 20), ("64MB", 64 << 20), ("0.5K", 512),
        ("1P", 1 << 50),
        ("7.0000000000", 7), ("9223372036854775807", Int.max),
    ])
    func sizesArePowersOf1024(text: String, bytes: Int) throws {
        #expect(try ByteSize.parse(text).get() == ByteSize(bytes: UInt64(bytes)))
    }

    @Test(arguments: [
        ("", ByteSize.ParseFailure.notANumber), ("M", .notANumber), ("-1M", .notANumber), (".", .notANumber),
        ("10X", .unknownUnit("X")), ("10MM", .unknownUnit("MM")), ("1iB", .unknownUnit("iB")),
        ("1.2.3", .unknownUnit(".3")),
        ("1.0001K", .fractionOfAByte), ("0.1", .fractionOfAByte), ("9223372036854775808", .tooLarge),
        ("9000P", .tooLarge),
        ("99999999999999999999999", .tooLarge), ("99999999999999999999G", .tooLarge),
    ])
    func otherTextsAreNoSizes(text: String, failure: ByteSize.ParseFailure) {
        #expect(ByteSize.parse(text) == .failure(failure))
    }

    @Test(arguments: [
        ("90s", 90_000), ("2m", 120_000), ("1h", 3_600_000), ("1h30m", 5_400_000), ("500ms", 500), ("1.5m", 90_000),
        ("1d", 86_400_000), ("2 m", 120_000), ("0s", 0),
    ])
    func durationsHaveUnits(text: String, milliseconds: Int) throws {
        #expect(try LabDuration.parse(text).get().milliseconds == UInt64(milliseconds))
    }

    @Test(arguments: [
        ("", LabDuration.ParseFailure.notANumber), ("90", .missingUnit), ("s", .notANumber), ("2w", .unknownUnit("w")),
        ("1m30", .missingUnit), ("400d", .tooLong), ("99999999999999999h", .tooLong), ("-1s", .notANumber),
    ])
    func otherTextsAreNoDurations(text: String, failure: LabDuration.ParseFailure) {
        #expect(LabDuration.parse(text) == .failure(failure))
    }

    @Test func descriptionsReadBack() throws {
        var random = SeededRandom(7)
        for _ in 0..<2000 {
            let size = ByteSize(bytes: random.next() >> (1 + random.next() % 60))
            #expect(try ByteSize.parse(size.description).get() == size)
            let duration = LabDuration(milliseconds: random.next() % (366 * 86_400_000))
            #expect(try LabDuration.parse(duration.description).get() == duration)
        }
    }
}
