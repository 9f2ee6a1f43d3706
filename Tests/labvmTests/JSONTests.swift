import Seeded
import Testing
import VMProtocol

@Suite struct JSONTests {
    private func parse(_ text: String) -> JSONValue? { JSONValue.parse(Array(text.utf8)) }

    @Test func valuesAreReadAsTheyAreWritten() {
        let text = #" {"a":[1,-2,3.5,1e3,true,false,null,"x\n\u00e9\ud83d\ude00\/\""],"b":{},"c":[]} "#
        let value: JSONValue = [
            "a": [1, -2, .double(3.5), .double(1000), .bool(true), .bool(false), .null, "x\né😀/\""], "b": [:], "c": [],
        ]
        #expect(parse(text) == value)
        #expect(JSONValue.parse(value.encoded) != nil)
        #expect(parse("18446744073709551615") == .double(18_446_744_073_709_551_616))
    }

    @Test(arguments: [
        "", "{", "[1,]", "{\"a\":}", "{\"a\" 1}", "01", "-", "1.", "1e", "+1", "\"\\x\"", "\"\\ud800\"", "\"\u{1}\"",
        "tru",
        "1 2", "{'a':1}", "[1 2]", "nan", "1e999",
    ]) func whatIsNotJSONIsRefused(text: String) { #expect(parse(text) == nil) }

    @Test func depthIsBounded() {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(parse(nested(64)) != nil)
        #expect(parse(nested(65)) == nil)
        #expect(parse(nested(1_000_000)) == nil)
    }

    @Test func randomBytesAreNeverMoreThanRefused() {
        var random = SeededRandom(7)
        let pieces = [
            "{", "}", "[", "]", "\"", ":", ",", "\\u", "d83d", "1", "-", ".", "e", "true", " ", "\u{FF}", "a",
        ]
        for _ in 0..<20_000 {
            var text = Array((0..<random.below(20)).map { _ in random.pick(pieces) }.joined().utf8)
            if random.oneIn(4) { text += random.bytes(3) }
            if let value = JSONValue.parse(text) { #expect(JSONValue.parse(value.encoded) != nil) }
        }
    }
}
