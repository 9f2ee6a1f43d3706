import Foundation
import LabSpec
import Testing
import VMProtocol

@testable import Orchestrator

/// A console whose guest is a function: what is typed comes back as an echo, and what the function answers.
private final class ScriptedConsole: Sendable {
    let folder: VMFolder
    private let lock: FileLock
    private let listener: Descriptor

    init(in path: String, answer: @escaping @Sendable (String) -> String) throws {
        folder = LabFolder(path: path + "/lab", runtime: path + "/run").vm("alpha")
        #expect(Folder.make(folder.path) == nil)
        #expect(Folder.make(folder.runtime) == nil)
        lock = try #require(try FileLock.tryLock(folder.file(.lock)))
        listener = try UnixSocket.listen(at: folder.consoleSocket)
        let (log, listener) = (folder.file(.consoleLog), listener)
        try StateFile.replace(log, with: Array("# ".utf8))
        Thread.detachNewThread {
            while true {
                guard let viewer = UnixSocket.accept(on: listener) else {
                    usleep(2000)
                    if fcntl(listener.raw, F_GETFD) < 0 { return }
                    continue
                }
                var typed: [UInt8] = []
                while true {
                    switch viewer.read() {
                    case .bytes(let bytes):
                        typed += bytes
                        continue
                    case .wouldBlock:
                        usleep(2000)
                        continue
                    case .endOfFile, .failed: break
                    }
                    break
                }
                let line = String(decoding: typed, as: UTF8.self)
                let said = line.replacingOccurrences(of: "\n", with: "\r\n") + answer(line)
                if let file = try? Descriptor.open(log, O_WRONLY | O_APPEND) { file.writeAll(Array(said.utf8)) }
            }
        }
    }
}

/// Typing, waiting and running commands on a console.
@Suite(.serialized) struct ConsoleSessionTests {
    @Test func waitingGoesOnBehindTheLatestText() throws {
        let folder = try TemporaryFolder()
        let console = try ScriptedConsole(in: folder.path) { _ in "done\r\n# " }
        let session = ConsoleSession(console.folder)
        let signal = try StopSignal()
        try session.wait(for: "# ", milliseconds: 20_000, interruption: signal)
        try session.send(Array("work\n".utf8))
        let seen = try session.wait(for: "# ", milliseconds: 20_000, interruption: signal)
        #expect(ConsoleLog.plain(seen) == "work\ndone\n# ")
        #expect {
            try session.wait(for: "never", milliseconds: 50, interruption: signal)
        } throws: { ($0 as? OrchestratorError)?.kind == .timeout }
    }

    @Test func aVMThatDoesNotRunHasNoConsole() throws {
        let folder = try TemporaryFolder()
        let vm = LabFolder(path: folder.path, runtime: folder.path).vm("alpha")
        #expect {
            try ConsoleSession(vm).send([1])
        } throws: { ($0 as? OrchestratorError)?.message == "alpha is not running" }
    }
}
