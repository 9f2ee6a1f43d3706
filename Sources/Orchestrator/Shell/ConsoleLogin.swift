import Glibc
import LabSpec
import VMProtocol

/// Logging in on a console, where the lab file says how.
extension ConsoleSession {
    /// Where the console stands.
    enum ConsolePlace: Equatable {
        /// At a shell's prompt.
        case shell
        /// It asks for a name.
        case name
        /// It asks for a password.
        case password
        /// Nothing that is known; a shell with a prompt of its own, or a program.
        case unknown
    }

    /// How long a console may take to answer Enter, and to log somebody in.
    private static let enterMilliseconds: UInt64 = 5000
    private static let loginMilliseconds: UInt64 = 60_000
    /// What stands at the end of the console for so long is what it waits at.
    private static let quietNanoseconds: UInt64 = 100_000_000

    private static let namePrompt = CompiledRegex("([Ll]ogin|LOGIN|[Uu]sername|[Uu]ser): *$")
    private static let passwordPrompt = CompiledRegex("([Pp]assword|[Pp]assphrase)[^:]*: *$")

    /// Logs in when the console asks for it and the lab file says how.
    func logIn(_ interruption: StopSignal) throws(OrchestratorError) {
        guard let login else { return }
        var place = try answer("", within: Self.enterMilliseconds, interruption)
        // Somebody gave a name and went away: without a password it asks for a name again.
        if place == .password { place = try answer("", within: Self.loginMilliseconds, interruption) }
        guard place == .name else { return }
        guard let user = login.user else {
            throw OrchestratorError(
                .vm, "the console of \(vm.name) asks who logs in; name a user in its 'login' in the lab file")
        }
        place = try answer(user, within: Self.loginMilliseconds, interruption)
        if place == .password {
            guard let password = login.password else {
                // So that the next one is asked for a name.
                _ = try answer("", within: Self.loginMilliseconds, interruption)
                throw OrchestratorError(
                    .vm,
                    "the console of \(vm.name) asks for the password of '\(user)'; give it in 'login' in the lab file")
            }
            place = try answer(password, within: Self.loginMilliseconds, interruption)
        }
        if place == .name || place == .password {
            throw OrchestratorError(
                .vm, "the console of \(vm.name) refuses the login of '\(user)': name or password is wrong")
        }
    }

    /// Types a line.
    /// - Returns: where the console stands then.
    private func answer(
        _ line: String, within milliseconds: UInt64, _ interruption: StopSignal
    ) throws(OrchestratorError) -> ConsolePlace {
        let start = ConsoleLog.length(vm.file(.consoleLog))
        try send(Array((line + "\n").utf8))
        var follower = ConsoleFollower(path: vm.file(.consoleLog), from: start, lookingFor: "")
        var text = VisibleText(from: start)
        var latest = WallClock.monotonicNanoseconds
        let deadline = latest + milliseconds * 1_000_000
        while true {
            let piece = follower.advance()
            let now = WallClock.monotonicNanoseconds
            if !piece.isEmpty {
                text.take(piece)
                latest = now
            } else if now > latest + Self.quietNanoseconds {
                let place = place(at: text.bytes)
                if place != .unknown || now > deadline { return place }
            }
            guard vm.isRunning else { throw OrchestratorError(.vm, "\(vm.name) has ended") }
            _ = interruption.wait(for: [], milliseconds: 20)
            if interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
        }
    }

    /// Where a console stands that has said this.
    func place(at said: [UInt8]) -> ConsolePlace {
        let start = said.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
        let line = said[start...]
        guard !line.isEmpty else { return .unknown }
        if Self.namePrompt?.end(in: line) != nil { return .name }
        if Self.passwordPrompt?.end(in: line) != nil { return .password }
        var matcher = ConsoleMatcher(login?.prompt ?? Login.usualPrompt, from: 0)
        return matcher.take(Array(line)) == nil ? .unknown : .shell
    }
}
