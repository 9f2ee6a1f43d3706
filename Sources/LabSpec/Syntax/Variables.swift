/// Variables in the values of a lab file.
///
/// | written | becomes |
/// | --- | --- |
/// | `${NAME}` | the value of NAME; an error when it is not set |
/// | `${NAME:-default}` | the value of NAME, or `default` when it is not set or empty |
/// | `$${NAME}` | `${NAME}` as it stands, for shell text in `send` |
/// | `$NAME`, `$5` | themselves: only `${` begins a variable |
/// | `${index}`, `${name}`, `${row.COLUMN}` | in a VM: its number, its name, its value in the roster |

/// What `${NAME}` means: `--set NAME=VALUE`, else the environment, else `--env-file`, else `vars` of the lab file.
public struct LabVariables: Sendable, Equatable {
    /// Environment variables.
    public var environment: [String: String]
    /// `--set`; wins, and one that the file never uses is reported.
    public var set: [String: String]

    /// `--env-file`.
    public var files: [String: String]
    /// `vars`.
    var defaults: [String: String] = [:]
    /// The VM whose values are replaced.
    var member: GroupMember?

    public init(environment: [String: String] = [:], set: [String: String] = [:], files: [String: String] = [:]) {
        self.environment = environment
        self.set = set
        self.files = files
    }

    /// The value of a variable; nil when it is not set.
    func value(_ name: String) -> String? { set[name] ?? environment[name] ?? files[name] ?? defaults[name] }
}

/// The outcome of replacing the variables of one scalar.
struct Substitution {
    /// What is wrong with a variable.
    enum Failure: Equatable {
        /// Not set, and no default.
        case unset(name: String)
        /// A column that the roster lacks, or a column where there is no roster.
        case noColumn(String, known: [String])
        /// `${` that no `}` ends.
        case unterminated
        /// Between the braces stands no name.
        case badName(String)
        /// The result is longer than a scalar may be.
        case tooLong
    }

    var text = ""
    var used: Set<String> = []
    /// Whether it uses a value of the VM that it stands in.
    var usesMember = false
    /// Failures with the text that stands in the file, to find its place.
    var failures: [(failure: Failure, written: String)] = []

    /// Values may be used many times; their sum is bounded as the file is.
    static let maximumLength = 65_536

    /// Replaces the variables in `text`. Defaults are taken literally, so nothing is replaced twice.
    init(_ source: String, variables: LabVariables) {
        var rest = Substring(source)
        while let dollar = rest.firstIndex(of: "$") {
            text += rest[..<dollar]
            rest = rest[dollar...]
            if rest.hasPrefix("$${") {
                text += "${"
                rest = rest.dropFirst(3)
            } else if rest.hasPrefix("${") {
                guard let brace = rest.firstIndex(of: "}") else {
                    failures.append((.unterminated, String(rest)))
                    break
                }
                let written = rest[...brace]
                expand(written.dropFirst(2).dropLast(), written: String(written), variables: variables)
                rest = rest[rest.index(after: brace)...]
            } else {
                text += "$"
                rest = rest.dropFirst()
            }
            guard text.utf8.count <= Substitution.maximumLength else {
                failures.append((.tooLong, ""))
                return
            }
        }
        text += rest
    }

    private mutating func expand(_ body: Substring, written: String, variables: LabVariables) {
        var name = body.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
        var operand = body.dropFirst(name.count)
        if name == "row", operand.hasPrefix(".") {
            // Columns are called as their authors like.
            let column = operand.dropFirst().prefix { $0 != ":" }
            operand = operand.dropFirst(1 + column.count)
            name = body[..<operand.startIndex]
        } else if name == "row" {
            name = ""
        }
        guard let first = name.first, !first.isNumber, operand.isEmpty || operand.hasPrefix(":-") else {
            failures.append((.badName(String(body)), written))
            return
        }
        let value: String?
        if GroupMember.isOwn(String(name)) {
            usesMember = true
            value = variables.member.map { $0.value(String(name)) } ?? variables.value(String(name))
            if value == nil, operand.isEmpty, let member = variables.member {
                failures.append((.noColumn(String(name.dropFirst(4)), known: member.columns), written))
                return
            }
        } else {
            value = variables.value(String(name))
        }
        // Outside of a VM these names are like all others.
        if variables.member == nil || !GroupMember.isOwn(String(name)) { used.insert(String(name)) }
        insert(value, named: String(name), operand, written)
    }

    private mutating func insert(_ value: String?, named name: String, _ operand: Substring, _ written: String) {
        if operand.isEmpty {
            if let value { text += value } else { failures.append((.unset(name: name), written)) }
        } else if let value, !value.isEmpty {
            text += value
        } else {
            text += operand.dropFirst(2)
        }
    }
}
