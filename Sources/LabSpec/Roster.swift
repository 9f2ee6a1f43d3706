/// A list of people, or of anything else that there is one VM for: comma-separated values (RFC 4180) with a first line that
/// names the columns. Semicolons and tabs, which spreadsheets write where the comma is the decimal point, separate too.
///
/// A VM is named after the column `name`, or the first column where no column is called so: what is no letter or digit
/// becomes `-`, capital letters small ones, `ä` becomes `ae`.
import Glibc

/// A roster that has been read.
public struct Roster: Sendable, Equatable {
    public var columns: [String]
    /// Rows by column.
    public var rows: [[String: String]]
    /// What VMs are called after the group's name and a `-`.
    public var suffixes: [String]

    /// What is wrong with a roster.
    struct Fault: Error, Equatable {
        /// From 1; nil for the whole.
        var line: Int?
        var message: String
    }

    /// At most so many VMs can be.
    static let mostRows = VMDraft.replicaCounts.upperBound

    /// - Parameter nameColumn: the column that VMs are named after; nil: `name`, else the first.
    init(_ text: String, nameColumn: String?) throws(Fault) {
        var records = try Roster.records(text)
        guard !records.isEmpty else { throw Fault(message: "is empty") }
        let header = records.removeFirst()
        let columns = header.fields.map(\.trimmed)
        if let twice = columns.first(where: { column in columns.filter { $0 == column }.count > 1 }) {
            throw Fault(line: header.line, message: "has two columns '\(twice.clippedForMessage)'")
        }
        guard !records.isEmpty else { throw Fault(message: "has a line of column names and nothing else") }
        guard records.count <= Roster.mostRows else {
            throw Fault(message: "has \(records.count) rows; at most \(Roster.mostRows) can be")
        }
        let usual = columns.first { $0.lowercased() == "name" } ?? columns[0]
        let key = nameColumn ?? usual
        guard columns.contains(key) else {
            throw Fault(
                message: "has no column '\(key.clippedForMessage)'; its columns are " + columns.joined(separator: ", "))
        }
        var rows: [[String: String]] = []
        var suffixes: [String] = []
        var lines: [String: Int] = [:]
        for record in records {
            guard record.fields.count == columns.count else {
                throw Fault(
                    line: record.line,
                    message: "has \(record.fields.count) fields where the first line names \(columns.count) columns")
            }
            let row = Dictionary(uniqueKeysWithValues: zip(columns, record.fields.map(\.trimmed)))
            let name = row[key] ?? ""
            let suffix = Roster.suffix(name)
            guard !suffix.isEmpty else {
                throw Fault(line: record.line, message: "'\(name.clippedForMessage)' makes no name")
            }
            if let line = lines.updateValue(record.line, forKey: suffix) {
                throw Fault(
                    line: record.line,
                    message: "'\(name.clippedForMessage)' makes the same name as line \(line): "
                        + "'\(suffix)'; name another column: { from: …, name: COLUMN }")
            }
            rows.append(row)
            suffixes.append(suffix)
        }
        (self.columns, self.rows, self.suffixes) = (columns, rows, suffixes)
    }

    /// Letters that are written otherwise where there is only ASCII.
    private static let spellings: [Character: String] = [
        "ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "oe", "å": "aa", "ł": "l", "đ": "d",
        "ð": "d", "þ": "th", "ı": "i",
    ]

    /// The part of a VM's name that a person's name makes.
    static func suffix(_ name: String) -> String {
        var result = ""
        for character in name.lowercased() {
            let spelled = spellings[character] ?? String(character)
            for scalar in spelled.decomposed where scalar.properties.canonicalCombiningClass == .notReordered {
                if scalar.isASCII, scalar.properties.isAlphabetic || scalar.properties.numericType != nil {
                    result.unicodeScalars.append(scalar)
                } else if !result.isEmpty, !result.hasSuffix("-") {
                    result += "-"
                }
            }
        }
        while result.hasSuffix("-") { result.removeLast() }
        return result
    }

    private struct Record {
        var line: Int
        var fields: [String]
    }

    /// Fields of all lines that are not blank.
    private static func records(_ text: String) throws(Fault) -> [Record] {
        var scalars = Array(text.unicodeScalars)
        if scalars.first == "\u{FEFF}" { scalars.removeFirst() }
        let header = scalars.prefix { $0 != "\n" }
        let separator = ([",", ";", "\t"] as [Unicode.Scalar]).max { one, other in
            header.filter { $0 == one }.count < header.filter { $0 == other }.count
        }
        var records: [Record] = []
        var record = Record(line: 1, fields: [])
        var field = String.UnicodeScalarView()
        var (line, isQuoted, wasQuoted) = (1, false, false)
        func close() {
            record.fields.append(String(field))
            (field, wasQuoted) = (String.UnicodeScalarView(), false)
        }
        var index = 0
        while index < scalars.count {
            let scalar = scalars[index]
            let next = index + 1 < scalars.count ? scalars[index + 1] : nil
            index += 1
            if scalar == "\n" { line += 1 }
            if isQuoted {
                if scalar != "\"" {
                    field.append(scalar)
                } else if next == "\"" {
                    field.append("\"")
                    index += 1
                } else {
                    isQuoted = false
                }
            } else if scalar == "\"", field.isEmpty, !wasQuoted {
                (isQuoted, wasQuoted) = (true, true)
            } else if scalar == separator {
                close()
            } else if scalar == "\n" {
                close()
                if record.fields != [""] { records.append(record) }
                record = Record(line: line, fields: [])
            } else if scalar != "\r" {
                field.append(scalar)
            }
        }
        guard !isQuoted else { throw Fault(line: record.line, message: "a quote that begins here is not closed") }
        close()
        if record.fields != [""] { records.append(record) }
        return records
    }
}

/// Reads rosters, each once.
final class RosterReader {
    private let kept: [String: String]
    /// Texts that were asked for, by absolute path.
    private(set) var texts: [String: String] = [:]

    /// Far more than a class needs.
    static let mostBytes = 1 << 20

    /// - Parameter kept: texts that are taken in place of what is on the disk.
    init(kept: [String: String] = [:]) { self.kept = kept }

    /// The text of a file, or why there is none.
    func text(_ path: String) -> Result<String, Roster.Fault> {
        if let known = texts[path] ?? kept[path] {
            texts[path] = known
            return .success(known)
        }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            return .failure(.init(message: "cannot be read: \(String(cString: strerror(errno)))"))
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            guard count >= 0 else {
                return .failure(.init(message: "cannot be read: \(String(cString: strerror(errno)))"))
            }
            if count == 0 { break }
            bytes += buffer[..<count]
            if bytes.count > Self.mostBytes { return .failure(.init(message: "has more than \(Self.mostBytes) bytes")) }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            return .failure(.init(message: "is not UTF-8 text; save it as \"CSV UTF-8\""))
        }
        texts[path] = text
        return .success(text)
    }
}

extension String {
    fileprivate var trimmed: String {
        let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" }
        var rest = drop(while: isBlank)
        while rest.last.map(isBlank) == true { rest.removeLast() }
        return String(rest)
    }

    /// Letters apart from their accents.
    fileprivate var decomposed: [Unicode.Scalar] { unicodeScalars.flatMap(\.latinBase) }
}

extension Unicode.Scalar {
    /// The plain letter under an accent, as Unicode calls it: LATIN SMALL LETTER E WITH ACUTE.
    fileprivate var latinBase: [Unicode.Scalar] {
        guard !isASCII, let name = properties.name, name.hasPrefix("LATIN SMALL LETTER ") else { return [self] }
        let letter = name.dropFirst("LATIN SMALL LETTER ".count).prefix { $0 != " " }.lowercased()
        return letter.count == 1 ? Array(letter.unicodeScalars) : [self]
    }
}
