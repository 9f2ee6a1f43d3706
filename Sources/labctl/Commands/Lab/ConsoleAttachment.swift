import Foundation
import Orchestrator
import VMProtocol

/// A terminal joined to a console until Ctrl-], the end of input, or the end of the VM.
final class ConsoleAttachment {
    private let socket: Descriptor
    private let vm: VMFolder
    private let runStart: UInt64
    private let tail: Int
    private var isReadOnly: Bool
    private var keys = ConsoleKeys()
    /// How the terminal was; nil where standard input is none.
    private var original: termios?

    /// - Parameters:
    ///   - runStart: where what the guest said since it was started begins in the log.
    ///   - tail: lines that are shown at first.
    init(socket: Descriptor, vm: VMFolder, runStart: UInt64, isReadOnly: Bool, tail: Int) {
        self.socket = socket
        self.vm = vm
        self.runStart = runStart
        self.isReadOnly = isReadOnly
        self.tail = tail
    }

    func run() throws {
        var settings = termios()
        if isatty(STDIN_FILENO) == 1, tcgetattr(STDIN_FILENO, &settings) == 0 { original = settings }
        if original != nil {
            let how = isReadOnly ? "watching" : "attached to"
            StandardError.line(#"\#(how) \#(vm.name); Ctrl-] detaches, Ctrl-\ opens the menu"#)
            showLastLines()
            takeKeys()
            // A guest that has said all it has to say looks dead: Enter makes a login prompt speak. Not ours to press.
        }
        let end = exchange()
        if original != nil {
            giveKeysBack()
            StandardError.line("\n\(end)")
        }
    }

    /// Every key comes as it is typed.
    private func takeKeys() {
        guard var raw = original else { return }
        cfmakeraw(&raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &raw)
    }

    private func giveKeysBack() {
        guard var original else { return }
        tcsetattr(STDIN_FILENO, TCSANOW, &original)
    }

    /// The beginning is not known of somebody who comes later; a line that waits for an answer stays open.
    private func showLastLines() {
        guard tail > 0 else { return }
        let text = said().split(separator: "\n", omittingEmptySubsequences: false).suffix(tail + 1)
        StandardOutput.write(Array(text.joined(separator: "\n").utf8))
        StandardOutput.flush()
    }

    /// How much of the log is looked at.
    private static let mostShown: UInt64 = 4 << 20

    private func said() -> String {
        let path = vm.file(.consoleLog)
        let end = ConsoleLog.length(path)
        let start = max(runStart, end > Self.mostShown ? end - Self.mostShown : 0)
        var follower = ConsoleFollower(path: path, from: start, lookingFor: "")
        var bytes: [UInt8] = []
        while true {
            let piece = follower.advance()
            if piece.isEmpty { break }
            bytes += piece
        }
        return ConsoleLog.plain(bytes)
    }

    /// - Returns: why it ended, in words.
    private func exchange() -> String {
        var watchesInput = true
        while true {
            var entries = [
                pollfd(fd: socket.raw, events: Int16(POLLIN), revents: 0),
                pollfd(fd: watchesInput ? STDIN_FILENO : -1, events: Int16(POLLIN), revents: 0),
            ]
            // A signal (SIGTERM) ends the attachment and so restores the terminal.
            guard poll(&entries, 2, -1) > 0 else { return "interrupted" }
            if entries[0].revents != 0 {
                guard case .bytes(let bytes) = socket.read() else { return "\(vm.name) closed its console" }
                guard write(STDOUT_FILENO, bytes) else { return "standard output is closed" }
            }
            if entries[1].revents != 0 {
                var buffer = [UInt8](repeating: 0, count: 4096)
                let count = read(STDIN_FILENO, &buffer, buffer.count)
                guard count > 0 else {
                    // A script's input is over; its guest may still have something to say.
                    guard original == nil else { return "detached" }
                    watchesInput = false
                    continue
                }
                if let end = typed(buffer[..<count]) { return end }
            }
        }
    }

    /// - Returns: why the attachment ends; nil where it goes on.
    private func typed(_ bytes: ArraySlice<UInt8>) -> String? {
        guard original != nil else { return send(Array(bytes)) }
        for action in keys.take(bytes) {
            switch action {
            case .type(let bytes): if let end = send(bytes) { return end }
            case .detach: return "detached from \(vm.name)"
            case .menu: note(ConsoleKeys.menu)
            case .leaveMenu: note("back")
            case .choose(let choice): choose(choice)
            }
        }
        return nil
    }

    private func send(_ bytes: [UInt8]) -> String? {
        guard !isReadOnly else { return nil }
        return socket.writeAll(bytes[...]) ? nil : "\(vm.name) closed its console"
    }

    private func choose(_ choice: ConsoleKeys.Choice) {
        switch choice {
        case .detach, .sendMenuKey: break
        case .readOnly:
            isReadOnly.toggle()
            note(isReadOnly ? "watching only: what is typed goes nowhere" : "what is typed goes to \(vm.name)")
        case .controlAltDelete:
            guard !isReadOnly else { return note("watching only; r lets you type") }
            do {
                try Keyboard(vm).press(Keyboard.chords("ctrl-alt-delete") ?? [])
                note("pressed Ctrl-Alt-Delete")
            } catch {
                note(error.message)
            }
        case .scrollBack: scrollBack()
        }
    }

    /// A line of labctl's own among the guest's.
    private func note(_ text: String) { StandardError.bytes(Array("\r\n[\(text)]\r\n".utf8)) }

    /// The user's pager, else `less`, which begins at the end, else `more`.
    private static let pagerScript = """
        p=${PAGER:-less}; command -v "${p%% *}" >/dev/null 2>&1 || p=more
        case $p in less*) exec $p +G "$1";; *) exec $p "$1";; esac
        """

    /// Hands what was said to the user's pager; the guest's new words wait meanwhile.
    private func scrollBack() {
        let file = FileManager.default.temporaryDirectory.appending(path: "labctl-\(getpid())-\(vm.name).txt")
        guard
            FileManager.default.createFile(
                atPath: file.path, contents: Data(said().utf8), attributes: [.posixPermissions: 0o600])
        else { return note("cannot write \(file.path)") }
        defer { try? FileManager.default.removeItem(at: file) }
        giveKeysBack()
        defer { takeKeys() }
        let pager = Process()
        pager.executableURL = URL(fileURLWithPath: "/bin/sh")
        pager.arguments = ["-c", Self.pagerScript, "sh", file.path]
        do {
            try pager.run()
            pager.waitUntilExit()
        } catch {
            note("cannot start a pager: \(error.localizedDescription)")
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
