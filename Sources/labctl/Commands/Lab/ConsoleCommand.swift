import ArgumentParser
import Foundation
import Orchestrator
import VMProtocol

/// `labctl console`.
struct ConsoleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "console", abstract: "Attaches to a VM's serial console; Ctrl-] detaches.",
        discussion: #"""
            Shows the last lines that the guest said, then joins the terminal to it. Several can watch one console. Ctrl-\ opens \#
            a menu: scrolling back, watching without typing, Ctrl-Alt-Delete. All that the guest said is in \#
            'labctl console --log'.

              labctl console student-01
              labctl console --read-only student-01
            """#)

    @OptionGroup var words: VMArguments

    @Flag(help: "Prints what the guest has said since it was started, and ends.")
    var log = false

    @Flag(name: [.customShort("r"), .long], help: "Watches only: nothing that is typed reaches the guest.")
    var readOnly = false

    @Option(name: [.customShort("n"), .long], help: "How many of the last lines are shown at first.")
    var tail = 10

    func validate() throws {
        if tail < 0 { throw ValidationError("--tail is a number of lines, not \(tail)") }
    }

    func run() throws {
        let (lab, name, rest) = try words.parts()
        guard rest.isEmpty else { throw ValidationError("console takes one VM, not also '\(rest[0])'") }
        try LabSession.run(lab, progress: .quiet) { session in
            let vm = try session.vm(name)
            let console = ConsoleSession(vm)
            guard !log else {
                return LogPrinter(path: vm.file(.consoleLog), isRaw: isatty(STDOUT_FILENO) == 0)
                    .printAll(from: console.runStart)
            }
            let socket = try console.connect()
            try ConsoleAttachment(
                socket: socket, vm: vm, runStart: console.runStart, isReadOnly: readOnly, tail: tail
            ).run()
        }
    }
}

/// Prints a console log.
struct LogPrinter {
    let path: String
    /// Bytes as they are; otherwise without terminal escapes, which could move a reader's cursor or worse.
    let isRaw: Bool

    /// Prints everything from an offset on.
    func printAll(from start: UInt64) {
        var follower = ConsoleFollower(path: path, from: start, lookingFor: "")
        while printNext(&follower) {}
    }

    /// Prints what is new.
    /// - Returns: whether there was anything.
    func printNext(_ follower: inout ConsoleFollower) -> Bool {
        let bytes = follower.advance()
        guard !bytes.isEmpty else { return false }
        let shown = isRaw ? bytes : Array(ConsoleLog.plain(bytes).utf8)
        StandardOutput.write(shown)
        StandardOutput.flush()
        return true
    }
}
