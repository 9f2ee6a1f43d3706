import Foundation
import Testing

@testable import Images

@Suite struct ByteCountTests {
    static let sizes: [(String, UInt64?)] = [
        ("0", 0), ("1.5M", 3 << 19), ("0x200", 512), ("16E", nil), ("15.5E", 31 << 59), ("1.5", nil), ("-1", nil),
        ("15.99999999999999999999E", nil), ("18446744073709551615", .max), ("18446744073709551616", nil),
        ("1024b", 1024), ("1024.0", 1024), ("1024.00b", 1024), ("1.5b", nil), ("1.", nil), ("1.٣k", nil),
    ]

    @Test(arguments: sizes) func sizesThatDoNotFitAreNoSizes(text: String, bytes: UInt64?) {
        #expect(ByteCount.parse(text) == bytes)
    }

    @Test(arguments: [
        "16E", "18446744073709551616", "99999999999999999999999", "0x10000000000000000", "99999999999999999999k",
        "15.99999999999999999999E",
    ]) func numbersOfMoreThan64BitsAreSaidToBeTooLarge(text: String) throws {
        #expect(ByteCount.isTooLarge(text))
        let reader = OptionReader(["o": text])
        let error = #expect(throws: ImageError.self) { _ = try reader.size("o") }
        #expect(error?.message == "Value '\(text)' is out of range for parameter 'o'")
    }

    @Test(arguments: ["", "x", "1.5", "-1", "0x", "E", "1..2k", "15.5E", "7", "1.5b"])
    func otherTextIsNotTooLarge(text: String) { #expect(!ByteCount.isTooLarge(text)) }

    @Test func aNumberThatIsTooLargeIsNotCalledNoNumber() {
        let reader = OptionReader(["a": "99999999999999999999999", "b": "x9"])
        let large = #expect(throws: ImageError.self) { _ = try reader.number("a") }
        #expect(large?.message.contains("too large") == true)
        let none = #expect(throws: ImageError.self) { _ = try reader.number("b") }
        #expect(none?.message.contains("expects a number") == true)
    }

    /// As QEMU: three significant digits of C, the next unit from 1000 of the smaller on.
    @Test func sizesForPeopleAreRoundedAsCDoes() {
        for (bytes, text) in [
            (UInt64(0), "0 B"), (999, "999 B"), (1000, "0.977 KiB"), (1023, "0.999 KiB"), (1 << 20, "1 MiB"),
            (1_023_590_000, "976 MiB"), (1_048_200_000, "1e+03 MiB"), (10_481_000, "10 MiB"), (1 << 30, "1 GiB"),
            (.max, "16 EiB"),
        ] { #expect(ByteCount.text(bytes) == text) }
        var random = SeededRandom(7)
        for _ in 0..<2000 {
            let bytes = random.next() >> UInt64.random(in: 0..<63, using: &random)
            let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
            let unit =
                units.indices.last { $0 == 0 || Double(bytes) / Double(UInt64(1) << UInt64(10 * ($0 - 1))) >= 1000 }
                ?? 0
            let value = Double(bytes) / Double(UInt64(1) << UInt64(10 * unit))
            #expect(ByteCount.text(bytes) == String(format: "%.3g ", value) + units[unit])
        }
    }
}
