import ArgumentParser
import Foundation
import LabSpec
import Orchestrator

/// `labctl send`.
struct SendCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "send", abstract: "Types text on the console of a VM, or of all VMs of a group.",
        discussion: #"In the text, \n is Enter, \t Tab, \e Escape, \xHH any byte, \\ a backslash."#)

    @OptionGroup var words: VMArguments

    @Flag(help: "Types the text as it is: a backslash is a backslash.")
    var raw = false

    func run() throws {
        let (lab, name, texts) = try words.parts()
        guard !texts.isEmpty else { throw ValidationError("give the text to type") }
        let text = texts.joined(separator: " ")
        guard let bytes = raw ? Array(text.utf8) : TypedText.bytes(text) else {
            throw ValidationError(#"'\#(text)' has an escape other than \n \r \t \e \\ \xHH"#)
        }
        try LabSession.run(lab, progress: .quiet) { session in
            for vm in try session.vms(name) { try ConsoleSession(vm).send(bytes) }
        }
    }
}

/// Text with escapes, as people type it on a shell's command line.
enum TypedText {
    private static let escapes: [Character: UInt8] = [
        "n": 0x0A, "r": 0x0D, "t": 0x09, "e": 0x1B, "\\": 0x5C, "0": 0x00,
    ]

    /// Nil for an escape that is not known.
    static func bytes(_ text: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        var rest = text[...]
        while let character = rest.popFirst() {
            guard character == "\\" else {
                bytes += Array(String(character).utf8)
                continue
            }
            guard let kind = rest.popFirst() else { return nil }
            if kind == "x" {
                guard rest.count >= 2, let value = UInt8(rest.prefix(2), radix: 16) else { return nil }
                rest = rest.dropFirst(2)
                bytes.append(value)
            } else if let value = escapes[kind] {
                bytes.append(value)
            } else {
                return nil
            }
        }
        return bytes
    }
}

/// `labctl wait`.
struct WaitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wait", abstract: "Waits until a VM's console says a text.",
        discussion: """
            Looks at what a person would see: colours do not count. Begins behind the place where the latest 'wait' found \
            its text, at the start of the run at first: 'send' \
            and then 'wait' misses nothing. Exits with 6 when the text does not come in time.
            """)

    @OptionGroup var words: VMArguments

    @Option(help: "How long to wait (default: 1m).", transform: TimeLimit.parse)
    var timeout: TimeLimit = TimeLimit(milliseconds: 60_000)

    @Flag(help: "Looks only at what the console says from now on.")
    var new = false

    @Flag(help: "Prints what the console said up to the text.")
    var show = false

    @Flag(help: "The text is a POSIX extended regular expression, which matches within a line.")
    var regex = false

    func run() throws {
        let (lab, name, texts) = try words.parts()
        guard !texts.isEmpty else { throw ValidationError("give the text to wait for") }
        let text = texts.joined(separator: " ")
        let pattern = regex ? ConsolePattern.regex(text) : ConsolePattern(text)
        if let fault = pattern.fault { throw ValidationError("'\(text)' is not a regular expression: \(fault)") }
        try LabSession.run(lab, progress: .quiet) { session in
            let console = ConsoleSession(try session.vm(name))
            if new { try console.skipToEnd() }
            let seen = try console.wait(
                for: pattern, milliseconds: timeout.milliseconds, interruption: session.interruption)
            if show { print(ConsoleLog.plain(seen)) }
        }
    }
}
