import Glibc

/// Typed access to `-o` values. Errors read as QEMU's option parser puts them.
struct OptionReader {
    private let values: [String: String]

    init(_ values: [String: String]) { self.values = values }

    func text(_ name: String) -> String? { values[name] }

    func bool(_ name: String) throws(ImageError) -> Bool? {
        guard let text = values[name] else { return nil }
        switch text {
        case "on", "yes", "true", "y": return true
        case "off", "no", "false", "n": return false
        default: throw ImageError(.invalidArgument, "Parameter '\(name)' expects 'on' or 'off'")
        }
    }

    func number(_ name: String) throws(ImageError) -> UInt64? {
        guard let text = values[name] else { return nil }
        guard let value = UInt64(text) else {
            let isTooLarge = !text.isEmpty && text.utf8.allSatisfy { (48...57).contains($0) }
            throw ImageError(
                .invalidArgument,
                isTooLarge
                    ? "Value '\(text)' is too large for parameter '\(name)'" : "Parameter '\(name)' expects a number")
        }
        return value
    }

    func size(_ name: String) throws(ImageError) -> UInt64? {
        guard let text = values[name] else { return nil }
        guard let value = ByteCount.parse(text) else {
            if ByteCount.isTooLarge(text) {
                throw ImageError(.invalidArgument, "Value '\(text)' is out of range for parameter '\(name)'")
            }
            throw ImageError(
                .invalidArgument,
                "Parameter '\(name)' expects a non-negative number below 2^64\n"
                    + "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."
            )
        }
        return value
    }
}

extension CreateOption {
    /// Refuses values that are not of their option's type.
    public static func check(_ values: [String: String], _ options: [CreateOption]) throws(ImageError) {
        let reader = OptionReader(values)
        for option in options {
            switch option.kind {
            case .size: _ = try reader.size(option.name)
            case .number: _ = try reader.number(option.name)
            case .bool: _ = try reader.bool(option.name)
            case .string: break
            }
        }
    }
}

/// Sizes as qemu-img reads and writes them: `10G`, `1.5M`, `0x200`.
public enum ByteCount {
    private static let suffixes: [Character: UInt64] = [
        "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60,
    ]

    /// Bytes that `text` means, nil when it is not a size. `defaultShift` applies where no suffix is given.
    public static func parse(_ text: String) -> UInt64? {
        var digits = Substring(text)
        if digits.lowercased().hasPrefix("0x") { return UInt64(digits.dropFirst(2), radix: 16) }
        var shift: UInt64 = 0
        if let last = digits.last, let known = suffixes[Character(last.lowercased())] {
            shift = known
            digits.removeLast()
        }
        let parts = digits.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let head = parts.first, !head.isEmpty, let whole = UInt64(head), head.first != "+" else { return nil }
        let (scaled, overflow) = whole.multipliedReportingOverflow(by: 1 << shift)
        if overflow { return nil }
        guard parts.count == 2 else { return scaled }
        guard !parts[1].isEmpty, parts[1].utf8.allSatisfy({ (48...57).contains($0) }),
            let fraction = Double("0." + parts[1]), shift > 0 || fraction == 0
        else { return nil }
        let (sum, isTooMuch) = scaled.addingReportingOverflow(UInt64(fraction * Double(UInt64(1) << shift) + 0.5))
        return isTooMuch ? nil : sum
    }

    /// Whether `text` is a number, but one of more than 64 bits.
    public static func isTooLarge(_ text: String) -> Bool {
        guard parse(text) == nil else { return false }
        if text.lowercased().hasPrefix("0x") {
            return text.utf8.count > 2 && text.dropFirst(2).allSatisfy(\.isHexDigit)
        }
        let hasSuffix = text.last.map { suffixes[Character($0.lowercased())] != nil } ?? false
        let digits = hasSuffix ? text.dropLast() : text[...]
        let parts = digits.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        // Parts of a byte are no size, however many there are.
        let hasUnit = hasSuffix && text.last.map { Character($0.lowercased()) } != "b"
        return (parts.count == 1 || hasUnit)
            && parts.allSatisfy { !$0.isEmpty && $0.utf8.allSatisfy { (48...57).contains($0) } }
    }

    /// A size for people: three significant digits with a binary unit, as `info` prints it.
    public static func text(_ bytes: UInt64) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
        var unit = 0
        var divisor: UInt64 = 1
        // The next unit is used from 1000 of the smaller one on.
        while unit < units.count - 1, Double(bytes) / Double(divisor) >= 1000 {
            unit += 1
            divisor <<= 10
        }
        let value = Double(bytes) / Double(divisor)
        // C's own rounding, which makes 1e+03 of what is nearer to a thousand than to 999.
        let digits = withVaList([value]) { arguments in
            withUnsafeTemporaryAllocation(of: CChar.self, capacity: 32) { buffer in
                // SAFETY: "%.3g" has one argument, a double, and needs fewer than 32 bytes.
                vsnprintf(buffer.baseAddress, buffer.count, "%.3g", arguments)
                return buffer.baseAddress.map { String(cString: $0) } ?? ""
            }
        }
        return digits + " " + units[unit]
    }
}
