/// The lines that a POSIX shell on a console is typed to run one command.
///
/// The command goes over in short pieces, encoded so that no line editor, completion or history makes something of it, into
/// a shell variable; each piece is acknowledged. Then it runs in a subshell, so that `exit` ends the command and not the
/// login. Words that are looked for are typed in two parts: their echo does not look like them.
public struct ShellScript {
    /// Characters of the encoded command in one line: far below the 4096 of a terminal's line discipline.
    private static let pieceLength = 400

    private let nonce: String
    private let command: String

    init(_ command: String, nonce: String) {
        self.command = command
        self.nonce = nonce
    }

    /// What the console says when piece `number` has arrived; 0 is the shell's first answer.
    func acknowledgement(_ number: Int) -> String { "L\(nonce)A\(number)." }
    var begin: String { "L\(nonce)B." }
    /// Followed by the exit status and a full stop.
    var end: String { "L\(nonce)E" }
    /// What the shell says when it is back at its prompt after an interruption.
    var back: String { "L\(nonce)S." }

    /// A word as it is typed, so that its echo does not look like it.
    static func typed(_ word: String) -> String { "\(word.prefix(1))\"\"\(word.dropFirst())" }

    /// Lines to type one by one, with what to wait for behind each.
    var preparation: [(line: String, answer: String)] {
        var lines = [("stty -echo 2>/dev/null; LC=; echo \(ShellScript.typed(acknowledgement(0)))", acknowledgement(0))]
        var rest = ShellScript.encoded(command)[...]
        while !rest.isEmpty {
            let piece = ShellScript.piece(of: &rest)
            let word = acknowledgement(lines.count)
            lines.append(("LC=\"$LC\"'\(piece)'; echo \(ShellScript.typed(word))", word))
        }
        return lines
    }

    /// The line that runs the command.
    var run: String {
        "LC=$(printf '%b' \"$LC\"); echo \(ShellScript.typed(begin)); ( eval \"$LC\" ) </dev/null; "
            + "echo \(ShellScript.typed(end))$?.; stty echo 2>/dev/null; LC="
    }

    /// The line that brings the shell back after an interruption.
    var recovery: String { "stty echo 2>/dev/null; LC=; echo \(ShellScript.typed(back))" }

    /// Cuts a piece off, never within an escape.
    private static func piece(of rest: inout Substring) -> Substring {
        var piece = rest.prefix(pieceLength)
        // The longest escape is \0ooo.
        if piece.count < rest.count, let escape = piece.suffix(4).lastIndex(of: "\\") { piece = piece[..<escape] }
        rest = rest[piece.endIndex...]
        return piece
    }

    /// For `printf %b`: everything but plain characters as `\0ooo`.
    static func encoded(_ command: String) -> String { encoded(command.utf8) }

    static func encoded(_ bytes: some Sequence<UInt8>) -> String {
        bytes.map { byte in
            let character = Character(Unicode.Scalar(byte))
            let isPlain = byte < 0x80 && (character.isLetter || character.isNumber || " ./-_=:,+@%".contains(character))
            guard !isPlain else { return String(character) }
            return octal([byte])
        }.joined()
    }

    /// Bytes for `printf %b`, each as `\0ooo`.
    static func octal(_ bytes: some Sequence<UInt8>) -> String {
        bytes.map { byte in
            let octal = String(byte, radix: 8)
            return "\\0" + String(repeating: "0", count: 3 - octal.count) + octal
        }.joined()
    }

    /// A word as a shell takes it, whatever is in it.
    public static func quoted(_ word: String) -> String {
        let isPlain =
            !word.isEmpty
            && word.utf8.allSatisfy { byte in
                let character = Character(Unicode.Scalar(byte))
                return byte < 0x80 && (character.isLetter || character.isNumber || "./-_=:,+@%".contains(character))
            }
        return isPlain ? word : "'" + word.replacing("'", with: "'\\''") + "'"
    }
}
