import Foundation
import Testing

@testable import LabSpec

/// Lab files in Golden/ and what `labctl validate` says about them, byte for byte. After a change that is meant, write
/// them anew with `LABCTL_UPDATE_GOLDEN=1` and read the difference.
///
/// Comments at the top of a file steer it: `# set: NAME=VALUE` is `--set`, `# files: checked` asks for files on disk.
struct GoldenFile: CustomTestStringConvertible, Sendable {
    var name: String

    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "Golden")
    static let repository = folder.deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    static let isUpdating = ProcessInfo.processInfo.environment["LABCTL_UPDATE_GOLDEN"] != nil

    static let all: [GoldenFile] = {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return names.filter { $0.hasSuffix(".yaml") }.sorted().map { GoldenFile(name: String($0.dropLast(5))) }
    }()

    var testDescription: String { name }
    var isMeantValid: Bool { name.hasPrefix("valid-") }

    func text() throws -> String {
        try String(contentsOf: GoldenFile.folder.appending(path: name + ".yaml"), encoding: .utf8)
    }

    func load() throws -> LoadedLab {
        let text = try text()
        var set: [String: String] = [:]
        var checksFiles = false, checksSupport = false
        for line in text.split(separator: "\n").prefix(while: { $0.hasPrefix("#") }) {
            if line.hasPrefix("# set: ") {
                let parts = line.dropFirst(7).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                set[String(parts[0])] = String(parts[1])
            }
            if line == "# files: checked" { checksFiles = true }
            if line == "# support: checked" { checksSupport = true }
        }
        return LabFile.load(
            text: text, fileName: name + ".yaml", realPath: GoldenFile.folder.appending(path: name + ".yaml").path,
            variables: LabVariables(environment: ["HOME": "/home/user"], set: set), checksFiles: checksFiles,
            checksSupport: checksSupport)
    }

    /// Compares with a golden text, or writes it.
    static func expect(_ text: String, equals file: URL, _ location: SourceLocation = #_sourceLocation) throws {
        if isUpdating {
            try text.write(to: file, atomically: true, encoding: .utf8)
            return
        }
        let expected = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
        #expect(text == expected, "differs from \(file.lastPathComponent)", sourceLocation: location)
    }
}

@Suite struct GoldenDiagnosticsTests {
    @Test(arguments: GoldenFile.all)
    func diagnosticsAreAsWritten(_ file: GoldenFile) throws {
        let loaded = try file.load()
        let text = loaded.rendered(as: .pretty).replacing(GoldenFile.folder.path, with: "/golden")
        try GoldenFile.expect(
            text.isEmpty ? "" : text + "\n", equals: GoldenFile.folder.appending(path: file.name + ".txt"))
        #expect(loaded.isValid == !loaded.diagnostics.contains { $0.severity == .error })
        if file.isMeantValid { #expect(loaded.diagnostics.isEmpty) }
    }

    @Test func everyCodeOfAMistakeInAFileHasAGoldenRow() throws {
        let seen = Set(try GoldenFile.all.flatMap { try $0.load().diagnostics.map(\.code) })
        // A file that cannot be read has no golden text.
        let missing = Set(DiagnosticCode.allCases).subtracting(seen).subtracting([.unreadableFile, .unusableImage])
        #expect(missing.isEmpty, "no golden file shows \(missing.map(\.rawValue).sorted())")
    }

    @Test func everyNoteOfTwoPlacesPointsSomewhereElse() throws {
        for file in GoldenFile.all {
            for diagnostic in try file.load().diagnostics {
                for note in diagnostic.notes {
                    #expect(note.span != diagnostic.span, "\(file.name): \(diagnostic.message)")
                }
            }
        }
    }

    @Test func theOtherFormsSayTheSame() throws {
        let loaded = try #require(GoldenFile.all.first { $0.name == "conflicts" }).load()
        for format in [DiagnosticFormat.json, .github, .concise] {
            try GoldenFile.expect(
                loaded.rendered(as: format) + "\n",
                equals: GoldenFile.folder.appending(path: "conflicts.\(format.rawValue).txt"))
        }
        let json = try JSONSerialization.jsonObject(with: Data(loaded.rendered(as: .json).utf8)) as? [String: Any]
        #expect(json?["valid"] as? Bool == false)
        #expect((json?["diagnostics"] as? [Any])?.count == loaded.diagnostics.count)
    }

    @Test func colourAddsOnlyEscapeSequences() throws {
        let loaded = try #require(GoldenFile.all.first { $0.name == "conflicts" }).load()
        let plain = loaded.rendered(as: .pretty, usesColor: true).replacing(/\u{1B}\[[0-9;]*m/, with: "")
        let lines = plain.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
        let expected = loaded.rendered(as: .pretty).split(separator: "\n").map {
            $0.trimmingCharacters(in: .whitespaces)
        }
        #expect(lines == expected)
    }

    @Test func noTextOfAFileReachesTheTerminalUnfiltered() throws {
        let loaded = try #require(GoldenFile.all.first { $0.name == "columns" }).load()
        for format in DiagnosticFormat.allCases {
            #expect(!loaded.rendered(as: format).unicodeScalars.contains("\u{1B}"))
        }
    }
}
