/// Which keys give a character: what is printed on keyboards of a country. Keys have QEMU's names, which say where a key is
/// on a US keyboard.
public enum KeyboardLayout: String, Sendable, CaseIterable {
    case us, de, fr

    /// A character and what to press for it, one chord after the other; nil where the layout has no key for it.
    func chords(for character: Character) -> [[String]]? {
        if let key = Self.controls[character] { return [[key]] }
        return tables[character]
    }

    /// Characters that are keys of their own on every keyboard.
    private static let controls: [Character: String] = [
        "\n": "ret", "\r": "ret", "\r\n": "ret", "\t": "tab", "\u{1B}": "esc", "\u{8}": "backspace", " ": "spc",
    ]

    /// The key that reaches the third level.
    private static let altGr = "alt_r"

    /// A row a key: name, then the characters it gives plain, with Shift and with AltGr. `dead` keys give theirs with the
    /// space bar behind them; `-` stands for none.
    private var rows: String {
        switch self {
        case .us:
            """
            grave_accent ` ~
            1 1 !
            2 2 @
            3 3 #
            4 4 $
            5 5 %
            6 6 ^
            7 7 &
            8 8 *
            9 9 (
            0 0 )
            minus - _
            equal = +
            bracket_left [ {
            bracket_right ] }
            backslash \\ |
            semicolon ; :
            apostrophe ' "
            comma , <
            dot . >
            slash / ?
            """
        case .de:
            """
            dead grave_accent ^
            grave_accent none °
            1 1 !
            2 2 " ²
            3 3 § ³
            4 4 $
            5 5 %
            6 6 &
            7 7 / {
            8 8 ( [
            9 9 ) ]
            0 0 = }
            minus ß ? \\
            dead equal ´ `
            q q Q @
            e e E €
            y z Z
            z y Y
            bracket_left ü Ü
            bracket_right + * ~
            semicolon ö Ö
            apostrophe ä Ä
            backslash # '
            less < > |
            m m M µ
            comma , ;
            dot . :
            slash - _
            """
        case .fr:
            """
            grave_accent ²
            1 & 1
            2 é 2 ~
            3 " 3 #
            4 ' 4 {
            5 ( 5 [
            6 - 6 |
            7 è 7 `
            8 _ 8 \\
            9 ç 9 ^
            0 à 0 @
            minus ) ° ]
            equal = + }
            q a A
            w z Z
            e e E €
            a q Q
            z w W
            bracket_right $ £ ¤
            semicolon m M
            apostrophe ù %
            backslash * µ
            less < >
            m , ?
            comma ; .
            dot : /
            slash ! §
            """
        }
    }

    private var tables: [Character: [[String]]] { Self.made[self] ?? [:] }

    private static let made: [KeyboardLayout: [Character: [[String]]]] = Dictionary(
        uniqueKeysWithValues: allCases.map { ($0, $0.table()) })

    private func table() -> [Character: [[String]]] {
        var table: [Character: [[String]]] = [:]
        // Letters are where a US keyboard has them unless a row says otherwise.
        let rows = rows.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        let taken = Set(rows.compactMap { $0.first == "dead" ? nil : $0.first })
        for letter in "abcdefghijklmnopqrstuvwxyz" where !taken.contains(String(letter)) {
            table[letter] = [[String(letter)]]
            table[Character(letter.uppercased())] = [["shift", String(letter)]]
        }
        for row in rows {
            let isDead = row.first == "dead"
            let words = isDead ? Array(row.dropFirst()) : row
            guard let key = words.first else { continue }
            for (level, word) in words.dropFirst().enumerated() where word.count == 1 {
                let held = [[], ["shift"], [Self.altGr]][level]
                table[Character(word)] = [held + [key]] + (isDead ? [["spc"]] : [])
            }
        }
        return table
    }
}
