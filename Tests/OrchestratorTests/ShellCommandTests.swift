import Foundation
import LabSpec
import Testing
import VMProtocol

@testable import Orchestrator

/// A real shell on a terminal in place of a guest: what is typed at the console's socket goes to the terminal, what the
/// terminal says goes to the console's log.
final class ShellGuest {
    let folder: VMFolder
    private let lock: FileLock
    private let listener: Descriptor
    private let terminal: Descriptor
    private let process: pid_t

    /// From `<spawn.h>`: the shell leads a session, and the terminal that it opens first is its own.
    private static let spawnSetSession: Int16 = 0x80

    init(in path: String, shell: [String]) throws {
        folder = LabFolder(path: path + "/lab", runtime: path + "/run").vm("alpha")
        #expect(Folder.make(folder.path) == nil)
        #expect(Folder.make(folder.runtime) == nil)
        lock = try #require(try FileLock.tryLock(folder.file(.lock)))
        listener = try UnixSocket.listen(at: folder.consoleSocket)
        var (master, slave): (Int32, Int32) = (-1, -1)
        let opened = openpty(&master, &slave, nil, nil, nil)
        try #require(opened == 0)
        for end in [master, slave] { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        terminal = Descriptor(owning: master)
        let other = Descriptor(owning: slave)
        let name = try #require(ttyname(other.raw).map { String(cString: $0) })
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        for number in 0...2 as ClosedRange<Int32> {
            posix_spawn_file_actions_addopen(&actions, number, name, O_RDWR, 0)
        }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        // A thread of a test may have blocked signals, and bash leaves them blocked in what it starts: Ctrl-C would stop nothing.
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(
            &attributes, Self.spawnSetSession | Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF))
        var words: [UnsafeMutablePointer<CChar>?] = shell.map { strdup($0) } + [nil]
        var child: pid_t = 0
        let environment = ["PS1=# ", "TERM=vt100", "HOME=/tmp", "HISTFILE=", "PATH=/usr/bin:/bin"]
        var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
        try #require(posix_spawnp(&child, shell[0], &actions, &attributes, &words, &variables) == 0)
        process = child
        let (log, listener, terminal) = (folder.file(.consoleLog), listener, terminal)
        try StateFile.replace(log, with: [])
        Thread.detachNewThread {
            guard let file = try? Descriptor.open(log, O_WRONLY | O_APPEND) else { return }
            while case .bytes(let bytes) = terminal.read() { file.writeAll(bytes) }
        }
        Thread.detachNewThread {
            while fcntl(listener.raw, F_GETFD) >= 0 {
                guard let viewer = UnixSocket.accept(on: listener) else {
                    usleep(1000)
                    continue
                }
                loop: while true {
                    switch viewer.read() {
                    case .bytes(let bytes): terminal.writeAll(bytes)
                    case .wouldBlock: usleep(500)
                    case .endOfFile, .failed: break loop
                    }
                }
            }
        }
    }

    deinit {
        kill(process, SIGKILL)
        var status: Int32 = 0
        waitpid(process, &status, 0)
    }
}

/// Commands in the shell that is logged in on a console.
@Suite(.serialized) struct ShellCommandTests {
    private static let shells = [["sh", "-i"], ["bash", "--norc", "--noprofile", "-i"]]

    private struct Bench {
        let folder = try? TemporaryFolder()
        let guest: ShellGuest
        let signal: StopSignal
        init(_ shell: [String]) throws {
            guest = try ShellGuest(in: try #require(folder).path, shell: shell)
            signal = try StopSignal()
            // A shell that is not at its prompt yet is one that nobody is logged in to.
            try ConsoleSession(guest.folder).wait(for: "# ", milliseconds: 20_000, interruption: signal)
        }

        func run(_ command: String, milliseconds: UInt64 = 60_000) throws -> CommandResult {
            try ConsoleSession(guest.folder).execute(command, milliseconds: milliseconds, interruption: signal)
        }
    }

    @Test(arguments: shells) func whatACommandSaysAndHowItEnds(shell: [String]) throws {
        let bench = try Bench(shell)
        #expect(try bench.run("echo one; echo two; false") == CommandResult(output: "one\ntwo\n", status: 1))
        #expect(try bench.run("printf abc") == CommandResult(output: "abc", status: 0))
        #expect(try bench.run("true") == CommandResult(output: "", status: 0))
        // What ends a shell ends the command's, and the next one finds the login as it was.
        #expect(try bench.run("test -e /nowhere || exit 7") == CommandResult(output: "", status: 7))
        #expect(try bench.run("cd /; kill -TERM $(sh -c 'echo $PPID')").status != 0)
        #expect(try bench.run("cat") == CommandResult(output: "", status: 0), "there is nothing to read")
        #expect(try bench.run("echo still here").output == "still here\n")
    }

    @Test(arguments: shells) func aCommandArrivesAsItWasWritten(shell: [String]) throws {
        let bench = try Bench(shell)
        for text in [
            "it's \"quoted\" \\ $HOME `date` !! !x", "a\tb", "grüße 日本", "L\"\"x; echo no", "-n -e \\0101", "%s %b",
        ] {
            #expect(try bench.run("printf '%s' " + ShellScript.quoted(text)).output == text)
        }
        #expect(try bench.run("for i in 1 2\ndo\n  echo $i\ndone").output == "1\n2\n")
        // Longer than a terminal's line.
        let long = String(repeating: "x", count: 9000)
        #expect(try bench.run("printf %s \(long) | wc -c").output.filter(\.isNumber) == "9000")
    }

    @Test(arguments: shells) func aCommandThatTakesTooLongIsStoppedAndSpoilsNothing(shell: [String]) throws {
        let bench = try Bench(shell)
        for command in ["sleep 1000", "trap '' INT; sleep 1000", "while :; do sleep 1; done"] {
            #expect {
                try bench.run(command, milliseconds: 700)
            } throws: { error in
                guard case .timedOut(let message)? = error as? CommandFailure else { return false }
                return message.contains("did not end within 700ms")
            }
            #expect(try bench.run("echo well") == CommandResult(output: "well\n", status: 0), "after \(command)")
        }
    }

    @Test func aConsoleWithoutAShellSaysSo() throws {
        let bench = try Bench(["sh", "-c", "printf '# '; stty -echo; exec cat >/dev/null"])
        #expect {
            try bench.run("true", milliseconds: 1000)
        } throws: { error in
            guard case .notRun(let error)? = error as? CommandFailure else { return false }
            return error.message.contains("no shell answers on the console of alpha")
        }
    }
}

/// What a person sees of a console.
@Suite struct VisibleTextTests {
    private func seen(_ text: String) -> String { String(decoding: VisibleText.of(text.utf8), as: UTF8.self) }

    @Test func coloursAndTitlesAreNotSeen() {
        #expect(seen("\u{1B}[1;32mlogin\u{1B}[0m: ") == "login: ")
        #expect(seen("\u{1B}]0;title\u{1B}\\a\u{1B}P1$r\u{1B}\\b\u{1B}(B\u{1B}[?25hc") == "abc")
        #expect(seen("a\r\nb\u{7}\u{0}") == "a\nb")
        #expect(seen("pass\u{8}\u{8}sword") == "pasword")
    }

    @Test func theCursorsJumpsSeparate() {
        #expect(seen("one\u{1B}[5;1Htwo") == "one\ntwo")
        #expect(seen("login:\u{1B}[Croot") == "login: root")
        #expect(seen("a\u{1B}[3Cb") == "a   b")
    }

    private func find(_ pattern: ConsolePattern, _ pieces: [String]) -> UInt64? {
        var matcher = ConsoleMatcher(pattern, from: 100)
        for piece in pieces { if let end = matcher.take(Array(piece.utf8)) { return end - 100 } }
        return nil
    }

    @Test func aPatternIsFoundInWhatIsSeen() {
        #expect(find("login: ", ["\u{1B}[1mlog", "\u{1B}[0min: x"]) == 15)
        #expect(find(.texts(["never", "b", "abc"]), ["xab"]) == 3)
        #expect(find("\u{1B}[32mok", ["\u{1B}[0mok"]) == 6, "escape sequences of the pattern do not count either")
        #expect(find(.regex("^[a-z]+ login: ?$"), ["Debian 12\r\n", "host log", "in: "]) == 23)
        #expect(find(.regex("exit [0-9]+"), ["exit ", "\u{1B}[1m42\r\n"]) == 11)
        #expect(find(.regex("b.*c"), ["b\nc"]) == nil, "within a line")
        #expect(find(.regex("x*"), ["yyy"]) == nil, "nothing is not something")
        #expect(find("z", [String(repeating: "y", count: 100_000), "z"]) == 100_001)
    }

    @Test func aHostileLineDoesNotMakeAnExpressionSlow() {
        let line = String(repeating: "a", count: 200_000)
        #expect(find(.regex("(a+)+(a+)+b"), [line, line, line]) == nil)
    }
}
