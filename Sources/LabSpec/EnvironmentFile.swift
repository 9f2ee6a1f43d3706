/// Variables in a file, as `--env-file` takes them.
///
/// | line | means |
/// | --- | --- |
/// | `NAME=value` | the value up to the end of the line, or to a ` #`, without blanks around it |
/// | `NAME='…'` | what is between the quotes, as it is |
/// | `NAME="…"` | the same with `\n`, `\t`, `\"` and `\\` |
/// | `export NAME=…` | as without `export` |
/// | `#…`, blank | nothing |
public enum EnvironmentFile {
    /// What is wrong with a line.
    public struct Fault: Error, Equatable {
        /// From 1.
        public var line: Int
        public var message: String
    }

    /// Names and values; a later line wins.
    public static func values(_ text: String) throws(Fault) -> [String: String] {
        var values: [String: String] = [:]
        for (index, line) in text.split(
            omittingEmptySubsequences: false, whereSeparator: { $0 == "\n" || $0 == "\r\n" }
        )
        .enumerated() {
            var rest = line.drop(while: isBlank)
            while let last = rest.last, last.isWhitespace { rest.removeLast() }
            guard !rest.isEmpty, !rest.hasPrefix("#") else { continue }
            if rest.hasPrefix("export ") { rest = rest.dropFirst(7).drop(while: isBlank) }
            let name = rest.prefix { $0 != "=" }
            guard name.count < rest.count else { throw Fault(line: index + 1, message: "there is no '='") }
            guard VariableDefaults.isName(String(name)) else {
                throw Fault(line: index + 1, message: "'\(String(name).clippedForMessage)' is no name of a variable")
            }
            do throws(Fault) {
                values[String(name)] = try value(rest.dropFirst(name.count + 1))
            } catch {
                throw Fault(line: index + 1, message: error.message)
            }
        }
        return values
    }

    private static func isBlank(_ character: Character) -> Bool { character == " " || character == "\t" }

    private static func value(_ written: Substring) throws(Fault) -> String {
        let text = written.drop(while: isBlank)
        guard let quote = text.first, quote == "\"" || quote == "'" else {
            var end = text.endIndex
            for index in text.indices where text[index] == "#" {
                guard index == text.startIndex || isBlank(text[text.index(before: index)]) else { continue }
                end = index
                break
            }
            var plain = text[..<end]
            while let last = plain.last, isBlank(last) { plain.removeLast() }
            return String(plain)
        }
        var result = ""
        var rest = text.dropFirst()
        while let character = rest.popFirst() {
            if character == quote {
                let behind = rest.drop(while: isBlank)
                guard behind.isEmpty || behind.hasPrefix("#") else {
                    throw Fault(line: 0, message: "something stands behind the closing quote")
                }
                return result
            }
            guard character == "\\", quote == "\"", let escaped = rest.first else {
                result.append(character)
                continue
            }
            rest.removeFirst()
            switch escaped {
            case "n": result += "\n"
            case "t": result += "\t"
            case "\"", "\\", "$": result.append(escaped)
            default: result += "\\\(escaped)"
            }
        }
        throw Fault(line: 0, message: "a quote is not closed")
    }
}
