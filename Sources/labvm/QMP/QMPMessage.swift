import VMProtocol

/// A command that failed, by the classes that QMP knows.
struct QMPError: Error {
    enum Kind: String {
        case generic = "GenericError"
        case commandNotFound = "CommandNotFound"
        case deviceNotFound = "DeviceNotFound"
    }
    var kind: Kind
    var text: String

    static func generic(_ text: String) -> QMPError { QMPError(kind: .generic, text: text) }

    /// The answer that carries the error.
    func message(id: JSONValue?) -> JSONValue {
        var message: [String: JSONValue] = ["error": ["class": .string(kind.rawValue), "desc": .string(text)]]
        if let id { message["id"] = id }
        return .object(message)
    }
}

/// The arguments of a command, with errors in QEMU's words.
struct QMPArguments {
    private let members: [String: JSONValue]

    init(_ value: JSONValue) {
        if case .object(let members) = value { self.members = members } else { members = [:] }
    }

    /// Refuses arguments that the command does not have.
    func requireOnly(_ known: [String], of command: String) throws(QMPError) {
        for name in members.keys.sorted() where !known.contains(name) {
            throw .generic("Parameter '\(name)' is unexpected")
        }
    }

    func string(_ name: String) throws(QMPError) -> String {
        guard let text = try optionalString(name) else { throw .generic("Parameter '\(name)' is missing") }
        return text
    }

    func optionalString(_ name: String) throws(QMPError) -> String? {
        guard let value = members[name] else { return nil }
        guard let text = value.stringValue else {
            throw .generic("Invalid parameter type for '\(name)', expected: string")
        }
        return text
    }

    func optionalInteger(_ name: String) throws(QMPError) -> Int64? {
        guard let value = members[name] else { return nil }
        guard let number = value.intValue else {
            throw .generic("Invalid parameter type for '\(name)', expected: integer")
        }
        return number
    }

    func array(_ name: String) throws(QMPError) -> [JSONValue] {
        guard let value = members[name] else { throw .generic("Parameter '\(name)' is missing") }
        guard let items = value.arrayValue else {
            throw .generic("Invalid parameter type for '\(name)', expected: array")
        }
        return items
    }
}
