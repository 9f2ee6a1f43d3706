/// From a file to a lab: read, parse, decode, validate. Everything wrong is found in one run.
import Glibc

/// A lab file that has been read.
public struct LoadedLab: Sendable {
    /// The lab; nil when there is an error. Warnings alone leave it here.
    public var lab: Lab?
    /// Errors and warnings in file order.
    public var diagnostics: [Diagnostic]
    /// The text that the diagnostics point into.
    public var source: SourceText
    /// Variables that the text uses, and `HOME`, with their values.
    public var variables: [String: String] = [:]
    /// Texts of the rosters that it names, by absolute path.
    public var rosters: [String: String] = [:]

    /// Whether the lab can be used.
    public var isValid: Bool { lab != nil }
}

/// Reading lab files.
public enum LabFile {
    /// Reads and checks a lab file.
    ///
    /// - Parameters:
    ///   - path: the file; diagnostics show it as it is given here.
    ///   - variables: what `${NAME}` means. `~/` in paths is the variable `HOME`.
    ///   - checksFiles: whether files that the lab refers to have to exist. Verbs that start nothing pass false.
    ///   - checksSupport: whether what this version cannot run is an error.
    /// - Returns: the lab, or what is wrong with it. Nothing is thrown: a file that cannot be read is a diagnostic.
    public static func load(
        path: String, variables: LabVariables = LabVariables(), checksFiles: Bool = true, checksSupport: Bool = false
    ) -> LoadedLab {
        do {
            let bytes = try read(path)
            guard let text = String(validating: bytes, as: UTF8.self) else {
                // Repaired, the text shows where the first wrong byte is.
                let source = SourceText(fileName: path, text: String(decoding: bytes, as: UTF8.self))
                let before = source.text.utf8.distance(
                    from: source.text.startIndex, to: source.text.firstIndex(of: "\u{FFFD}") ?? source.text.startIndex)
                let place = source.position(utf8Offset: before)
                let problem = Diagnostic(
                    .syntax, "the file is not UTF-8 text", at: SourceSpan(start: place, end: place),
                    help: "save it as UTF-8")
                return LoadedLab(lab: nil, diagnostics: [problem], source: source)
            }
            // A pipe (`/dev/stdin`) has no path of its own: its paths start at the current folder.
            let real = Paths.real(path) ?? Paths.absolute("stdin", in: Paths.real(".") ?? "/")
            return load(
                text: text, fileName: path, realPath: real, variables: variables, checksFiles: checksFiles,
                checksSupport: checksSupport)
        } catch {
            return failed(path, error.diagnostic)
        }
    }

    /// Checks the text of a lab file.
    ///
    /// - Parameters:
    ///   - text: the whole text.
    ///   - fileName: the name that diagnostics show.
    ///   - realPath: the absolute path of the file; relative paths in the text start at its folder.
    ///   - rosters: texts of rosters by absolute path, in place of what is on the disk.
    public static func load(
        text: String, fileName: String, realPath: String, variables: LabVariables = LabVariables(),
        rosters: [String: String] = [:], checksFiles: Bool = true, checksSupport: Bool = false
    ) -> LoadedLab {
        let source = SourceText(fileName: fileName, text: text)
        let sink = DiagnosticSink()
        guard text.utf8.count <= SyntaxLimits.fileBytes else {
            return failed(fileName, ReadFailure.tooLarge.diagnostic)
        }
        var parser = YAMLParser(source, sink: sink)
        let expansion = VariableExpansion(source, variables, sink: sink)
        let reader = RosterReader(kept: rosters)
        var lab: Lab?
        if let tree = parser.parse() {
            let root = expansion.expand(file: tree)
            let scope = DecodingScope(
                sink: sink, folder: Paths.folder(of: realPath), home: variables.value("HOME"), expansion: expansion,
                rosters: reader, place: "the lab file")
            if root.isNull {
                sink.report(YAMLParser.emptyFile)
            } else if let draft = LabDraft.table.decode(root, into: LabDraft(), scope) {
                let decoded = draft.lab(path: realPath)
                Validator(decoded, declaredImages: draft.images, sink: sink)
                    .validate(checksFiles: checksFiles, checksSupport: checksSupport)
                lab = decoded
            }
            reportUnused(variables.set, used: expansion.used, sink)
        }
        var used: [String: String] = [:]
        for name in expansion.used.union(["HOME"]) { used[name] = expansion.value(name) }
        return LoadedLab(
            lab: sink.hasErrors ? nil : lab, diagnostics: sink.sorted(in: source), source: source, variables: used,
            rosters: reader.texts)
    }

    private static func failed(_ fileName: String, _ diagnostic: Diagnostic) -> LoadedLab {
        LoadedLab(lab: nil, diagnostics: [diagnostic], source: SourceText(fileName: fileName, text: ""))
    }

    private static func reportUnused(_ set: [String: String], used: Set<String>, _ sink: DiagnosticSink) {
        for name in set.keys.sorted() where !used.contains(name) {
            let near = Suggestion.nearest(to: name, among: used.sorted()).map { "; did you mean '\($0)'?" } ?? ""
            sink.report(
                Diagnostic(
                    .unusedVariable, "the lab file does not use the variable '\(name.clippedForMessage)'\(near)",
                    at: .fileStart, label: name, severity: .warning))
        }
    }

    /// Why a file cannot be read.
    private enum ReadFailure: Error {
        case system(Int32)
        case notAFile
        case tooLarge

        var diagnostic: Diagnostic {
            switch self {
            case .system(ENOENT):
                Diagnostic(
                    .unreadableFile, "there is no such file", at: .fileStart,
                    help: "`labctl init` writes a starter lab file")
            case .system(let code):
                Diagnostic(.unreadableFile, "cannot be read: \(String(cString: strerror(code)))", at: .fileStart)
            case .notAFile:
                Diagnostic(.unreadableFile, "is not a file", at: .fileStart)
            case .tooLarge:
                Diagnostic(.limit, "a lab file has at most \(SyntaxLimits.fileBytes) bytes", at: .fileStart)
            }
        }
    }

    /// The bytes of a file, at most as many as a lab file may have.
    private static func read(_ path: String) throws(ReadFailure) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system(errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .system(errno) }
        if status.st_mode & S_IFMT == S_IFDIR { throw .notAFile }
        // Not by the size that stat tells: `labctl validate /dev/stdin` reads a pipe.
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .system(errno) }
            if count == 0 { return bytes }
            bytes += buffer[..<count]
            if bytes.count > SyntaxLimits.fileBytes { throw .tooLarge }
        }
    }
}
