import ArgumentParser
import Foundation
import Orchestrator
import VMProtocol

/// `labctl console`.
struct ConsoleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "console", abstract: "Attaches to a VM's serial console; Ctrl-] detaches.",
        discussion: "Several can watch one console. What the guest said before is in 'labctl console --log'.")

    @OptionGroup var words: VMArguments

    @Flag(help: "Prints what the guest has said since it was started, and ends.")
    var log = false

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
            try ConsoleAttachment(socket: try console.connect(), name: vm.name).run()
        }
    }
}

/// A terminal joined to a console until Ctrl-], the end of input, or the end of the VM.
struct ConsoleAttachment {
    let socket: Descriptor
    let name: String

    private static let detachKey: UInt8 = 0x1D

    func run() throws {
        var original = termios()
        let isTerminal = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &original) == 0
        if isTerminal {
            StandardError.line("attached to \(name); Ctrl-] detaches")
            var raw = original
            cfmakeraw(&raw)
            tcsetattr(STDIN_FILENO, TCSANOW, &raw)
            // A guest that has said all it has to say looks dead: Enter makes a login prompt speak. Not ours to press.
        }
        let end = exchange(isTerminal: isTerminal)
        if isTerminal {
            tcsetattr(STDIN_FILENO, TCSANOW, &original)
            StandardError.line("\n\(end)")
        }
    }

    /// - Returns: why it ended, in words.
    private func exchange(isTerminal: Bool) -> String {
        var watchesInput = true
        while true {
            var entries = [
                pollfd(fd: socket.raw, events: Int16(POLLIN), revents: 0),
                pollfd(fd: watchesInput ? STDIN_FILENO : -1, events: Int16(POLLIN), revents: 0),
            ]
            // A signal (SIGTERM) ends the attachment and so restores the terminal.
            guard poll(&entries, 2, -1) > 0 else { return "interrupted" }
            if entries[0].revents != 0 {
                guard case .bytes(let bytes) = socket.read() else { return "\(name) closed its console" }
                guard write(STDOUT_FILENO, bytes) else { return "standard output is closed" }
            }
            if entries[1].revents != 0 {
                var buffer = [UInt8](repeating: 0, count: 4096)
                let count = read(STDIN_FILENO, &buffer, buffer.count)
                guard count > 0 else {
                    // A script's input is over; its guest may still have something to say.
                    guard !isTerminal else { return "detached" }
                    watchesInput = false
                    continue
                }
                let typed = buffer[..<count]
                if isTerminal, let detach = typed.firstIndex(of: Self.detachKey) {
                    socket.writeAll(typed[..<detach])
                    return "detached from \(name)"
                }
                guard socket.writeAll(typed) else { return "\(name) closed its console" }
            }
        }
    }

    private func write(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
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
