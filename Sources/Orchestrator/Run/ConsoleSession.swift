import Glibc
import LabSpec
import VMProtocol

/// Typing on a VM's console and waiting for what it says, for scripts.
///
/// A cursor is kept per VM: `wait` looks for text behind the place where the latest `wait` found its text, or from the
/// start of the run. `send` does not move it. So `send` then `wait` misses nothing, however slow the script is.
public struct ConsoleSession: Sendable {
    let vm: VMFolder
    /// How commands get a shell; nil: somebody is logged in.
    let login: Login?

    public init(_ vm: VMFolder, login: Login? = nil) {
        self.vm = vm
        self.login = login
    }

    /// The VM's name.
    public var name: String { vm.name }

    /// Types bytes.
    public func send(_ bytes: [UInt8]) throws(OrchestratorError) {
        let socket = try connect()
        guard socket.writeAll(bytes) else { throw OrchestratorError(.vm, "\(vm.name) has gone away") }
    }

    /// Connects to the console: what is read is what the guest says from now on, what is written is typed.
    public func connect() throws(OrchestratorError) -> Descriptor {
        guard vm.isRunning else { throw OrchestratorError(.vm, "\(vm.name) is not running") }
        let runtime = vm.knownRun?.description.runtimeFolder
        return try withHostErrors { () throws(HostError) in
            try UnixSocket.connect(to: runtime.map { VMFile.consoleSocket.path(in: $0) } ?? vm.consoleSocket)
        }
    }

    /// Where the current run begins in the log.
    public var runStart: UInt64 { vm.knownRun?.consoleStart ?? 0 }

    private var cursor: UInt64 {
        let bytes = (try? StateFile.read(vm.cursorPath)) ?? nil
        let value = bytes.flatMap { UInt64(String(decoding: $0, as: UTF8.self)) }
        return max(value ?? 0, runStart)
    }

    func moveCursor(to offset: UInt64) throws(OrchestratorError) {
        try withHostErrors { () throws(HostError) in
            try StateFile.replace(vm.cursorPath, with: Array(String(offset).utf8))
        }
    }

    /// Forgets what was said so far: the next `wait` looks at what comes from now on.
    public func skipToEnd() throws(OrchestratorError) { try moveCursor(to: ConsoleLog.length(vm.file(.consoleLog))) }

    /// Waits until the console has said something and moves the cursor behind it.
    /// - Returns: what was said from the cursor to the end of it.
    /// - Throws: `.timeout`, `.vm` when the VM ends first, `.interrupted`.
    @discardableResult
    public func wait(
        for pattern: ConsolePattern, milliseconds: UInt64, interruption: StopSignal
    ) throws(OrchestratorError) -> [UInt8] {
        let (seen, end) = try look(for: pattern, from: cursor, milliseconds, interruption)
        try moveCursor(to: end)
        return seen
    }

    /// Looks for something from an offset on.
    /// - Returns: what was said up to the end of it, at most the newest `mostShown` bytes, and the offset behind it.
    func look(
        for pattern: ConsolePattern, from start: UInt64, _ milliseconds: UInt64, _ interruption: StopSignal
    ) throws(OrchestratorError) -> (seen: [UInt8], end: UInt64) {
        var follower = ConsoleFollower(path: vm.file(.consoleLog), from: start, lookingFor: pattern)
        let deadline = WallClock.monotonicNanoseconds + milliseconds * 1_000_000
        while true {
            // Asked before looking: what a VM said before it ended is there to be found.
            let isRunning = vm.isRunning
            if follower.find() { return (said(from: start, to: follower.offset), follower.offset) }
            guard isRunning else { throw OrchestratorError(.vm, "\(vm.name) ended before its console said \(pattern)") }
            guard WallClock.monotonicNanoseconds < deadline else {
                let condition = VMCondition.read(in: vm.path)?.paused.map { "; it is paused: \($0)" } ?? ""
                throw OrchestratorError(
                    .timeout, "the console of \(vm.name) did not say \(pattern) in time\(condition)")
            }
            _ = interruption.wait(for: [], milliseconds: 20)
            if interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
        }
    }

    /// More than this is not handed out at once.
    private static let mostShown: UInt64 = 64 << 20

    private func said(from start: UInt64, to end: UInt64) -> [UInt8] {
        let first = max(start, end > Self.mostShown ? end - Self.mostShown : 0)
        var reader = ConsoleFollower(path: vm.file(.consoleLog), from: first, lookingFor: "")
        var bytes: [UInt8] = []
        while reader.offset < end {
            let piece = reader.advance()
            guard !piece.isEmpty else { break }
            bytes += piece
        }
        if reader.offset > end { bytes.removeLast(min(bytes.count, Int(reader.offset - end))) }
        return bytes
    }
}
