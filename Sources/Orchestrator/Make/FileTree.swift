import Glibc
import LabSpec
import VMProtocol

/// A file of the host, or a folder with all that is in it.
struct FileTree {
    struct Entry: Equatable {
        /// Path below the root; empty for the root itself.
        var name: String
        /// Absolute.
        var path: String
        var isFolder: Bool
        var isExecutable: Bool
        var sizeBytes: UInt64
    }

    private let root: LabPath

    /// More than this is no folder to copy, but a mistake.
    static let mostEntries = 100_000

    init(_ root: LabPath) { self.root = root }

    /// Everything in it, folders before what they hold, names in order. Links are followed; what is neither a file nor a
    /// folder is refused.
    func entries() throws(OrchestratorError) -> [Entry] {
        var entries: [Entry] = []
        try visit("", root.absolute, into: &entries, depth: 0)
        return entries
    }

    private func visit(
        _ name: String, _ path: String, into entries: inout [Entry], depth: Int
    ) throws(OrchestratorError) {
        var status = stat()
        guard stat(path, &status) == 0 else { throw OrchestratorError(HostError("read", path)) }
        let kind = status.st_mode & S_IFMT
        guard kind == S_IFREG || kind == S_IFDIR else {
            throw OrchestratorError(.host, "\(path) is neither a file nor a folder")
        }
        guard entries.count < Self.mostEntries, depth < 64 else {
            throw OrchestratorError(
                .host, "\(root.absolute) has more than \(Self.mostEntries) files, or folders in a circle")
        }
        entries.append(
            Entry(
                name: name, path: path, isFolder: kind == S_IFDIR, isExecutable: status.st_mode & 0o111 != 0,
                sizeBytes: kind == S_IFREG ? UInt64(max(0, status.st_size)) : 0))
        guard kind == S_IFDIR else { return }
        for child in Folder.names(in: path) {
            try visit(name.isEmpty ? child : "\(name)/\(child)", "\(path)/\(child)", into: &entries, depth: depth + 1)
        }
    }

    /// A digest of all names, kinds and contents.
    /// - Parameter content: the digest of a file.
    func digest(_ content: (String) throws(OrchestratorError) -> String) throws(OrchestratorError) -> String {
        var lines: [String] = []
        for entry in try entries() {
            let what = entry.isFolder ? "folder" : try content(entry.path)
            lines.append("\(entry.name.utf8.count):\(entry.name) \(entry.isExecutable) \(what)")
        }
        return SHA256Digest.of(lines.joined(separator: "\n"))
    }
}
