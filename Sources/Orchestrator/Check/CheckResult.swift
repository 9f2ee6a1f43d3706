import LabSpec

/// How one check of one VM came out; field names are stable.
public struct CheckResult: Sendable, Equatable, Encodable {
    public var vm: String
    public var id: String
    public var title: String?
    public var passed: Bool
    /// What it is worth, and what was earned.
    public var points: Int
    public var earned: Int
    /// Why it did not pass.
    public var message: String?
    /// For those who did not pass.
    public var hint: String?
    public var attempts: Int
    public var seconds: Double

    init(_ check: Check, of vm: String) {
        self.vm = vm
        id = check.id
        title = check.title
        passed = false
        points = check.points
        earned = 0
        hint = check.hint
        attempts = 0
        seconds = 0
    }

    /// The title, or the id where there is none.
    public var name: String { title ?? id }

    /// Notes that it passed, or why it did not.
    mutating func conclude(_ failure: String?) {
        passed = failure == nil
        earned = passed ? points : 0
        message = failure
    }
}

extension Expectation {
    /// Output is quoted in messages up to here.
    private static let longestQuote = 200

    /// Why a text is not as expected; nil where it is.
    func failure(of text: String, what: String) -> String? {
        switch self {
        case .pattern(let pattern):
            var matcher = ConsoleMatcher(pattern, from: 0)
            if matcher.isEmpty || matcher.take(Array(text.utf8)) != nil { return nil }
            return "\(what) has no \(pattern): \(Self.quote(text))"
        case .number(let minimum, let maximum):
            guard let number = Self.firstNumber(in: text) else {
                return "\(what) has no number: \(Self.quote(text))"
            }
            if let minimum, number < Double(minimum) { return "\(Self.short(number)) is less than \(minimum)" }
            if let maximum, number > Double(maximum) { return "\(Self.short(number)) is more than \(maximum)" }
            return nil
        }
    }

    /// `-12.5` in "load: -12.5 or so".
    static func firstNumber(in text: String) -> Double? {
        var rest = Substring(text)
        while let start = rest.firstIndex(where: { $0.isASCII && $0.isNumber }) {
            var end = start
            var hasPoint = false
            while end < rest.endIndex, let next = Optional(rest[end]), next.isASCII {
                if next == ".", !hasPoint {
                    hasPoint = true
                } else if !next.isNumber {
                    break
                }
                end = rest.index(after: end)
            }
            let isNegative = start > rest.startIndex && rest[rest.index(before: start)] == "-"
            var digits = rest[start..<end]
            if digits.hasSuffix(".") { digits.removeLast() }
            if let value = Double(digits) { return isNegative ? -value : value }
            rest = rest[end...]
        }
        return nil
    }

    private static func short(_ number: Double) -> String {
        number.rounded() == number && abs(number) < 1e15 ? String(Int(number)) : String(number)
    }

    static func quote(_ text: String) -> String {
        let lines = text.split(separator: "\n").map(String.init).filter { !$0.allSatisfy(\.isWhitespace) }
        guard !lines.isEmpty else { return "it is empty" }
        let whole = lines.joined(separator: " ⏎ ")
        return "it is '" + (whole.count > longestQuote ? whole.prefix(longestQuote) + "…" : whole) + "'"
    }
}
