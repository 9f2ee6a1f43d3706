import Foundation

/// One `labctl run … -nographic`, its serial line as text.
///
/// The process is killed when the run is let go, so that a failed test leaves nothing behind.
final class GuestRun {
    private let process = Process()
    private let output = Pipe()
    private let input = Pipe()
    private var said: [UInt8] = []
    /// Where the next wait begins.
    private var position = 0

    /// - Parameters:
    ///   - arguments: what follows `labctl run`; `-nographic` is added.
    init(_ arguments: [String]) throws {
        // Writing to a program that has ended is an error here, not the end of the tests.
        signal(SIGPIPE, SIG_IGN)
        let program = GuestRun.programFolder.appending(path: "labctl")
        guard FileManager.default.isExecutableFile(atPath: program.path) else {
            throw GuestError.noProgram(program.path)
        }
        process.executableURL = program
        process.arguments = ["run", "-nographic"] + arguments
        process.standardInput = input
        process.standardOutput = output
        process.standardError = output
        try process.run()
    }

    deinit {
        // labctl may have started a process of its own, in the same group.
        let pid = process.processIdentifier
        if getpgid(pid) == pid { kill(-pid, SIGKILL) }
        if process.isRunning { kill(pid, SIGKILL) }
    }

    /// Where the programs are: beside the test bundle.
    static let programFolder = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()

    /// How long a guest may take for one step. Generous: an emulator on a busy machine is slow, and a guest that hangs
    /// fails either way.
    static let patience: TimeInterval =
        Double(ProcessInfo.processInfo.environment["LABCTL_GUEST_PATIENCE"] ?? "") ?? 600

    /// Types on the serial line.
    func send(_ text: String) throws {
        try input.fileHandleForWriting.write(contentsOf: Data(text.utf8))
    }

    /// Reads the serial line until the text has come, beginning behind the text of the last wait.
    func wait(for text: String) throws {
        let needle = Array(text.utf8)
        let deadline = Date(timeIntervalSinceNow: GuestRun.patience)
        while true {
            if let end = firstEnd(of: needle) {
                position = end
                return
            }
            guard try read(until: deadline) else { throw GuestError.silent(awaited: text, said: tail) }
        }
    }

    /// Reads to the end of the serial line: the machine has powered off.
    /// - Returns: the exit code of `labctl run`.
    func waitForEnd() throws -> Int32 {
        let deadline = Date(timeIntervalSinceNow: GuestRun.patience)
        while try read(until: deadline) {}
        if process.isRunning, deadline < .now { throw GuestError.silent(awaited: "its end", said: tail) }
        process.waitUntilExit()
        return process.terminationStatus
    }

    /// All that was said so far.
    var text: String { String(decoding: said, as: UTF8.self) }

    private var tail: String { String(text.suffix(2000)) }

    private func firstEnd(of needle: [UInt8]) -> Int? {
        guard said.count - position >= needle.count else { return nil }
        for start in position...(said.count - needle.count)
        where said[start] == needle[0] && said[start..<start + needle.count].elementsEqual(needle) {
            return start + needle.count
        }
        return nil
    }

    /// Reads what there is, waiting for it. False at the end of the output and when time is up.
    private func read(until deadline: Date) throws -> Bool {
        let descriptor = output.fileHandleForReading.fileDescriptor
        while deadline > .now {
            var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let ready = Glibc.poll(&poll, 1, 1000)
            guard ready > 0 else {
                if ready == 0 || errno == EINTR { continue }
                return false
            }
            var buffer = [UInt8](repeating: 0, count: 65536)
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            guard count > 0 else { return false }
            said += buffer[0..<count]
            return true
        }
        return false
    }
}
