import Glibc

/// Started through a link named `qemu-img`, the program is `labctl image`.
enum QEMUImgLink {
    static let name = "qemu-img"

    static var isActive: Bool { basename(CommandLine.arguments.first ?? "") == name }

    /// Runs `labctl image` with qemu-img's exit codes; never returns.
    static func run() -> Never {
        let given = Array(CommandLine.arguments.dropFirst())
        guard let verb = given.first else { end(failUsage("Not enough arguments").rawValue) }
        switch verb {
        case "--version", "-V":
            print("qemu-img version 7.2 (labctl)")
            end(0)
        case "--help", "-h", "help": show(ImageCommand.helpMessage())
        default: break
        }
        if verb.hasPrefix("-") { end(failUsage("unrecognized option '\(verb)'").rawValue) }
        guard let options = GetoptTable.verbs[verb] else { end(failUsage("Command not found: \(verb)").rawValue) }
        do {
            // The size of `resize` is its last argument, whatever it begins with.
            let isResize = verb == "resize" && given.count > 2
            var arguments = try options.canonical(Array(given.dropFirst().dropLast(isResize ? 1 : 0)))
            if isResize, let size = given.last { arguments.append(size) }
            var command = try ImageCommand.parseAsRoot([verb] + arguments)
            try command.run()
            end(0)
        } catch let complaint as GetoptTable.Complaint {
            end(failUsage(complaint.text).rawValue)
        } catch {
            let code = ImageCommand.exitCode(for: error).rawValue
            let text = ImageCommand.fullMessage(for: error)
            if code == 0 { show(text) }
            if !text.isEmpty {
                ImageOutput.error(text.split(separator: "\n").first.map(String.init) ?? text)
            }
            // Usage errors have code 64 in labctl, 1 in qemu-img.
            end(code == 64 ? 1 : code)
        }
    }

    private static func show(_ text: String) -> Never {
        print(text)
        end(0)
    }

    private static func end(_ code: Int32) -> Never {
        fflush(nil)
        exit(code)
    }

    private static func basename(_ path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? path
    }
}

/// What getopt would accept for a verb. qemu-img's habits, which the parser of labctl does not have: values joined to
/// their letter (`-fqcow2`), letters joined (`-pq`), and long options cut short (`--back` for `--backing-chain`).
struct GetoptTable {
    /// Letters as for getopt (a colon follows those with a value).
    let letters: String
    /// Long options; those with a value end in an equals sign.
    let words: [String]

    struct Complaint: Error { var text: String }

    init(_ letters: String, _ words: String) {
        self.letters = letters
        self.words = words.split(separator: " ").map(String.init)
    }

    static let verbs: [String: GetoptTable] = [
        "amend": GetoptTable("f:o:t:pq", "object= image-opts force"),
        "bench": GetoptTable(
            "c:d:f:ni:o:qs:S:t:wU", "flush-interval= image-opts no-drain object= pattern= force-share"),
        "bitmap": GetoptTable(
            "b:f:F:g:",
            "add remove clear enable disable merge= object= image-opts source-file= source-format= granularity="),
        "check": GetoptTable("f:r:T:qU", "repair= output= object= image-opts force-share data"),
        "commit": GetoptTable("f:t:b:dpqr:", "object= image-opts"),
        "compare": GetoptTable("f:F:T:pqsU", "object= image-opts force-share"),
        "convert": GetoptTable(
            "f:O:B:CcF:o:l:S:pt:T:qnm:WUr:e6",
            "object= image-opts force-share target-image-opts salvage target-is-zero bitmaps skip-broken-bitmaps"),
        "create": GetoptTable("f:F:b:o:que6", "object="),
        "dd": GetoptTable("f:O:U", "object= image-opts force-share"),
        "formats": GetoptTable("", ""),
        "info": GetoptTable("f:U", "output= backing-chain object= image-opts force-share"),
        "map": GetoptTable("f:s:l:U", "output= start-offset= max-length= object= image-opts force-share"),
        "measure": GetoptTable("f:l:o:O:U", "output= size= object= image-opts force-share"),
        "rebase": GetoptTable("f:F:b:upt:T:qU", "object= image-opts force-share"),
        "resize": GetoptTable("f:q", "object= image-opts preallocation= shrink"),
        "snapshot": GetoptTable("la:c:d:f:qU", "object= image-opts force-share"),
    ]

    /// The arguments with every option on its own as `-x`, `-x=value`, `--word` or `--word=value`, then `--` and the
    /// operands.
    func canonical(_ arguments: [String]) throws(Complaint) -> [String] {
        var options: [String] = []
        var operands: [String] = []
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            if argument == "--" {
                operands += rest
                break
            }
            if argument.hasPrefix("--") {
                options.append(try long(argument, &rest))
            } else if argument.hasPrefix("-"), argument != "-" {
                options += try short(argument, &rest)
            } else {
                operands.append(argument)
            }
        }
        return options.contains("--help") ? ["--help"] : options + ["--"] + operands
    }

    private func long(_ argument: String, _ rest: inout ArraySlice<String>) throws(Complaint) -> String {
        let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = parts.first.map(String.init) ?? ""
        if !name.isEmpty, "help".hasPrefix(name) { return "--help" }
        let exact = words.filter { $0 == name || $0 == name + "=" }
        let fitting = exact.isEmpty ? words.filter { $0.hasPrefix(name) } : exact
        guard fitting.count == 1, let word = fitting.first else {
            throw Complaint(text: "unrecognized option '\(argument)'")
        }
        guard word.hasSuffix("=") else {
            guard parts.count == 1 else { throw Complaint(text: "unrecognized option '\(argument)'") }
            return "--" + word
        }
        if parts.count == 2 { return "--\(word)\(parts[1])" }
        guard let value = rest.popFirst() else { throw Complaint(text: "missing argument for option '\(argument)'") }
        return "--\(word)\(value)"
    }

    private func short(_ argument: String, _ rest: inout ArraySlice<String>) throws(Complaint) -> [String] {
        var found: [String] = []
        var remaining = argument.dropFirst()
        while let letter = remaining.popFirst() {
            if letter == "h" { return ["--help"] }
            guard let place = letters.firstIndex(of: letter), letter != ":" else {
                throw Complaint(text: "unrecognized option '-\(letter)'")
            }
            let next = letters.index(after: place)
            guard next < letters.endIndex, letters[next] == ":" else {
                found.append("-\(letter)")
                continue
            }
            if !remaining.isEmpty { return found + ["-\(letter)=\(remaining)"] }
            guard let value = rest.popFirst() else {
                throw Complaint(text: "missing argument for option '-\(letter)'")
            }
            return found + ["-\(letter)=\(value)"]
        }
        return found
    }
}
