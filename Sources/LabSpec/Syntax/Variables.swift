/// Variables in the values of a lab file.
///
/// | written | becomes |
/// | --- | --- |
/// | `${NAME}` | the value of NAME; an error when it is not set |
/// | `${NAME:-default}` | the value of NAME, or `default` when it is not set or empty |
/// | `$${NAME}` | `${NAME}` as it stands, for shell text in `send` |
/// | `$NAME`, `$5` | themselves: only `${` begins a variable |

/// What `${NAME}` means: the environment, and `--set NAME=VALUE` over it.
public struct LabVariables: Sendable, Equatable {
    /// Environment variables.
    public var environment: [String: String]
    /// `--set`; wins, and one that the file never uses is reported.
    public var set: [String: String]

    public init(environment: [String: String] = [:], set: [String: String] = [:]) {
        self.environment = environment
        self.set = set
    }

    /// The value of a variable; nil when it is not set.
    func value(_ name: String) -> String? { set[name] ?? environment[name] }
}

/// The outcome of replacing the variables of one scalar.
struct Substitution {
    /// What is wrong with a variable.
    enum Failure: Equatable {
        /// Not set, and no default.
        case unset(name: String)
        /// `${` that no `}` ends.
        case unterminated
        /// Between the braces stands no name.
        case badName(String)
        /// The result is longer than a scalar may be.
        case tooLong
    }

    var text = ""
    var used: Set<String> = []
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
        let name = body.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
        let operand = body.dropFirst(name.count)
        guard let first = name.first, !first.isNumber, operand.isEmpty || operand.hasPrefix(":-") else {
            failures.append((.badName(String(body)), written))
            return
        }
        used.insert(String(name))
        let value = variables.value(String(name))
        if operand.isEmpty {
            if let value { text += value } else { failures.append((.unset(name: String(name)), written)) }
        } else if let value, !value.isEmpty {
            text += value
        } else {
            text += operand.dropFirst(2)
        }
    }
}
