import Testing

@testable import Images

@Suite struct ByteCountTests {
    static let sizes: [(String, UInt64?)] = [
        ("0", 0), ("1.5M", 3 << 19), ("0x200", 512), ("16E", nil), ("15.5E", 31 << 59), ("1.5", nil), ("-1", nil),
        ("15.99999999999999999999E", nil), ("18446744073709551615", .max), ("18446744073709551616", nil),
    ]

    @Test(arguments: sizes) func sizesThatDoNotFitAreNoSizes(text: String, bytes: UInt64?) {
        #expect(ByteCount.parse(text) == bytes)
    }
}
