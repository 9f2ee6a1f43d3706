import Testing

@testable import Emulator

@Suite("The list of a device's fields")
struct StateCoderTests {
    private enum Colour: UInt8 { case red = 1, green }

    private struct Thing: Equatable {
        var byte: UInt8 = 1
        var number = -5
        var flag = true
        var colour = Colour.green
        var absent: UInt16?
        var present: UInt16? = 7
        var bytes: [UInt8] = [1, 2, 3]
        var words: [UInt32] = [4, 0xFFFF_FFFF]

        mutating func exchange(_ c: StateCoder) {
            c.field("byte", &byte)
            c.field("number", &number, in: -10...10)
            c.group("inner") {
                c.field("flag", &flag)
                c.field("colour", &colour)
            }
            c.field("absent", &absent)
            c.field("present", &present)
            c.field("bytes", &bytes, count: 0...8)
            c.field("words", &words)
        }
    }

    private func saved(_ thing: Thing) -> [UInt8] {
        var thing = thing
        let coder = StateCoder(saving: "thing", version: 1, now: 0)
        thing.exchange(coder)
        return coder.bytes
    }

    private func restored(_ bytes: [UInt8], version: UInt32 = 1, currentVersion: UInt32 = 1) throws -> Thing {
        var thing = Thing(
            byte: 0, number: 0, flag: false, colour: .red, absent: 9, present: nil, bytes: [], words: [0, 0])
        let coder = try StateCoder(
            restoring: bytes, section: "thing", version: version, currentVersion: currentVersion, now: 0)
        thing.exchange(coder)
        try coder.finish()
        return thing
    }

    @Test func whatIsSavedComesBack() throws { #expect(try restored(saved(Thing())) == Thing()) }

    @Test func aFieldOutsideItsRangeIsRefusedByName() {
        var thing = Thing()
        thing.number = 11
        #expect { try restored(saved(thing)) } throws: { "\($0)".contains("11 in its field number") }
    }

    @Test func aCaseThatDoesNotExistIsRefused() {
        let coder = StateCoder(saving: "thing", version: 1, now: 0)
        var colour: UInt8 = 3
        coder.group("inner") { coder.field("colour", &colour) }
        #expect { try restored(coder.bytes, version: 1, currentVersion: 2) } throws: {
            "\($0)".contains("3 in its field inner.colour")
        }
    }

    @Test func aMissingFieldIsAnErrorInTheSameVersionAndKeepsItsValueInAnOlderOne() throws {
        let coder = StateCoder(saving: "thing", version: 1, now: 0)
        var byte: UInt8 = 42
        coder.field("byte", &byte)
        #expect { try restored(coder.bytes) } throws: { "\($0)".contains("lacks its field number") }
        let thing = try restored(coder.bytes, version: 1, currentVersion: 2)
        #expect(thing.byte == 42)
        #expect(thing.number == 0)
    }

    @Test func aFieldThatNobodyAsksForIsAnError() {
        let coder = StateCoder(saving: "thing", version: 1, now: 0)
        var byte: UInt8 = 42
        coder.field("stranger", &byte)
        let bytes = saved(Thing()) + coder.bytes
        #expect { try restored(bytes) } throws: { "\($0)".contains("stranger") }
    }

    @Test func everyCutIsAnErrorOrAMissingField() {
        let bytes = saved(Thing())
        for count in 0..<bytes.count { #expect(throws: MachineError.self) { try restored(Array(bytes[..<count])) } }
    }
}

@Suite("XXH64")
struct XXHash64Tests {
    @Test(
        "published values",
        arguments: [
            ("", 0xEF46_DB37_51D8_E999 as UInt64), ("a", 0xD24E_C4F1_A98C_6E5B), ("abc", 0x44BC_2CF5_AD77_0999),
            ("Nobody inspects the spammish repetition", 0xFBCE_A83C_8A37_8BF1),
        ])
    func values(text: String, hash: UInt64) { #expect(XXHash64.hash(Array(text.utf8)) == hash) }

    @Test func everyBitCountsAtEveryLength() {
        for count in [1, 3, 4, 7, 8, 31, 32, 33, 63, 64, 100] {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7) }
            let whole = XXHash64.hash(bytes)
            for place in 0..<count {
                var other = bytes
                other[place] ^= 1 << UInt8(place & 7)
                #expect(XXHash64.hash(other) != whole)
            }
        }
    }
}
