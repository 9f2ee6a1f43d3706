import Testing

@testable import Orchestrator

/// Characters and the keys that give them.
@Suite struct KeyboardTests {
    @Test(arguments: KeyboardLayout.allCases) func everyLayoutHasAllOfASCII(layout: KeyboardLayout) {
        for code in UInt8(0x20)...0x7E {
            let character = Character(Unicode.Scalar(code))
            #expect(layout.chords(for: character) != nil, "\(character)")
        }
        #expect(layout.chords(for: "\n") == [["ret"]])
        #expect(layout.chords(for: "日") == nil)
    }

    @Test func layoutsPutCharactersWhereTheirKeyboardsHaveThem() {
        let rows: [(KeyboardLayout, Character, [[String]])] = [
            (.us, "z", [["z"]]), (.us, "Z", [["shift", "z"]]), (.us, "@", [["shift", "2"]]),
            (.us, "\\", [["backslash"]]),
            (.de, "z", [["y"]]), (.de, "Y", [["shift", "z"]]), (.de, "@", [["alt_r", "q"]]), (.de, "ß", [["minus"]]),
            (.de, "\\", [["alt_r", "minus"]]), (.de, "/", [["shift", "7"]]), (.de, "^", [["grave_accent"], ["spc"]]),
            (.de, "`", [["shift", "equal"], ["spc"]]), (.de, "°", [["shift", "grave_accent"]]),
            (.de, "Ü", [["shift", "bracket_left"]]),
            (.fr, "a", [["q"]]), (.fr, "Q", [["shift", "a"]]), (.fr, "m", [["semicolon"]]),
            (.fr, "1", [["shift", "1"]]),
            (.fr, "&", [["1"]]), (.fr, "@", [["alt_r", "0"]]), (.fr, ".", [["shift", "comma"]]), (.fr, "w", [["z"]]),
        ]
        for (layout, character, chords) in rows {
            #expect(layout.chords(for: character) == chords, "\(layout) \(character)")
        }
    }

    @Test func chordsTakeTheNamesThatPeopleUse() {
        #expect(Keyboard.chords("ctrl-alt-delete") == [["ctrl", "alt", "delete"]])
        #expect(Keyboard.chords("Ctrl-Alt-Del  enter") == [["ctrl", "alt", "delete"], ["ret"]])
        #expect(Keyboard.chords("") == nil)
        #expect(Keyboard.chords("ctrl-") == nil)
    }

    @Test func aScreenIsSearchedAsAPersonReadsIt() {
        let screen = ScreenReading(rows: ["Debian GNU/Linux 12", "", "host login:"], graphics: false)
        #expect(screen.contains("login: "))
        #expect(screen.contains(.texts(["nothing", "GNU"])))
        #expect(!screen.contains("Login"))
        #expect(screen.contains(.regex("^host login: $")))
        #expect(screen.contains(.regex("login:$")))
        #expect(!screen.contains(.regex("Linux.*login")), "within a line")
    }
}
