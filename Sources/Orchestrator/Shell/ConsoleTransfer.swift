import Glibc
import LabSpec
import VMProtocol

/// A command's output and error, byte for byte, and how it ended.
public struct BinaryResult: Sendable, Equatable {
    public var output: [UInt8]
    public var errors: [UInt8]
    public var status: Int32

    public init(output: [UInt8], errors: [UInt8], status: Int32) {
        self.output = output
        self.errors = errors
        self.status = status
    }
}

extension ConsoleSession {
    /// More than this in one direction is for a disk, not for a serial line.
    public static let mostTransferBytes = 64 << 20

    /// Runs a command like `execute`, with bytes for its standard input, and brings its output and its error byte for byte.
    /// What is brought over is checked with a digest where the guest has `sha256sum`.
    public func executeBinary(
        _ command: String, input: [UInt8], milliseconds: UInt64, interruption: StopSignal
    ) throws(CommandFailure) -> BinaryResult {
        try withShell(milliseconds, interruption) { nonce throws(OrchestratorError) in
            try ConsoleTransfer(self, nonce, interruption).run(command, input: input, milliseconds)
        }
    }
}

/// One command with its bytes.
private struct ConsoleTransfer {
    /// A kernel's message may fall into what is brought over; then it is brought again.
    private static let tries = 4
    /// Lines that are sent before it is waited for them.
    private static let linesInFlight = 12
    /// A serial line is not slower than this.
    private static let leastBytesPerMillisecond = 1

    private let session: ConsoleSession
    private let script: TransferScript
    private let nonce: String
    private let interruption: StopSignal

    init(_ session: ConsoleSession, _ nonce: String, _ interruption: StopSignal) {
        self.session = session
        self.nonce = nonce
        self.interruption = interruption
        script = TransferScript(nonce: nonce)
    }

    func run(
        _ command: String, input: [UInt8], _ milliseconds: UInt64
    ) throws(OrchestratorError) -> BinaryResult {
        guard input.count <= ConsoleSession.mostTransferBytes else {
            throw tooLarge("its input has \(input.count) bytes")
        }
        var place = try session.prepare(
            ShellScript(command, nonce: nonce), ConsoleSession.answerMilliseconds, interruption)
        do throws(OrchestratorError) {
            let (coding, hasDigest) = try findPlace(&place)
            if !input.isEmpty { try bring(input, coding, hasDigest, &place) }
            let (status, output, errors) = try execute(milliseconds, &place)
            let result = BinaryResult(
                output: try fetch(.output, output, coding, hasDigest, &place),
                errors: try fetch(.errors, errors, coding, false, &place), status: status)
            _ = try say(script.cleanUp, until: script.done, &place)
            try session.moveCursor(to: place)
            return result
        } catch {
            let isBack = session.recover(script.cleanUp, answer: script.done)
            guard error.kind == .timeout, !isBack else { throw error }
            throw OrchestratorError(.timeout, "\(error.message); Ctrl-C did not stop it: it still has the console")
        }
    }

    private func tooLarge(_ what: String) -> OrchestratorError {
        OrchestratorError(
            .vm,
            "\(what); at most \(ConsoleSession.mostTransferBytes >> 20) MiB go over the serial line of \(session.vm.name): "
                + "use a disk or a CD for more")
    }

    /// Types a line and waits for a word.
    /// - Returns: what was said up to its end.
    private func say(
        _ line: String, until word: String, _ place: inout UInt64,
        _ milliseconds: UInt64 = ConsoleSession.answerMilliseconds
    ) throws(OrchestratorError) -> String {
        try session.send(Array((line + "\n").utf8))
        return try hear(word, &place, milliseconds)
    }

    private func hear(
        _ word: String, _ place: inout UInt64, _ milliseconds: UInt64 = ConsoleSession.answerMilliseconds
    ) throws(OrchestratorError) -> String {
        let (said, end) = try session.look(for: ConsolePattern(word), from: place, milliseconds, interruption)
        place = end
        return ConsoleLog.plain(said)
    }

    private func findPlace(_ place: inout UInt64) throws(OrchestratorError) -> (TransferScript.Coding, Bool) {
        _ = try say(script.findPlace, until: script.place, &place)
        let answer = try hear(".", &place)
        guard let coding = answer.first.flatMap({ TransferScript.Coding(rawValue: $0) }) else {
            throw OrchestratorError(
                .vm, "no folder of \(session.vm.name) can be written (tried $TMPDIR, /tmp, /dev/shm, /run)")
        }
        return (coding, answer.dropFirst().first == "s")
    }

    /// Brings the input into the guest's file.
    private func bring(
        _ input: [UInt8], _ coding: TransferScript.Coding, _ hasDigest: Bool, _ place: inout UInt64
    ) throws(OrchestratorError) {
        let lines = TransferScript.lines(input[...], coding)
        let wanted = SHA256Digest.of(input)
        for _ in 0..<Self.tries {
            _ = try say(script.takeInput(coding), until: script.taken(0), &place)
            var number = 0
            for start in stride(from: 0, to: lines.count, by: Self.linesInFlight) {
                number += 1
                let batch = lines[start..<min(start + Self.linesInFlight, lines.count)] + ["@\(number)"]
                try session.send(Array(batch.map { $0 + "\n" }.joined().utf8))
                _ = try hear(script.taken(number), &place)
            }
            _ = try say(".", until: script.tookInput, &place)
            let digest = try hear(".", &place)
            if !hasDigest || digest.hasPrefix(wanted) { return }
        }
        throw OrchestratorError(.vm, "the input does not arrive whole on \(session.vm.name): its digest differs")
    }

    /// - Returns: exit status, and sizes of output and error.
    private func execute(
        _ milliseconds: UInt64, _ place: inout UInt64
    ) throws(OrchestratorError) -> (status: Int32, output: Int, errors: Int) {
        do throws(OrchestratorError) {
            _ = try say(script.run, until: script.end, &place, milliseconds)
        } catch {
            guard error.kind == .timeout else { throw error }
            throw OrchestratorError(
                .timeout,
                "the command did not end within \(LabDuration(milliseconds: milliseconds)) on \(session.vm.name)")
        }
        let numbers = try hear(".", &place).dropLast().split(separator: ",").map {
            Int($0.filter { !$0.isWhitespace })
        }
        guard numbers.count == 3, let status = numbers[0], let output = numbers[1], let errors = numbers[2] else {
            throw OrchestratorError(.vm, "the shell of \(session.vm.name) does not say how the command ended")
        }
        for size in [output, errors] where size > ConsoleSession.mostTransferBytes {
            throw tooLarge("the command wrote \(size) bytes")
        }
        return (Int32(truncatingIfNeeded: status), output, errors)
    }

    /// Brings a file of the guest.
    private func fetch(
        _ file: TransferScript.File, _ size: Int, _ coding: TransferScript.Coding, _ checksDigest: Bool,
        _ place: inout UInt64
    ) throws(OrchestratorError) -> [UInt8] {
        guard size > 0 else { return [] }
        for _ in 0..<Self.tries {
            var bytes: [UInt8] = []
            while bytes.count < size { bytes += try fetchPiece(file, size, bytes.count, coding, &place) }
            guard checksDigest else { return bytes }
            _ = try say(script.digest(of: file), until: script.digested, &place)
            if try hear(".", &place).hasPrefix(SHA256Digest.of(bytes)) { return bytes }
        }
        throw OrchestratorError(.vm, "the output does not arrive whole from \(session.vm.name): its digest differs")
    }

    private func fetchPiece(
        _ file: TransferScript.File, _ size: Int, _ done: Int, _ coding: TransferScript.Coding, _ place: inout UInt64
    ) throws(OrchestratorError) -> [UInt8] {
        let piece = done / TransferScript.pieceBytes
        let wanted = min(TransferScript.pieceBytes, size - done)
        let limit = ConsoleSession.answerMilliseconds + UInt64(wanted * 4 / Self.leastBytesPerMillisecond)
        for _ in 0..<Self.tries {
            _ = try say(script.fetch(file, piece: piece, coding), until: script.pieceBegin(piece), &place)
            let end = script.pieceEnd(piece)
            let text = try hear(end, &place, limit).dropLast(end.count)
            if let bytes = TransferScript.decode(String(text), coding), bytes.count == wanted { return bytes }
        }
        throw OrchestratorError(
            .vm, "other output on the console of \(session.vm.name) keeps falling into what is brought over")
    }
}
