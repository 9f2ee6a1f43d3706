import Glibc
import LabSpec
import VMProtocol

/// Files of the host into a guest, through the shell on its console: pieces that `printf` writes, and a digest at the end where
/// the guest can compute one.
struct GuestFiles {
    /// Runs a command; throws when it does not end with 0.
    let shell: (String) throws(OrchestratorError) -> String

    /// A serial line is slow; for more there is a CD made by `labctl image iso`.
    static let mostBytes: UInt64 = 4 << 20
    /// Bytes of a file in one command.
    private static let pieceBytes = 6000

    /// Copies a file, or a folder with all that is in it. Owners are the guest's; a file that can be executed stays so.
    func copy(_ copy: CopyStep) throws(OrchestratorError) {
        let entries = try FileTree(copy.from).entries()
        let total = entries.reduce(0) { $0 + $1.sizeBytes }
        guard total <= Self.mostBytes else {
            throw OrchestratorError(
                .host,
                "\(copy.from.absolute) has \(total) bytes, and a serial line carries \(Self.mostBytes) at most; make a CD "
                    + "of it with 'labctl image iso' and give it as 'cdrom'")
        }
        // What every system has is several times longer on the line.
        let isShort = (try? shell("base64 -d < /dev/null")) != nil
        for entry in entries {
            let target = entry.name.isEmpty ? copy.target : "\(copy.target)/\(entry.name)"
            let place = ShellScript.quoted(target)
            if entry.isFolder {
                _ = try shell("mkdir -p \(place)")
            } else {
                try write(entry, to: target, asBase64: isShort)
            }
        }
    }

    private func write(_ entry: FileTree.Entry, to target: String, asBase64: Bool) throws(OrchestratorError) {
        let bytes = try withHostErrors { () throws(HostError) in try StateFile.read(entry.path) } ?? []
        let (place, temporary) = (ShellScript.quoted(target), ShellScript.quoted(target + ".part"))
        let parent = target.lastIndex(of: "/").map { String(target[..<$0]) } ?? ""
        _ = try shell((parent.isEmpty ? "" : "mkdir -p \(ShellScript.quoted(parent)) && ") + ": > \(temporary)")
        var start = 0
        while start < bytes.count {
            let piece = bytes[start..<min(start + Self.pieceBytes, bytes.count)]
            let command =
                asBase64
                ? "echo \(Base64.encode(piece)) | base64 -d >> \(temporary)"
                : "printf '%b' '\(ShellScript.encoded(piece))' >> \(temporary)"
            _ = try shell(command)
            start += piece.count
        }
        let digest = SHA256Digest.of(bytes)
        let check = "s=$(sha256sum < \(temporary) 2>/dev/null) || s=\(digest); [ \"${s%% *}\" = \(digest) ]"
        do throws(OrchestratorError) {
            _ = try shell(check)
        } catch {
            guard error.kind == .host else { throw error }
            throw OrchestratorError(.host, "\(target) did not arrive as it was sent: its digest differs")
        }
        _ = try shell("chmod \(entry.isExecutable ? "755" : "644") \(temporary) && mv \(temporary) \(place)")
    }
}
