import Glibc
import VMProtocol

/// A record in a JSON file that says which format it has and whether it is as it was written.
///
/// | key | content |
/// | --- | --- |
/// | `formatVersion` | number of the format; a reader refuses a newer one by name |
/// | `checksum` | SHA-256 of the object without this key, as compact JSON with sorted keys |
/// | others | the record |
///
/// Records of labctl before versions have neither key and are read as they are.
enum RecordFile {
    /// The format that this version writes, and the newest that it reads.
    static let formatVersion: Int64 = 1

    /// Reads a record. Nothing is made of a file that is there and cannot be read: the caller learns what is wrong.
    static func read<Record: Decodable>(_ type: Record.Type, from path: String) -> RecordReading<Record> {
        let bytes: [UInt8]
        do {
            guard let content = try StateFile.read(path) else { return .absent }
            bytes = content
        } catch {
            return .faulty(RecordFault(path: path, kind: .damaged, reason: error.cause))
        }
        func damaged(_ reason: String) -> RecordReading<Record> {
            .faulty(RecordFault(path: path, kind: .damaged, reason: reason))
        }
        guard !bytes.isEmpty else { return damaged("it is empty") }
        guard case .object(var members) = JSONValue.parse(bytes) else { return damaged("it is not a JSON object") }
        if let version = members["formatVersion"] {
            guard let number = version.intValue, number > 0 else { return damaged("its format version is no number") }
            guard number <= formatVersion else {
                return .faulty(
                    RecordFault(
                        path: path, kind: .newer,
                        reason: "it has format version \(number), this labctl knows versions up to \(formatVersion)"))
            }
            guard let checksum = members.removeValue(forKey: "checksum")?.stringValue, checksum == digest(members)
            else { return damaged("its checksum does not fit its content") }
        } else if members["checksum"] != nil {
            return damaged("its format version is missing")
        }
        guard let record = JSONCoding.decode(type, from: JSONValue.object(members).encoded) else {
            return damaged("it lacks what a record has")
        }
        return .found(record)
    }

    /// Writes a record, whole or not at all.
    static func write(_ record: some Encodable, to path: String) throws(HostError) {
        guard case .object(var members) = JSONValue.parse(JSONCoding.encode(record)) else {
            throw HostError("write", path, code: 0, reason: "the record is not an object")
        }
        members["formatVersion"] = .int(formatVersion)
        members["checksum"] = .string(digest(members))
        try StateFile.replace(path, with: JSONCoding.encode(JSONValue.object(members), pretty: true))
    }

    private static func digest(_ members: [String: JSONValue]) -> String {
        SHA256Digest.of(String(decoding: JSONValue.object(members).encoded, as: UTF8.self))
    }
}

/// What is wrong with a record that is there.
public struct RecordFault: Error, Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        /// Empty, cut short, changed, or the host cannot read it.
        case damaged
        /// Written by a newer labctl.
        case newer
    }

    public var path: String
    public var kind: Kind
    /// Half a sentence: `it is empty`.
    public var reason: String

    /// What was found, in a sentence without its end.
    public var sentence: String { "\(path) cannot be used: \(reason)" }

    /// Puts a damaged record aside under a name that nothing reads, so that another can be written and nothing is lost.
    /// - Returns: the new name.
    func putAside() throws(OrchestratorError) -> String {
        var number = 1
        while Folder.exists("\(path).damaged-\(number)") { number += 1 }
        let name = "\(path).damaged-\(number)"
        guard HostCall.rename(path, to: name) else { throw OrchestratorError(HostError("rename", path)) }
        return name
    }
}

/// What reading a record gave. "Not there" and "cannot be read" are two things: the one is a new VM, the other one whose
/// overlays somebody wants back.
public enum RecordReading<Record: Sendable>: Sendable {
    case absent
    case found(Record)
    case faulty(RecordFault)

    /// The record where it could be read; for showing things, never for deciding what may be overwritten.
    public var known: Record? { if case .found(let record) = self { record } else { nil } }

    public var fault: RecordFault? { if case .faulty(let fault) = self { fault } else { nil } }

    /// The record, nil where there is none.
    /// - Throws: `.state` for one that cannot be read.
    func required() throws(OrchestratorError) -> Record? {
        switch self {
        case .absent: return nil
        case .found(let record): return record
        case .faulty(let fault): throw OrchestratorError(.state, fault.sentence)
        }
    }
}
