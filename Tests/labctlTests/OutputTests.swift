import Testing

@testable import labctl

/// Tables, quantities and typed text.
@Suite struct OutputTests {
    @Test func columnsAreAlignedAndLinesHaveNoTrail() {
        var table = Table(["VM", "STATE"])
        table.add([StyledText("teacher"), StyledText("ready", .green)])
        table.add([StyledText("a"), StyledText("")])
        #expect(table.rendered(usesColor: false) == "VM       STATE\nteacher  ready\na\n")
    }

    @Test func colourDoesNotChangeTheWidth() {
        var table = Table(["A", "B"])
        table.add([StyledText("x", .red), StyledText("y")])
        #expect(table.rendered(usesColor: true).contains("\u{1B}[31mx\u{1B}[0m  y\n"))
    }

    @Test(arguments: [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (150 << 20, "150 MiB")])
    func bytesAreReadable(count: UInt64, text: String) { #expect(Humanized.bytes(count) == text) }

    @Test(arguments: [(0.04, "0.0 s"), (3.25, "3.3 s"), (65, "1 min 5 s"), (7800, "2 h 10 min"), (100_000, "1 d 3 h")])
    func durationsAreReadable(seconds: Double, text: String) { #expect(Humanized.seconds(seconds) == text) }

    @Test func escapesAreWhatPeopleTypeInAShell() {
        #expect(TypedText.bytes(#"ls\n"#) == Array("ls\n".utf8))
        #expect(TypedText.bytes(#"\x03\e\\"#) == [3, 0x1B, 0x5C])
        #expect(TypedText.bytes(#"\q"#) == nil)
        #expect(TypedText.bytes(#"\x1"#) == nil)
    }
}
