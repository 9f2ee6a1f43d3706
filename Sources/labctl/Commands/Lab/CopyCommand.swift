import ArgumentParser
import Foundation
import Orchestrator
import VMProtocol

/// `labctl cp`.
struct CopyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cp", abstract: "Copies a small file into a VM, or out of one, over its console.",
        discussion: """
            One of both sides is VM:PATH. A group's name copies into all of its VMs. The guest needs a POSIX shell and \
            `base64` or `od`; out of a VM that is off, files are read from its disks (ext2, ext3, ext4, FAT). Where the guest has `sha256sum`, what arrived is compared. A serial line is slow: some ten kilobytes a \
            second; use a disk or a CD for what is large.

              labctl cp exercise.tar student:/root/
              labctl cp student-01:/var/log/dmesg dmesg.txt
            """)

    @Argument(help: ArgumentHelp("The lab file (optional), what to copy and where to.", valueName: "words"))
    var words: [String] = []

    @OptionGroup var selection: LabSelection

    @Option(help: "How long it may take (default: 10m).", transform: TimeLimit.parse)
    var timeout: TimeLimit = TimeLimit(milliseconds: 600_000)

    /// `VM:PATH`.
    struct Remote {
        var vm: String
        var path: String

        /// Nil for a file of this host: without a colon, or with a slash before it.
        init?(_ word: String) {
            guard let colon = word.firstIndex(of: ":"), colon != word.startIndex, !word[..<colon].contains("/") else {
                return nil
            }
            vm = String(word[..<colon])
            path = String(word[word.index(after: colon)...])
        }
    }

    func run() throws {
        guard (2...3).contains(words.count) else {
            throw ValidationError("give what to copy and where to: cp FILE VM:PATH, or cp VM:PATH FILE")
        }
        let sides = words.suffix(2).map { (word: $0, remote: Remote($0)) }
        let lab = try LabArguments.parse(words.dropLast(2) + selection.words)
        guard lab.files.count == words.count - 2 else {
            throw ValidationError("'\(words[0])' is not a lab file; one file is copied at a time")
        }
        try LabSession.run(lab, progress: .quiet) { session in
            switch (sides[0].remote, sides[1].remote) {
            case (nil, let remote?): try copyIn(sides[0].word, remote, session)
            case (let remote?, nil): try copyOut(remote, sides[1].word, session)
            default: throw ValidationError("one side is a file here, the other VM:PATH")
            }
        }
    }

    private func copyIn(_ file: String, _ remote: Remote, _ session: LabSession) throws {
        // Foundation's own words do not say what the system says.
        guard access(file, R_OK) == 0 else {
            throw OrchestratorError(.host, "cannot read \(file): \(String(cString: strerror(errno)))")
        }
        let bytes: [UInt8]
        do {
            bytes = Array(try Data(contentsOf: URL(fileURLWithPath: file)))
        } catch {
            throw OrchestratorError(.host, "cannot read \(file): \(error.reason)")
        }
        let name = URL(fileURLWithPath: file).lastPathComponent
        let mode = FileManager.default.isExecutableFile(atPath: file) ? "755" : "644"
        let target = remote.path.isEmpty ? "." : remote.path
        let command =
            "D=\(ShellScript.quoted(target)); if [ -d \"$D\" ]; then D=\"${D%/}/\"\(ShellScript.quoted(name)); fi; "
            + "cat >\"$D.part\" && chmod \(mode) \"$D.part\" && mv -f \"$D.part\" \"$D\" || { rm -f \"$D.part\"; exit 1; }; "
            + "sha256sum <\"$D\" 2>/dev/null || true"
        let digest = SHA256Digest.of(bytes)
        let consoles = try session.vms(remote.vm).map { session.console($0) }
        let failures = Shared<[String]>([])
        let (limit, interruption) = (timeout.milliseconds, session.interruption)
        ParallelWork.run(consoles) { console in
            let reason: String?
            do throws(CommandFailure) {
                let result = try console.executeBinary(
                    command, input: bytes, milliseconds: limit, interruption: interruption)
                let said = String(decoding: result.output, as: UTF8.self)
                if result.status != 0 {
                    reason = String(decoding: result.errors, as: UTF8.self).trimmingCharacters(
                        in: .whitespacesAndNewlines)
                } else if !said.isEmpty, !said.hasPrefix(digest) {
                    reason = "the digest of \(target) differs from that of \(file)"
                } else {
                    reason = nil
                }
            } catch {
                reason = error.message
            }
            if let reason { failures.change { $0.append("\(console.name): \(reason)") } }
        }
        for failure in failures.value.sorted() { session.complain(failure) }
        if let number = interruption.signalNumber { throw ExitCode(128 + number) }
        guard failures.value.isEmpty else { throw ExitCode.failure }
    }

    private func copyOut(_ remote: Remote, _ file: String, _ session: LabSession) throws {
        let vm = try session.vm(remote.vm)
        guard vm.isRunning else {
            guard let bytes = try PoweredOffDisks(vm).contents(of: remote.path) else {
                throw OrchestratorError(.vm, "\(vm.name) has no file \(remote.path)")
            }
            return try write(bytes, of: remote, from: vm, to: file)
        }
        let result: BinaryResult
        do throws(CommandFailure) {
            result = try session.console(vm).executeBinary(
                "cat -- \(ShellScript.quoted(remote.path))", input: [], milliseconds: timeout.milliseconds,
                interruption: session.interruption)
        } catch {
            session.complain(error.message)
            throw error.exitCode(session.interruption)
        }
        guard result.status == 0 else {
            let reason = String(decoding: result.errors, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
            throw OrchestratorError(.vm, "\(vm.name): \(reason)")
        }
        try write(result.output, of: remote, from: vm, to: file)
    }

    private func write(_ bytes: [UInt8], of remote: Remote, from vm: VMFolder, to file: String) throws {
        var target = URL(fileURLWithPath: file)
        var isFolder: ObjCBool = false
        if FileManager.default.fileExists(atPath: target.path, isDirectory: &isFolder), isFolder.boolValue {
            target.append(path: remote.path.split(separator: "/").last.map(String.init) ?? vm.name)
        }
        do {
            try Data(bytes).write(to: target, options: .atomic)
        } catch {
            throw OrchestratorError(.host, "cannot write \(target.path): \(error.reason)")
        }
    }
}

extension Error {
    /// What the system says, where Foundation only wraps it.
    fileprivate var reason: String {
        let wrapped = (self as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
        guard let wrapped, wrapped.domain == NSPOSIXErrorDomain else { return localizedDescription }
        return String(cString: strerror(Int32(wrapped.code)))
    }
}
