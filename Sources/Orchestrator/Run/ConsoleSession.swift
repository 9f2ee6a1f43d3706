import Glibc
import LabSpec
import VMProtocol

/// Typing on a VM's console and waiting for what it says, for scripts.
///
/// A cursor is kept per VM: `wait` looks for text behind the place where the latest `wait` found its text, or from the
/// start of the run. `send` does not move it. So `send` then `wait` misses nothing, however slow the script is.
public struct ConsoleSession: Sendable {
    private let vm: VMFolder

    public init(_ vm: VMFolder) { self.vm = vm }

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

    private func moveCursor(to offset: UInt64) throws(OrchestratorError) {
        try withHostErrors { () throws(HostError) in
            try StateFile.replace(vm.cursorPath, with: Array(String(offset).utf8))
        }
    }

    /// Forgets what was said so far: the next `wait` looks at what comes from now on.
    public func skipToEnd() throws(OrchestratorError) { try moveCursor(to: ConsoleLog.length(vm.file(.consoleLog))) }

    /// Waits until the console has said a text and moves the cursor behind it.
    /// - Returns: what was said from the cursor to the end of the text.
    /// - Throws: `.timeout`, `.vm` when the VM ends first, `.interrupted`.
    @discardableResult
    public func wait(
        for text: String, milliseconds: UInt64, interruption: StopSignal
    ) throws(OrchestratorError) -> [UInt8] {
        let start = cursor
        let path = vm.file(.consoleLog)
        var follower = ConsoleFollower(path: path, from: start, lookingFor: text)
        let deadline = WallClock.monotonicNanoseconds + milliseconds * 1_000_000
        while true {
            // Asked before looking: what a VM said before it ended is there to be found.
            let isRunning = vm.isRunning
            if follower.find() {
                try moveCursor(to: follower.offset)
                var reader = ConsoleFollower(path: path, from: start, lookingFor: "")
                return Array(reader.advance().prefix(Int(follower.offset - start)))
            }
            guard isRunning else { throw OrchestratorError(.vm, "\(vm.name) ended before its console said '\(text)'") }
            guard WallClock.monotonicNanoseconds < deadline else {
                throw OrchestratorError(.timeout, "the console of \(vm.name) did not say '\(text)' in time")
            }
            _ = interruption.wait(for: [], milliseconds: 20)
            if interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
        }
    }

    /// What a command said and how it ended.
    public struct CommandResult: Sendable, Equatable {
        public var output: String
        public var status: Int32
    }

    /// Runs a command in the shell that is logged in on the console.
    ///
    /// The shell is made to print a marker before and behind the command's output. The markers are typed in two parts,
    /// so that the echo of what is typed does not look like them.
    public func execute(
        _ command: String, milliseconds: UInt64, interruption: StopSignal
    ) throws(OrchestratorError) -> CommandResult {
        let nonce = String(WallClock.monotonicNanoseconds, radix: 36)
        try skipToEnd()
        try send(Array("echo LABCTL\"\"BEGIN\(nonce); \(command); echo LABCTL\"\"END\(nonce)=$?=\n".utf8))
        try wait(for: "LABCTLBEGIN\(nonce)", milliseconds: milliseconds, interruption: interruption)
        let body = try wait(for: "LABCTLEND\(nonce)=", milliseconds: milliseconds, interruption: interruption)
        let tail = try wait(for: "=", milliseconds: milliseconds, interruption: interruption)
        var output = ConsoleLog.plain(body)
        if let end = output.range(of: "LABCTLEND\(nonce)=") { output.removeSubrange(end.lowerBound...) }
        if output.hasPrefix("\n") { output.removeFirst() }
        let status = Int32(String(decoding: tail.dropLast(), as: UTF8.self)) ?? 1
        return CommandResult(output: output, status: status)
    }
}

extension String {
    /// The first occurrence of a text.
    fileprivate func range(of text: String) -> Range<String.Index>? {
        guard let first = text.first else { return nil }
        var start = startIndex
        while let hit = self[start...].firstIndex(of: first) {
            if self[hit...].hasPrefix(text) { return hit..<index(hit, offsetBy: text.count) }
            start = index(after: hit)
        }
        return nil
    }
}
