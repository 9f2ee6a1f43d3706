import ArgumentParser
import Foundation
import VMProtocol

/// Manual pages (man(7)), made from the command tree: one for labctl, one for each verb, so that `man labctl-up` says what
/// `labctl help up` says.
struct ManualPages {
    /// The command tree as the parser describes it (`--experimental-dump-help`).
    private let root: JSONValue

    /// Nil where the parser's description cannot be read.
    init?() {
        guard let dump = JSONValue.parse(Labctl._dumpHelp().utf8), let command = dump["command"] else { return nil }
        root = command
    }

    /// File names and pages.
    var pages: [(name: String, text: String)] {
        var pages: [(String, String)] = []
        add(root, path: [], to: &pages)
        return pages
    }

    private func add(_ command: JSONValue, path: [String], to pages: inout [(String, String)]) {
        guard let name = command["commandName"]?.stringValue, command["shouldDisplay"] != .bool(false) else { return }
        let path = path + [name]
        let inner = (command["subcommands"]?.arrayValue ?? []).filter {
            $0["commandName"]?.stringValue != "help" && $0["shouldDisplay"] != .bool(false)
        }
        pages.append(("\(path.joined(separator: "-")).1", page(command, path, inner)))
        for command in inner { add(command, path: path, to: &pages) }
    }

    private func page(_ command: JSONValue, _ path: [String], _ inner: [JSONValue]) -> String {
        let title = path.joined(separator: "-")
        let arguments = (command["arguments"]?.arrayValue ?? []).filter { $0["shouldDisplay"] != .bool(false) }
        var lines = [
            ".TH \"\(title.uppercased())\" 1 \"\" \"labctl\" \"labctl\"", ".SH NAME",
            "\(Self.escaped(title)) \\- \(Self.escaped(command["abstract"]?.stringValue ?? ""))", ".SH SYNOPSIS",
            ".B \(Self.escaped(path.joined(separator: " ")))",
        ]
        lines += arguments.map { Self.escaped(synopsis($0)) }
        if !inner.isEmpty { lines.append("VERB \\&...") }
        if let discussion = command["discussion"]?.stringValue {
            lines.append(".SH DESCRIPTION")
            lines += Self.paragraphs(discussion)
        }
        if !arguments.isEmpty { lines.append(".SH OPTIONS") }
        for argument in arguments {
            lines += [".TP", ".B \(Self.escaped(heading(argument)))", Self.escaped(explanation(argument))]
        }
        if !inner.isEmpty {
            lines.append(".SH VERBS")
            for command in inner {
                let name = command["commandName"]?.stringValue ?? ""
                lines += [".TP", ".B \(Self.escaped(name))", Self.escaped(command["abstract"]?.stringValue ?? "")]
            }
        }
        if path.count > 1 { lines += [".SH SEE ALSO", ".BR \(path.dropLast().joined(separator: "-")) (1)"] }
        return lines.joined(separator: "\n") + "\n"
    }

    /// `--format FORMAT`, `-f`, `words`.
    private func spelling(_ argument: JSONValue, _ name: JSONValue) -> String {
        let dashes = name["kind"]?.stringValue == "long" ? "--" : "-"
        let word = dashes + (name["name"]?.stringValue ?? "")
        return argument["kind"]?.stringValue == "option" ? "\(word) \(value(argument))" : word
    }

    private func value(_ argument: JSONValue) -> String { argument["valueName"]?.stringValue ?? "value" }

    private func heading(_ argument: JSONValue) -> String {
        let names = argument["names"]?.arrayValue ?? []
        return names.isEmpty ? value(argument) : names.map { spelling(argument, $0) }.joined(separator: ", ")
    }

    private func synopsis(_ argument: JSONValue) -> String {
        let word = argument["preferredName"].map { spelling(argument, $0) } ?? value(argument)
        let repeated = argument["isRepeating"] == .bool(true) ? " ..." : ""
        return argument["isOptional"] == .bool(false) ? word + repeated : "[\(word)\(repeated)]"
    }

    private func explanation(_ argument: JSONValue) -> String {
        let text = [argument["abstract"], argument["discussion"]].compactMap { $0?.stringValue }.joined(separator: " ")
        guard let fallback = argument["defaultValue"]?.stringValue, !text.contains("default:") else { return text }
        return "\(text) (default: \(fallback))"
    }

    /// Text with examples, which are indented: they stay as they are.
    private static func paragraphs(_ text: String) -> [String] {
        var lines: [String] = []
        var isExample = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            let indented = line.hasPrefix("  ")
            if indented != isExample, !line.isEmpty {
                lines.append(indented ? ".PP\n.nf" : ".fi\n.PP")
                isExample = indented
            }
            lines.append(line.isEmpty ? ".PP" : escaped(String(line)))
        }
        return isExample ? lines + [".fi"] : lines
    }

    /// Characters that man(7) takes for its own.
    private static func escaped(_ text: String) -> String {
        let text = text.replacing("\\", with: "\\e").replacing("-", with: "\\-").replacing("\n", with: " ")
        return text.hasPrefix(".") || text.hasPrefix("'") ? "\\&" + text : text
    }
}

/// `labctl manual`.
struct ManualCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "manual", abstract: "Writes manual pages into a folder, as 'make install' does.",
        shouldDisplay: false)

    @Argument(help: "The folder, such as ~/.local/share/man/man1.", completion: .directory)
    var folder: String

    func run() throws {
        guard let manual = ManualPages() else { throw ValidationError("the command tree cannot be read") }
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            for page in manual.pages {
                try page.text.write(toFile: "\(folder)/\(page.name)", atomically: true, encoding: .utf8)
            }
        } catch {
            throw ValidationError("cannot write manual pages into \(folder): \(error.localizedDescription)")
        }
    }
}
