import Glibc
import LabSpec
import VMProtocol

/// What a command on a console said and how it ended.
public struct CommandResult: Sendable, Equatable {
    public var output: String
    public var status: Int32
}

/// Why a command has no exit status.
public enum CommandFailure: Error, Sendable {
    /// It did not end in time.
    case timedOut(String)
    /// It could not be run.
    case notRun(OrchestratorError)

    /// For people.
    public var message: String {
        switch self {
        case .timedOut(let message): message
        case .notRun(let error): error.message
        }
    }
}

extension ConsoleSession {
    /// How long a shell may take to answer a line, where the command itself may take longer.
    static let answerMilliseconds: UInt64 = 15_000
    /// How long a command that is interrupted may take to end.
    private static let interruptMilliseconds: UInt64 = 3000

    /// Runs a command in the shell that is logged in on the console. Several labctl at once wait for one another.
    /// - Parameter milliseconds: how long it may take; it is interrupted then.
    public func execute(
        _ command: String, milliseconds: UInt64, interruption: StopSignal
    ) throws(CommandFailure) -> CommandResult {
        try withShell(milliseconds, interruption) { nonce throws(OrchestratorError) in
            let script = ShellScript(command, nonce: nonce)
            let begun = try begin(script, Self.answerMilliseconds, interruption)
            return try finish(script, from: begun, milliseconds, interruption)
        }
    }

    /// Does something with the shell on the console, which nobody else uses meanwhile. Logs in where that is asked for.
    /// - Parameter body: gets a word that has not stood on the console yet.
    func withShell<Result>(
        _ milliseconds: UInt64, _ interruption: StopSignal, _ body: (String) throws(OrchestratorError) -> Result
    ) throws(CommandFailure) -> Result {
        let deadline = WallClock.monotonicNanoseconds + milliseconds * 1_000_000
        do throws(OrchestratorError) {
            let turn = try takeTurn(until: deadline, interruption)
            defer { withExtendedLifetime(turn) {} }
            try logIn(interruption)
            return try body(String(WallClock.monotonicNanoseconds, radix: 36))
        } catch {
            guard error.kind == .timeout else { throw .notRun(error) }
            throw .timedOut(error.message)
        }
    }

    private func takeTurn(until deadline: UInt64, _ interruption: StopSignal) throws(OrchestratorError) -> FileLock {
        guard Folder.isFolder(vm.path) else {
            throw OrchestratorError(.vm, "\(vm.name) is not running; 'labctl up \(vm.name)' starts it")
        }
        while true {
            let path = vm.path + "/exec.lock"
            if let lock = try withHostErrors({ () throws(HostError) in try FileLock.tryLock(path) }) { return lock }
            guard WallClock.monotonicNanoseconds < deadline else {
                throw OrchestratorError(.timeout, "another command runs on the console of \(vm.name)")
            }
            _ = interruption.wait(for: [], milliseconds: 20)
            if interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
        }
    }

    /// Hands the command over and starts it.
    /// - Returns: the offset at which its output begins.
    private func begin(
        _ script: ShellScript, _ milliseconds: UInt64, _ interruption: StopSignal
    ) throws(OrchestratorError) -> UInt64 {
        let place = try prepare(script, milliseconds, interruption)
        return try withoutAnswer { () throws(OrchestratorError) in
            try send(Array((script.run + "\n").utf8))
            return try look(for: ConsolePattern(script.begin), from: place, milliseconds, interruption).end
        }
    }

    /// Hands the command over.
    /// - Returns: the offset behind the shell's latest answer.
    func prepare(
        _ script: ShellScript, _ milliseconds: UInt64, _ interruption: StopSignal
    ) throws(OrchestratorError) -> UInt64 {
        var place = ConsoleLog.length(vm.file(.consoleLog))
        return try withoutAnswer { () throws(OrchestratorError) in
            for (line, answer) in script.preparation {
                try send(Array((line + "\n").utf8))
                place = try look(for: ConsolePattern(answer), from: place, milliseconds, interruption).end
            }
            return place
        }
    }

    /// What does not come in time means that nobody is there to answer.
    private func withoutAnswer(
        _ body: () throws(OrchestratorError) -> UInt64
    ) throws(OrchestratorError) -> UInt64 {
        do throws(OrchestratorError) {
            return try body()
        } catch {
            guard error.kind == .timeout else { throw error }
            // Whatever has the console shall not get the rest of a line.
            try? send([0x03])
            throw OrchestratorError(.vm, noShell)
        }
    }

    private var noShell: String {
        var way = "somebody must be logged in there, with a POSIX shell at its prompt"
        if login == nil { way += ", or the lab file must say how to log in (`login: { user: … }`)" }
        return "no shell answers on the console of \(vm.name): \(way); 'labctl console \(vm.name)' shows it"
    }

    private func finish(
        _ script: ShellScript, from start: UInt64, _ milliseconds: UInt64, _ interruption: StopSignal
    ) throws(OrchestratorError) -> CommandResult {
        do throws(OrchestratorError) {
            let (body, end) = try look(for: ConsolePattern(script.end), from: start, milliseconds, interruption)
            let (tail, last) = try look(for: ".", from: end, Self.answerMilliseconds, interruption)
            try moveCursor(to: last)
            var output = ConsoleLog.plain(body)
            if output.hasSuffix(script.end) { output.removeLast(script.end.count) }
            if output.hasPrefix("\n") { output.removeFirst() }
            let status = Int32(ConsoleLog.plain(tail).dropLast()) ?? 1
            return CommandResult(output: output, status: status)
        } catch {
            guard error.kind == .timeout || error.kind == .interrupted else { throw error }
            let isBack = recover(script.recovery, answer: script.back)
            guard error.kind == .timeout else { throw error }
            throw OrchestratorError(
                .timeout,
                "the command did not end within \(LabDuration(milliseconds: milliseconds)) on \(vm.name); "
                    + (isBack
                        ? "it was stopped with Ctrl-C"
                        : "Ctrl-C did not stop it: it still has the console ('labctl console \(vm.name)')"))
        }
    }

    /// Interrupts what runs and brings the shell back to its prompt.
    /// - Parameter line: what to type then; it says `answer`.
    func recover(_ line: String, answer: String) -> Bool {
        guard let signal = try? StopSignal.none() else { return false }
        let place = ConsoleLog.length(vm.file(.consoleLog))
        // Ctrl-C, then Ctrl-\, which fewer programs catch.
        for key in [0x03, 0x1C] as [UInt8] {
            guard (try? send([key])) != nil else { return false }
            usleep(200_000)
            guard (try? send(Array((line + "\n").utf8))) != nil else { return false }
            if let found = try? look(
                for: ConsolePattern(answer), from: place, Self.interruptMilliseconds, signal)
            {
                try? moveCursor(to: found.end)
                return true
            }
        }
        return false
    }
}
