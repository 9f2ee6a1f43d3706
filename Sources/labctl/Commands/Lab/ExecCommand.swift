import ArgumentParser
import Dispatch
import Foundation
import LabSpec
import Orchestrator
import Synchronization
import VMProtocol

/// `labctl exec`.
struct ExecCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec", abstract: "Runs a command in the shell on a VM's console and ends with its exit code.",
        discussion: """
            Somebody must be logged in at the console, with a POSIX shell at its prompt. The command runs in a subshell: \
            'exit' and 'cd' end with it. What it prints goes to standard output. A command that takes longer than --timeout \
            is stopped with Ctrl-C.

            With a group, or several VMs with commas between them, it runs on all of them at once; each line begins with \
            the VM's name, and a summary follows on standard error.

            Options of labctl stand before the VM's name. What stands behind it is the command: one line for the shell, or, \
            behind '--', words that it gets as they are.

              labctl exec student-01 'ls /etc | wc -l'
              labctl exec --timeout 5m student -- apt-get install -y nginx

            Exits with the command's exit code; with 124 when it took too long, with 125 when it could not be run. With \
            several VMs: 0 when all ended with 0, else 1.
            """)

    @Argument(
        parsing: .captureForPassthrough,
        help: ArgumentHelp("The lab file (optional), the VM or group, and the command.", valueName: "words"))
    var words: [String] = []

    @Option(
        name: .customLong("lab"),
        help: ArgumentHelp("Works with the lab of this name, without its file.", valueName: "NAME"))
    var labName: String?

    @Option(
        name: .customLong("set"),
        help: ArgumentHelp("Sets a variable of the lab file, over the environment.", valueName: "NAME=VALUE"))
    var assignments: [String] = []

    @Option(help: "How long the command may take (default: 1m).", transform: TimeLimit.parse)
    var timeout: TimeLimit = TimeLimit(milliseconds: 60_000)

    func run() throws {
        if let first = words.first, ["--help", "-h"].contains(first) { throw CleanExit.helpRequest(self) }
        let options = assignments.flatMap { ["--set", $0] } + (labName.map { ["--lab", $0] } ?? [])
        let leading = words.first == "--" ? Array(words.dropFirst()) : words
        let (lab, name, rest) = try VMArguments.parts(of: leading, options: options)
        let command = ExecCommand.command(rest)
        guard !command.isEmpty else { throw ValidationError("give the command to run") }
        try LabSession.run(lab, progress: .quiet) { session in
            let vms = try name.split(separator: ",").flatMap { try session.vms(String($0)) }
            if vms.count == 1, let vm = vms.first {
                try runAlone(command, on: vm, session)
            } else {
                try runOnAll(command, vms, session)
            }
        }
    }

    /// One line for the shell: words behind `--` are quoted, others are joined as they are.
    static func command(_ words: [String]) -> String {
        guard words.first == "--" else { return words.joined(separator: " ") }
        let words = words.dropFirst()
        return words.map(ShellScript.quoted).joined(separator: " ")
    }

    private func runAlone(_ command: String, on vm: VMFolder, _ session: LabSession) throws {
        let result: CommandResult
        do throws(CommandFailure) {
            result = try ConsoleSession(vm).execute(
                command, milliseconds: timeout.milliseconds, interruption: session.interruption)
        } catch {
            session.complain(error.message)
            throw error.exitCode(session.interruption)
        }
        print(result.output, terminator: result.output.hasSuffix("\n") || result.output.isEmpty ? "" : "\n")
        if result.status != 0 { throw ExitCode(result.status) }
    }

    private func runOnAll(_ command: String, _ vms: [VMFolder], _ session: LabSession) throws {
        let outcomes = Mutex<[String: String]>([:])
        let output = Mutex(())
        let (limit, interruption) = (timeout.milliseconds, session.interruption)
        DispatchQueue.concurrentPerform(iterations: vms.count) { index in
            let vm = vms[index]
            let outcome: String
            do throws(CommandFailure) {
                let result = try ConsoleSession(vm).execute(command, milliseconds: limit, interruption: interruption)
                let lines = result.output.split(separator: "\n", omittingEmptySubsequences: false)
                let shown = result.output.hasSuffix("\n") || result.output.isEmpty ? lines.dropLast() : lines[...]
                output.withLock { _ in for line in shown { print("\(vm.name) | \(line)") } }
                outcome = "exit \(result.status)"
            } catch {
                output.withLock { _ in StandardError.line("\(vm.name): \(error.message)") }
                outcome = error.word
            }
            outcomes.withLock { $0[vm.name] = outcome }
        }
        let ends = outcomes.withLock { $0 }
        for (outcome, names) in Dictionary(grouping: ends.keys.sorted(), by: { ends[$0] ?? "" }).sorted(by: {
            $0.key < $1.key
        }) {
            let some = names.prefix(6).joined(separator: ", ") + (names.count > 6 ? ", …" : "")
            StandardError.line("\(outcome): \(names.count) VM\(names.count == 1 ? "" : "s") (\(some))")
        }
        if let number = interruption.signalNumber { throw ExitCode(128 + number) }
        guard ends.values.allSatisfy({ $0 == "exit 0" }) else { throw ExitCode.failure }
    }
}

extension CommandFailure {
    var message: String {
        switch self {
        case .timedOut(let message): message
        case .notRun(let error): error.message
        }
    }

    fileprivate var word: String {
        switch self {
        case .timedOut: "timed out"
        case .notRun: "not run"
        }
    }

    fileprivate func exitCode(_ interruption: StopSignal) -> ExitCode {
        switch self {
        case .timedOut: .commandTimedOut
        case .notRun(let error):
            error.kind == .interrupted ? ExitCode(error, interruption: interruption) : .commandNotRun
        }
    }
}
