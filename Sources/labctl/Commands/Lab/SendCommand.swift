import ArgumentParser
import Foundation
import LabSpec
import Orchestrator

/// `labctl send`.
struct SendCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "send", abstract: "Types on the console, or on the keyboard, of a VM or of all VMs of a group.",
        discussion: #"""
            TEXT goes to the serial console. In it, \n is Enter, \t Tab, \e Escape, \xHH any byte, \\ a backslash.

            Guests without a serial console have a keyboard: --type types text on it, --keys presses keys together, by QEMU's \
            names (ctrl-alt-delete, f2, ret), several with spaces between them. What is printed on the keyboard has to be what \
            the guest thinks: --layout is us, de or fr.

              labctl send student-01 'root\n'
              labctl send student-01 --type 'root\n' --layout de
              labctl send student --keys ctrl-alt-delete
              labctl send student-01 --keys 'down down ret'
            """#)

    @OptionGroup var words: VMArguments

    @Option(help: ArgumentHelp("Presses keys of the keyboard.", valueName: "keys"))
    var keys: String?

    @Option(help: ArgumentHelp("Types this text on the keyboard.", valueName: "text"))
    var type: String?

    @Option(help: "The keyboard's layout for --type: us, de or fr.")
    var layout: KeyboardLayout = .us

    @Flag(help: "Types the text as it is: a backslash is a backslash.")
    var raw = false

    func run() throws {
        let (lab, name, texts) = try words.parts()
        guard [keys != nil, type != nil, !texts.isEmpty].filter({ $0 }).count == 1 else {
            throw ValidationError("give the text to type, or --type, or --keys, and only one of them")
        }
        let action = try self.action(texts)
        try LabSession.run(lab, progress: .quiet) { session in
            for vm in try session.vms(name) { try action(vm) }
        }
    }

    /// What is done with each VM.
    private func action(_ texts: [String]) throws -> (VMFolder) throws(OrchestratorError) -> Void {
        if let keys {
            guard let chords = Keyboard.chords(keys) else {
                throw ValidationError(
                    "'\(keys)' is no key; write names with '-' between those that are pressed together")
            }
            return { vm throws(OrchestratorError) in try Keyboard(vm).press(chords) }
        }
        let text = type ?? texts.joined(separator: " ")
        guard let bytes = raw ? Array(text.utf8) : TypedText.bytes(text) else {
            throw ValidationError(#"'\#(text)' has an escape other than \n \r \t \e \\ \xHH"#)
        }
        guard type == nil else {
            let (typed, layout) = (String(decoding: bytes, as: UTF8.self), layout)
            return { vm throws(OrchestratorError) in try Keyboard(vm).type(typed, layout: layout) }
        }
        return { vm throws(OrchestratorError) in try ConsoleSession(vm).send(bytes) }
    }
}

extension KeyboardLayout: ExpressibleByArgument {}

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
        commandName: "wait", abstract: "Waits until a VM's console says a text, or its screen shows it.",
        discussion: """
            Looks at what a person would see: colours do not count. Begins behind the place where the latest 'wait' found \
            its text, at the start of the run at first: 'send' \
            and then 'wait' misses nothing. With --screen it looks at what the screen shows now or later (see 'labctl screen'). \
            Exits with 6 when the text does not come in time.

              labctl wait student-01 'login: '
              labctl wait student-01 --screen --timeout 5m 'Installation complete'
            """)

    @OptionGroup var words: VMArguments

    @Option(help: "How long to wait (default: 1m).", transform: TimeLimit.parse)
    var timeout: TimeLimit = TimeLimit(milliseconds: 60_000)

    @Flag(help: "Looks only at what the console says from now on.")
    var new = false

    @Flag(help: "Prints what the console said up to the text.")
    var show = false

    @Flag(help: "Looks at the screen instead of the serial console.")
    var screen = false

    @Flag(help: "The text is a POSIX extended regular expression, which matches within a line.")
    var regex = false

    func run() throws {
        let (lab, name, texts) = try words.parts()
        guard !texts.isEmpty else { throw ValidationError("give the text to wait for") }
        let text = texts.joined(separator: " ")
        let pattern = regex ? ConsolePattern.regex(text) : ConsolePattern(text)
        if let fault = pattern.fault { throw ValidationError("'\(text)' is not a regular expression: \(fault)") }
        if screen, new || show {
            throw ValidationError("--screen looks at what is there now: leave out --new and --show")
        }
        try LabSession.run(lab, progress: .quiet) { session in
            if screen {
                return try Screen(session.vm(name)).wait(
                    for: pattern, milliseconds: timeout.milliseconds, interruption: session.interruption)
            }
            let console = ConsoleSession(try session.vm(name))
            if new { try console.skipToEnd() }
            let seen = try console.wait(
                for: pattern, milliseconds: timeout.milliseconds, interruption: session.interruption)
            if show { print(ConsoleLog.plain(seen)) }
        }
    }
}
