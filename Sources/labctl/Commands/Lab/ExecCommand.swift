import ArgumentParser
import Foundation
import LabSpec
import Orchestrator
import VMProtocol

/// `labctl exec`.
struct ExecCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec", abstract: "Runs a command in the shell on a VM's console and ends with its exit code.",
        discussion: """
            With `login` in the lab file, labctl logs in by itself; without it, somebody must be logged in at the console, with \
            a POSIX shell at its prompt. The command runs in a subshell: 'exit' and 'cd' end with it. What it prints goes to \
            standard output. A command that takes longer than --timeout is stopped with Ctrl-C.

            A console is a terminal: it joins output and error and changes bytes. --binary brings both apart and byte for byte \
            when the command has ended, --stdin (-i) also takes labctl's standard input over.

            With a group, or several VMs with commas between them, it runs on all of them at once; each line begins with \
            the VM's name, and a summary follows on standard error.

            Options of labctl stand before the VM's name. What stands behind it is the command: one line for the shell, or, \
            behind '--', words that it gets as they are.

              labctl exec student-01 'ls /etc | wc -l'
              labctl exec --timeout 5m student -- apt-get install -y nginx
              labctl exec -i student-01 'tar -x -C /root' < exercise.tar

            Exits with the command's exit code; with 124 when it took too long, with 125 when it could not be run. With \
            several VMs: 0 when all ended with 0, else 1.
            """)

    @Argument(
        parsing: .captureForPassthrough,
        help: ArgumentHelp("The lab file (optional), the VM or group, and the command.", valueName: "words"),
        completion: LabCompletion.filesAndVMs)
    var words: [String] = []

    @OptionGroup var selection: LabSelection

    @Option(help: "How long the command may take (default: 1m).", transform: TimeLimit.parse)
    var timeout: TimeLimit = TimeLimit(milliseconds: 60_000)

    @Flag(
        name: [.customShort("i"), .customLong("stdin")], help: "The command reads labctl's standard input, to its end.")
    var usesInput = false

    @Flag(help: "Brings standard output and standard error apart and byte for byte (always so with --stdin).")
    var binary = false

    func run() throws {
        if let first = words.first, ["--help", "-h"].contains(first) { throw CleanExit.helpRequest(self) }
        let leading = words.first == "--" ? Array(words.dropFirst()) : words
        let (lab, name, rest) = try VMArguments.parts(of: leading, options: selection.words)
        let command = ExecCommand.command(rest)
        guard !command.isEmpty else { throw ValidationError("give the command to run") }
        let input = usesInput ? try InputBytes.read(limit: ConsoleSession.mostTransferBytes) : []
        try LabSession.run(lab, progress: .quiet) { session in
            let consoles = try name.split(separator: ",").flatMap { try session.vms(String($0)) }.map(session.console)
            let run = runner(command, input, session.interruption)
            if consoles.count == 1, let console = consoles.first {
                try runAlone(console, run, session)
            } else {
                try runOnAll(consoles, run, session)
            }
        }
    }

    /// How the command is run on one VM.
    private func runner(
        _ command: String, _ input: [UInt8], _ interruption: StopSignal
    ) -> @Sendable (ConsoleSession) throws(CommandFailure) -> BinaryResult {
        let (limit, isBinary) = (timeout.milliseconds, binary || usesInput)
        return { console throws(CommandFailure) in
            if isBinary {
                return try console.executeBinary(command, input: input, milliseconds: limit, interruption: interruption)
            }
            let result = try console.execute(command, milliseconds: limit, interruption: interruption)
            return BinaryResult(output: Array(result.output.utf8), errors: [], status: result.status)
        }
    }

    /// One line for the shell: words behind `--` are quoted, others are joined as they are.
    static func command(_ words: [String]) -> String {
        guard words.first == "--" else { return words.joined(separator: " ") }
        let words = words.dropFirst()
        return words.map(ShellScript.quoted).joined(separator: " ")
    }

    private func runAlone(
        _ console: ConsoleSession, _ run: (ConsoleSession) throws(CommandFailure) -> BinaryResult, _ session: LabSession
    ) throws {
        let result: BinaryResult
        do throws(CommandFailure) {
            result = try run(console)
        } catch {
            session.complain(error.message)
            throw error.exitCode(session.interruption)
        }
        StandardOutput.write(result.output)
        // A terminal's text ends with a line; bytes end where they end.
        let isText = !binary && !usesInput
        if isText, let last = result.output.last, last != 0x0A { StandardOutput.write([0x0A]) }
        StandardError.bytes(result.errors)
        if result.status != 0 { throw ExitCode(result.status) }
    }

    private func runOnAll(
        _ consoles: [ConsoleSession],
        _ run: @escaping @Sendable (ConsoleSession) throws(CommandFailure) -> BinaryResult,
        _ session: LabSession
    ) throws {
        let outcomes = Shared<[String: String]>([:])
        let interruption = session.interruption
        ParallelWork.run(consoles) { console in
            let name = console.name
            let outcome: String
            let said: (output: String, errors: String)
            do throws(CommandFailure) {
                let result = try run(console)
                said = (String(decoding: result.output, as: UTF8.self), String(decoding: result.errors, as: UTF8.self))
                outcome = "exit \(result.status)"
            } catch {
                said = ("", error.message)
                outcome = error.word
            }
            // Lines of one VM stay together.
            outcomes.change { outcomes in
                for line in ExecCommand.lines(said.output) { print("\(name) | \(line)") }
                for line in ExecCommand.lines(said.errors) { StandardError.line("\(name): \(line)") }
                outcomes[name] = outcome
            }
        }
        let ends = outcomes.value
        for (outcome, names) in Dictionary(grouping: ends.keys.sorted(), by: { ends[$0] ?? "" }).sorted(by: {
            $0.key < $1.key
        }) {
            let some = names.prefix(6).joined(separator: ", ") + (names.count > 6 ? ", …" : "")
            StandardError.line("\(outcome): \(names.count) VM\(names.count == 1 ? "" : "s") (\(some))")
        }
        if let number = interruption.signalNumber { throw ExitCode(128 + number) }
        guard ends.values.allSatisfy({ $0 == "exit 0" }) else { throw ExitCode.failure }
    }

    private static func lines(_ text: String) -> [Substring] {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        return text.hasSuffix("\n") || text.isEmpty ? lines.dropLast() : lines
    }
}

extension CommandFailure {
    fileprivate var word: String {
        switch self {
        case .timedOut: "timed out"
        case .notRun: "not run"
        }
    }

    func exitCode(_ interruption: StopSignal) -> ExitCode {
        switch self {
        case .timedOut: .commandTimedOut
        case .notRun(let error):
            error.kind == .interrupted ? ExitCode(error, interruption: interruption) : .commandNotRun
        }
    }
}
