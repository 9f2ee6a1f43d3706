/// A tar archive (POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar's long names), listed
/// without reading its members.
///
///     offset size                         offset size
///          0  100  name                      156   1  type: 0 or NUL file, 5 folder, x pax header for the next
///        124   12  size, octal, or binary              member, g for all, L GNU long name for the next
///                  where bit 7 of the first  257   6  "ustar"
///                  byte is set               345 155  prefix of the name
///        148    8  sum of all bytes of the header, these taken as spaces, octal
///
/// The member's bytes follow, padded to 512. Two blocks of zeros end the archive.
struct TarArchive {
    struct Member: Sendable {
        var name: String
        var start: UInt64
        var byteCount: UInt64
    }

    private static let maximumMembers = 10_000
    private static let maximumHeader: UInt64 = 1 << 20
    private(set) var members: [Member] = []
    private let storage: any Storage

    /// Regular files only; others are passed over.
    init(_ storage: any Storage) throws(ImageError) {
        self.storage = storage
        var position: UInt64 = 0
        var longName: String?
        var longSize: UInt64?
        while position + 512 <= storage.byteCount {
            let header = try storage.readBytes(at: position, count: 512)
            if header.allSatisfy({ $0 == 0 }) { break }
            guard Self.hasValidSum(header) else {
                throw bad("the tar header's checksum is wrong", position)
            }
            let type = header[156]
            let isRecord = type == UInt8(ascii: "x") || type == UInt8(ascii: "L") || type == UInt8(ascii: "g")
            guard let stated = Self.number(header[124..<136]) else {
                throw bad("the tar header's size is no number", position + 124)
            }
            let size = isRecord ? stated : longSize ?? stated
            let start = position + 512
            guard size <= storage.byteCount, start + size <= storage.byteCount else {
                throw bad("File truncated: a member of \(size) bytes does not fit", position)
            }
            position = start + (size + 511) & ~511
            if isRecord {
                guard size <= Self.maximumHeader else { throw bad("an extended header of \(size) bytes", start) }
                let bytes = try storage.readBytes(at: start, count: Int(size))
                switch type {
                case UInt8(ascii: "L"): longName = String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
                case UInt8(ascii: "x"):
                    let records = Self.paxRecords(bytes)
                    if let name = records["path"] { longName = name }
                    if let size = records["size"].flatMap({ UInt64($0) }) { longSize = size }
                    if records.keys.contains(where: { $0.hasPrefix("GNU.sparse") }) {
                        throw bad("sparse tar members are not supported", start, .unsupported)
                    }
                default: break
                }
                continue
            }
            if type == 0 || type == UInt8(ascii: "0") || type == UInt8(ascii: "7") {
                guard members.count < Self.maximumMembers else {
                    throw bad("the archive has more than \(Self.maximumMembers) members", position)
                }
                members.append(Member(name: longName ?? Self.name(header), start: start, byteCount: size))
            } else if type == UInt8(ascii: "S") {
                throw bad("sparse tar members are not supported", start, .unsupported)
            }
            (longName, longSize) = (nil, nil)
        }
    }

    private func bad(_ message: String, _ offset: UInt64, _ kind: ImageError.Kind = .corrupt) -> ImageError {
        ImageError(
            kind, "\(message), at byte \(offset) of the archive", format: "ova", path: storage.path, offset: offset)
    }

    /// The member of that name; names in an OVF descriptor are meant from the archive's top.
    func member(_ name: String) -> Member? {
        members.first { $0.name == name } ?? members.first { FilePath.name(of: $0.name) == FilePath.name(of: name) }
    }

    func bytes(of member: Member, atMost limit: UInt64) throws(ImageError) -> [UInt8] {
        guard member.byteCount <= limit else {
            throw bad("'\(member.name)' has \(member.byteCount) bytes, more than \(limit)", member.start)
        }
        return try storage.readBytes(at: member.start, count: Int(member.byteCount))
    }

    static func name(_ header: some RandomAccessCollection<UInt8>) -> String {
        func text(_ from: Int, _ count: Int) -> String {
            String(decoding: header.dropFirst(from).prefix(count).prefix { $0 != 0 }, as: UTF8.self)
        }
        // GNU's own header has times where ustar has the prefix.
        let isPOSIX = header.dropFirst(257).starts(with: Array("ustar\0".utf8))
        let prefix = isPOSIX ? text(345, 155) : ""
        let name = prefix.isEmpty ? text(0, 100) : prefix + "/" + text(0, 100)
        return name.hasPrefix("./") ? String(name.dropFirst(2)) : name
    }

    static func hasValidSum(_ header: some RandomAccessCollection<UInt8>) -> Bool {
        guard header.count >= 512, let stated = number(header.dropFirst(148).prefix(8)) else { return false }
        var sum: UInt64 = 0
        for (index, byte) in header.prefix(512).enumerated() { sum += (148..<156).contains(index) ? 32 : UInt64(byte) }
        return sum == stated
    }

    /// An octal number, ended by a space or NUL, or a binary one; nil for neither.
    private static func number(_ field: some Collection<UInt8>) -> UInt64? {
        guard let first = field.first else { return nil }
        if first & 0x80 != 0 {
            var value = UInt64(first & 0x7f)
            for byte in field.dropFirst() {
                guard value < 1 << 55 else { return nil }
                value = value << 8 | UInt64(byte)
            }
            return value
        }
        let digits = field.drop { $0 == 32 }.prefix { $0 != 0 && $0 != 32 }
        return digits.isEmpty ? 0 : UInt64(String(decoding: digits, as: UTF8.self), radix: 8)
    }

    /// "length key=value\n" records.
    private static func paxRecords(_ bytes: [UInt8]) -> [String: String] {
        var records: [String: String] = [:]
        var rest = bytes[...]
        while let space = rest.firstIndex(of: 32),
            let length = Int(String(decoding: rest[rest.startIndex..<space], as: UTF8.self)),
            length > space - rest.startIndex + 1, length <= rest.count
        {
            let record = rest[space + 1..<rest.startIndex + length - 1]
            if let equals = record.firstIndex(of: UInt8(ascii: "=")) {
                records[String(decoding: record[..<equals], as: UTF8.self)] =
                    String(decoding: record[(equals + 1)...], as: UTF8.self)
            }
            rest = rest.dropFirst(length)
        }
        return records
    }
}
