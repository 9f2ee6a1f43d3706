import ArgumentParser
import Foundation
import VMProtocol

/// `--format`: how a table is printed.
enum TableFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json
}

/// Rows in aligned columns, without lines, so that they are easy to read and to cut.
struct Table {
    private let titles: [String]
    private var rows: [[StyledText]] = []

    init(_ titles: [String]) { self.titles = titles }

    /// Adds a row, a cell for each title.
    mutating func add(_ cells: [StyledText]) { rows.append(cells) }

    /// The whole table, each line ended.
    func rendered(usesColor: Bool) -> String {
        let header = titles.map { StyledText($0, .bold) }
        let lines = [header] + rows
        let widths = titles.indices.map { column in lines.map { $0[column].text.count }.max() ?? 0 }
        return lines.map { cells in
            var line = ""
            for (column, cell) in cells.enumerated() {
                line += cell.rendered(usesColor: usesColor)
                if column < cells.count - 1 {
                    line += String(repeating: " ", count: widths[column] - cell.text.count + 2)
                }
            }
            while line.hasSuffix(" ") { line.removeLast() }
            return line + "\n"
        }.joined()
    }
}

/// A cell or word with a style.
struct StyledText: ExpressibleByStringInterpolation {
    /// SGR parameters (ECMA-48).
    enum Style: String {
        case plain = "0", bold = "1", dim = "2", red = "31", green = "32", yellow = "33", blue = "34", magenta = "35",
            cyan = "36"
    }

    var text: String
    var style: Style

    init(_ text: String, _ style: Style = .plain) {
        self.text = text
        self.style = style
    }

    init(stringLiteral value: String) { self.init(value) }

    func rendered(usesColor: Bool) -> String {
        usesColor && style != .plain ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
    }
}

/// JSON on standard output.
enum JSONOutput {
    /// Prints a value, indented, keys in alphabetical order.
    static func write(_ value: some Encodable) {
        StandardOutput.write(JSONCoding.encode(value, pretty: true) + [UInt8(ascii: "\n")])
    }
}

/// Quantities as people read them.
enum Humanized {
    /// `1.5 GiB`, `640 KiB`, `12 B`.
    static func bytes(_ count: UInt64) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        var value = Double(count)
        var unit = 0
        while value >= 1024, unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        return unit == 0 || value >= 100
            ? "\(Int(value.rounded())) \(units[unit])" : "\((value * 10).rounded() / 10) \(units[unit])"
    }

    /// `3.2 s`, `1 min 5 s`, `2 h 10 min`, `3 d 4 h`.
    static func seconds(_ seconds: Double) -> String {
        let whole = Int(seconds)
        switch seconds {
        case ..<60: return "\((seconds * 10).rounded() / 10) s"
        case ..<3600: return "\(whole / 60) min \(whole % 60) s"
        case ..<86400: return "\(whole / 3600) h \(whole % 3600 / 60) min"
        default: return "\(whole / 86400) d \(whole % 86400 / 3600) h"
        }
    }
}
