/// Quantities of the lab file that carry their unit in the type: sizes and durations, with the spellings people write.
///
/// | spelling | unit |
/// | --- | --- |
/// | `512`, `512B` | bytes (a bare number is bytes) |
/// | `K M G T`, `KB MB GB TB`, `KiB MiB GiB TiB` | powers of 1024, as QEMU counts them |
/// | `90s`, `2m`, `1h`, `1h30m`, `500ms` | durations; a bare number has no unit and is refused |

/// A number of bytes.
public struct ByteSize: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The size in bytes.
    public var bytes: UInt64

    /// A size of `bytes` bytes.
    public init(bytes: UInt64) { self.bytes = bytes }

    /// `count` KiB (1024 bytes).
    public static func kibibytes(_ count: UInt64) -> ByteSize { ByteSize(bytes: count << 10) }
    /// `count` MiB (1024² bytes).
    public static func mebibytes(_ count: UInt64) -> ByteSize { ByteSize(bytes: count << 20) }
    /// `count` GiB (1024³ bytes).
    public static func gibibytes(_ count: UInt64) -> ByteSize { ByteSize(bytes: count << 30) }

    public static func < (left: ByteSize, right: ByteSize) -> Bool { left.bytes < right.bytes }

    /// The shortest spelling that reads back as the same size: `256M`, `10G`, `1536M`, `700B`.
    public var description: String {
        for (shift, letter) in ByteSize.units.reversed() where bytes != 0 && bytes.trailingZeroBitCount >= shift {
            return "\(bytes >> UInt64(shift))\(letter)"
        }
        return "\(bytes)B"
    }

    /// Powers of two and their letters, smallest first.
    private static let units: [(shift: Int, letter: String)] = [(10, "K"), (20, "M"), (30, "G"), (40, "T"), (50, "P")]

    /// Why a text is not a size.
    public enum ParseFailure: Error, Sendable, Equatable {
        /// No number at the start.
        case notANumber
        /// A number with a unit that is not known.
        case unknownUnit(String)
        /// `1.3K` and other sizes that are not a whole number of bytes.
        case fractionOfAByte
        /// More than 2⁶³ − 1 bytes, the largest file offset.
        case tooLarge
    }

    /// Reads a spelling such as `256M`, `1.5T`, `10 GiB` or `4096`.
    public static func parse(_ text: String) -> Result<ByteSize, ParseFailure> {
        guard let quantity = Quantity(text) else { return .failure(.notANumber) }
        var unit = quantity.unit.uppercased()
        if unit.count == 3, unit.hasSuffix("IB") {
            unit.removeLast(2)
        } else if unit.count == 2, unit.hasSuffix("B") {
            unit.removeLast()
        }
        if quantity.isTooLarge { return .failure(.tooLarge) }
        let shift: Int
        if unit.isEmpty || unit == "B" {
            shift = 0
        } else if let row = units.first(where: { $0.letter == unit }) {
            shift = row.shift
        } else {
            return .failure(.unknownUnit(quantity.unit))
        }
        guard let bytes = quantity.scaled(by: UInt64(1) << UInt64(shift)), bytes <= UInt64(Int64.max) else {
            return .failure(.tooLarge)
        }
        guard quantity.isWhole(scaledBy: UInt64(1) << UInt64(shift)) else { return .failure(.fractionOfAByte) }
        return .success(ByteSize(bytes: bytes))
    }
}

/// A length of time in a lab file: a timeout. (Not `Duration`: that name is the standard library's.)
public struct LabDuration: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The length in milliseconds.
    public var milliseconds: UInt64

    /// A duration of `milliseconds` ms.
    public init(milliseconds: UInt64) { self.milliseconds = milliseconds }
    /// A duration of `count` seconds.
    public static func seconds(_ count: UInt64) -> LabDuration { LabDuration(milliseconds: count * 1000) }
    /// A duration of `count` minutes.
    public static func minutes(_ count: UInt64) -> LabDuration { LabDuration(milliseconds: count * 60_000) }

    /// The length in seconds.
    public var seconds: Double { Double(milliseconds) / 1000 }
    /// The same length as the standard library's type.
    public var duration: Duration { .milliseconds(Int64(clamping: milliseconds)) }

    public static func < (left: LabDuration, right: LabDuration) -> Bool { left.milliseconds < right.milliseconds }

    /// The spelling that reads back as the same duration: `2m`, `90s`, `1500ms`.
    public var description: String {
        for (name, factor) in LabDuration.units.reversed()
        where milliseconds != 0 && milliseconds.isMultiple(of: factor) {
            return "\(milliseconds / factor)\(name)"
        }
        return "\(milliseconds)ms"
    }

    /// Units and their length in milliseconds, shortest first.
    private static let units: [(name: String, milliseconds: UInt64)] = [
        ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
    ]

    /// Why a text is not a duration.
    public enum ParseFailure: Error, Sendable, Equatable {
        /// No number at the start.
        case notANumber
        /// A number without a unit: seconds or minutes cannot be guessed.
        case missingUnit
        /// A number with a unit that is not known.
        case unknownUnit(String)
        /// More than a year.
        case tooLong
    }

    /// Reads a spelling such as `90s`, `2m`, `1.5h` or `1h30m`.
    public static func parse(_ text: String) -> Result<LabDuration, ParseFailure> {
        var rest = Substring(text)
        var total: UInt64 = 0
        var parts = 0
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
            let unit = rest.dropFirst(digits.count).prefix { !($0.isASCII && $0.isNumber) }
            rest = rest.dropFirst(digits.count + unit.count)
            guard let quantity = Quantity(String(digits)) else { return .failure(.notANumber) }
            if quantity.isTooLarge { return .failure(.tooLong) }
            let name = unit.filter { $0 != " " }
            guard !name.isEmpty else { return .failure(.missingUnit) }
            guard let row = units.first(where: { $0.name == name }) else { return .failure(.unknownUnit(String(name))) }
            guard let length = quantity.scaled(by: row.milliseconds) else { return .failure(.tooLong) }
            let (sum, overflow) = total.addingReportingOverflow(length)
            guard !overflow, sum <= 366 * 86_400_000 else { return .failure(.tooLong) }
            total = sum
            parts += 1
        }
        return parts == 0 ? .failure(.notANumber) : .success(LabDuration(milliseconds: total))
    }
}

/// A decimal number and the unit after it, kept exact: `1.5T` is 15 / 10 with unit `T`.
private struct Quantity {
    var mantissa: UInt64 = 0
    var divisor: UInt64 = 1
    var unit = ""
    /// The number is larger than 64 bits hold; what else is known of it has no meaning.
    var isTooLarge = false

    /// Nil when the text does not start with a number.
    init?(_ text: String) {
        var digits = 0
        var inFraction = false
        var rest = Substring(text)
        while let character = rest.first {
            if character == ".", !inFraction {
                inFraction = true
            } else if character.isASCII, let digit = character.wholeNumberValue {
                let (scaled, overflow) = mantissa.multipliedReportingOverflow(by: 10)
                let (sum, carry) = scaled.addingReportingOverflow(UInt64(digit))
                isTooLarge = isTooLarge || overflow || carry || inFraction && divisor > UInt64.max / 10
                guard !isTooLarge else {
                    digits += 1
                    rest.removeFirst()
                    continue
                }
                mantissa = sum
                if inFraction { divisor *= 10 }
                digits += 1
            } else {
                break
            }
            rest.removeFirst()
        }
        guard digits > 0 else { return nil }
        unit = String(rest.drop { $0 == " " })
    }

    /// The number times `factor`, rounded down; nil on overflow.
    func scaled(by factor: UInt64) -> UInt64? {
        let (high, low) = mantissa.multipliedFullWidth(by: factor)
        guard high < divisor else { return nil }
        return divisor.dividingFullWidth((high, low)).quotient
    }

    /// Whether the number times `factor` is whole.
    func isWhole(scaledBy factor: UInt64) -> Bool {
        let (high, low) = mantissa.multipliedFullWidth(by: factor)
        guard high < divisor else { return false }
        return divisor.dividingFullWidth((high, low)).remainder == 0
    }
}
