/// The lines that a shell on a console is typed to run a command with bytes for its standard input and bytes from its standard
/// output and error, which a terminal would change.
///
/// Bytes wait in files of the guest: `$LT.i`, `$LT.o`, `$LT.e`. They come and go as base64, or, where the guest has no
/// `base64`, as octal escapes (in) and hex digits (out). Words that are looked for are typed in two parts.
struct TransferScript {
    /// How the guest writes bytes as text.
    enum Coding: Character {
        case base64 = "b", od = "o", hexdump = "h"

        /// Standard input to text.
        var encoder: String {
            switch self {
            case .base64: "base64"
            case .od: "od -An -v -tx1"
            case .hexdump: "hexdump -v -e '1/1 \"%02x \"'"
            }
        }
    }

    /// A file of the transfer in the guest.
    enum File: String { case input = "i", output = "o", errors = "e" }

    let nonce: String

    private func word(_ letter: Character) -> String { "L\(nonce)\(letter)" }
    private func typed(_ letter: Character) -> String { ShellScript.typed(word(letter)) }

    /// Finds a folder, and what the guest has to write bytes with. Says `place`, a `Coding`, `s` where it has sha256sum, and
    /// a full stop; `-.` where no folder can be written.
    var findPlace: String {
        "for LD in \"$TMPDIR\" /tmp /dev/shm /run .; do [ -n \"$LD\" ] && [ -d \"$LD\" ] && [ -w \"$LD\" ] && break; done; "
            + "LT=\"$LD/.labctl-\(nonce)\"; LB=h; LS=; "
            + "command -v od >/dev/null 2>&1 && LB=o; command -v base64 >/dev/null 2>&1 && LB=b; "
            + "command -v sha256sum >/dev/null 2>&1 && LS=s; "
            + "if ( umask 077; : >\"$LT.i\" ) 2>/dev/null; then echo \(typed("K"))$LB$LS.; else echo \(typed("K"))-.; fi"
    }
    var place: String { word("K") }

    /// Takes lines into the input file until one that is a full stop; answers `@N` with `taken(N)`, and says `taken(0)` first.
    func takeInput(_ coding: Coding) -> String {
        let (show, decode) =
            coding == .base64 ? ("printf '%s\\n' \"$LL\"", "base64 -d") : ("printf '%b' \"$LL\"", "cat")
        return "{ { echo \(typed("A"))0. >&3; while IFS= read -r LL; do case $LL in .) break;; "
            + "@*) echo \(typed("A"))${LL#@}. >&3;; *) \(show);; esac; done; } | \(decode) >\"$LT.i\"; } 3>&1; "
            + "echo \(typed("I")).$(sha256sum <\"$LT.i\" 2>/dev/null)."
    }
    func taken(_ number: Int) -> String { word("A") + "\(number)." }
    /// Followed by the digest of what was taken, where the guest can make it.
    var tookInput: String { word("I") + "." }

    /// Bytes in one line, far below the 4096 characters of a terminal's line.
    private static let lineBytes = 720

    /// Lines that bring bytes.
    static func lines(_ bytes: ArraySlice<UInt8>, _ coding: Coding) -> [String] {
        var rest = bytes
        var lines: [String] = []
        while !rest.isEmpty {
            let piece = rest.prefix(coding == .base64 ? lineBytes : lineBytes / 3)
            lines.append(coding == .base64 ? Base64.encode(piece) : ShellScript.octal(piece))
            rest = rest.dropFirst(piece.count)
        }
        return lines
    }

    /// Runs the command that was handed over. Says `end`, the exit status and the sizes of both files, with commas.
    var run: String {
        "LC=$(printf '%b' \"$LC\"); ( eval \"$LC\" ) <\"$LT.i\" >\"$LT.o\" 2>\"$LT.e\"; "
            + "echo \(typed("E"))$?,$(wc -c <\"$LT.o\"),$(wc -c <\"$LT.e\")."
    }
    var end: String { word("E") }

    /// Bytes of one piece that is fetched.
    static let pieceBytes = blockBytes * blocks
    private static let blockBytes = 4096
    private static let blocks = 48

    /// Shows a piece of a file between `pieceBegin` and `pieceEnd`.
    func fetch(_ file: File, piece: Int, _ coding: Coding) -> String {
        "echo \(typed("C"))\(piece).; dd if=\"$LT.\(file.rawValue)\" bs=\(Self.blockBytes) skip=\(piece * Self.blocks) "
            + "count=\(Self.blocks) 2>/dev/null | \(coding.encoder); echo; echo \(typed("D"))\(piece)."
    }
    func pieceBegin(_ piece: Int) -> String { word("C") + "\(piece)." }
    func pieceEnd(_ piece: Int) -> String { word("D") + "\(piece)." }

    /// Says the digest of a file.
    func digest(of file: File) -> String { "echo \(typed("S")).$(sha256sum <\"$LT.\(file.rawValue)\")." }
    var digested: String { word("S") + "." }

    /// Removes the files and brings the shell back; says `done`.
    var cleanUp: String {
        "[ -n \"$LT\" ] && rm -f \"$LT.i\" \"$LT.o\" \"$LT.e\"; stty echo 2>/dev/null; LC=; LT=; echo \(typed("Z"))."
    }
    var done: String { word("Z") + "." }

    /// Text between the marks of a piece as bytes; nil for what is none, as a kernel's message came in between.
    static func decode(_ text: String, _ coding: Coding) -> [UInt8]? {
        switch coding {
        case .base64: return Base64.decode(text.utf8.filter { $0 > 0x20 })
        case .od, .hexdump:
            let digits = text.utf8.filter { $0 > 0x20 }
            guard digits.count.isMultiple(of: 2) else { return nil }
            var bytes: [UInt8] = []
            for index in stride(from: 0, to: digits.count, by: 2) {
                guard let byte = UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16) else {
                    return nil
                }
                bytes.append(byte)
            }
            return bytes
        }
    }
}
