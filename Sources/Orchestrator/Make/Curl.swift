import Glibc
import LabSpec
import VMProtocol

/// One run of `curl`, which knows https, proxies and certificates as the host has them set up.
struct Curl {
    /// Why a transfer ended before its time.
    enum Failure: Error {
        case interrupted
        /// The server cannot begin in the middle, or there is nothing behind what is there.
        case notResumable
        /// Worth another try with what is there.
        case broken(String)
        case failed(String)
    }

    let address: ImageAddress
    /// Where it is written; what is there already is not asked for again.
    let path: String
    let interruption: StopSignal

    /// How often the file is looked at.
    private static let pollMilliseconds: Int32 = 100

    /// Exit codes of curl(1) that another try may mend: a cut transfer, a time-out, a connection that broke off.
    private static let passing: Set<Int32> = [18, 28, 52, 55, 56, 92]
    /// Exit codes of curl(1): no byte ranges; a status of the server that is an error.
    private static let noRanges: Int32 = 33, serverError: Int32 = 22
    private static let rangeNotSatisfiable = 416

    /// - Parameter progress: bytes that are there, and bytes in all (0 where the server does not say).
    func run(progress: (UInt64, UInt64) -> Void) throws(Failure) {
        let headers = path + ".headers"
        defer { unlink(headers) }
        let (process, errors): (Int32, Descriptor)
        do {
            (process, errors) = try start(headers: headers)
        } catch {
            throw .failed(error.message)
        }
        let begun = Curl.sizeBytes(path)
        var status: Int32 = 0
        var isStopping = false
        while true {
            let ended = waitpid(process, &status, WNOHANG)
            if ended == process || ended < 0 && errno != EINTR { break }
            _ = interruption.wait(for: [], milliseconds: Self.pollMilliseconds)
            if interruption.isRequested {
                if !isStopping { kill(process, SIGTERM) }
                isStopping = true
                usleep(20_000)
            }
            progress(Curl.sizeBytes(path), Curl.total(headers, begun: begun))
        }
        if interruption.isRequested { throw .interrupted }
        let code = status & 0x7F == 0 ? status >> 8 & 0xFF : -1
        guard code != 0 else { return }
        if code == Self.noRanges || code == Self.serverError && Curl.status(headers) == Self.rangeNotSatisfiable {
            throw .notResumable
        }
        let said = Curl.said(errors)
        if Self.passing.contains(code) { throw .broken(said) }
        throw .failed(said.isEmpty ? "curl ended with \(code)" : said)
    }

    private func start(headers: String) throws(OrchestratorError) -> (Int32, Descriptor) {
        guard let program = Curl.program() else {
            throw OrchestratorError(.host, "'curl' is not installed, which downloads images ('apt-get install curl')")
        }
        let (reading, writing) = try withHostErrors { () throws(HostError) in try Descriptor.pipe() }
        reading.setNonBlocking()
        let process = try withHostErrors { () throws(HostError) in
            let null = try Descriptor.open("/dev/null", O_RDWR)
            return try SpawnRequest(
                executable: program,
                arguments: [
                    "curl", "--fail", "--location", "--proto", "=http,https", "--proto-redir", "=http,https",
                    "--globoff", "--silent", "--show-error", "--connect-timeout", "30", "--speed-limit", "1",
                    "--speed-time", "60", "--continue-at", "-", "--dump-header", headers, "--output", path,
                    "--url", address.text,
                ],
                descriptors: [(null, 0), (null, 1), (writing, 2)], flags: 0
            ).run()
        }
        return (process, reading)
    }

    /// Where `curl` is.
    private static func program() -> String? {
        (StateDirectory.environment("PATH") ?? "/usr/bin:/bin").split(separator: ":").map { "\($0)/curl" }
            .first { access($0, X_OK) == 0 }
    }

    static func sizeBytes(_ path: String) -> UInt64 { ((try? FileStamp.of(path)) ?? nil)?.sizeBytes ?? 0 }

    /// The headers of the last answer, after redirections: names in lower case.
    private static func lastHeaders(_ path: String) -> [Substring] {
        let bytes = ((try? StateFile.read(path)) ?? nil) ?? []
        let lines = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline)
        let start = lines.lastIndex { $0.hasPrefix("HTTP/") } ?? lines.startIndex
        return Array(lines[start...])
    }

    private static func status(_ headers: String) -> Int? {
        lastHeaders(headers).first.flatMap { line in
            line.split(separator: " ").dropFirst().first.flatMap { Int($0) }
        }
    }

    private static func total(_ headers: String, begun: UInt64) -> UInt64 {
        for line in lastHeaders(headers) {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, parts[0].lowercased() == "content-length",
                let length = UInt64(parts[1].filter { !$0.isWhitespace })
            else { continue }
            return status(headers) == 206 ? begun + length : length
        }
        return 0
    }

    /// What curl complained of, without its own name.
    private static func said(_ errors: Descriptor) -> String {
        guard case .bytes(let bytes) = errors.read() else { return "" }
        let line = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).last ?? ""
        return String(line.hasPrefix("curl: ") ? line.dropFirst(6) : line)
    }
}
