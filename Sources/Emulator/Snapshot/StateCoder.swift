/// A device's state as a list of named fields. One list both saves and restores: the coder knows which.
///
/// | offset | size | field of a section |
/// | --- | --- | --- |
/// | 0 | 1 | bytes of the name, n |
/// | 1 | n | name, UTF-8; groups are separated by dots |
/// | 1 + n | 1 | 0 nothing, 1 little-endian integer, 2 bytes |
/// | 2 + n | 4 | bytes of the value, little-endian |
/// | 6 + n | | value |
///
/// Restoring stops at the first field that does not fit; the caller asks `finish` once instead of after each field. A field
/// that a section of an older version lacks keeps the value that the device's reset gave it.
final class StateCoder {
    private enum Kind: UInt8 { case nothing = 0, integer, bytes }

    let isRestoring: Bool
    /// The section's version; when restoring, the one that it was saved with.
    let version: UInt32
    private let currentVersion: UInt32
    private let section: String
    /// Guest time of the state, in nanoseconds: what lies in the past of it is checked against it.
    let now: UInt64
    private var output: [UInt8] = []
    private var input: [String: (kind: Kind, bytes: ArraySlice<UInt8>)] = [:]
    private var prefix = ""
    private var failure: MachineError?
    /// Every name that was asked for or given, in order.
    private(set) var names: [String] = []

    /// A coder that collects fields.
    init(saving section: String, version: UInt32, now: UInt64) {
        isRestoring = false
        self.section = section
        self.version = version
        currentVersion = version
        self.now = now
    }

    /// A coder that gives fields back.
    /// - Throws: `badState` when the bytes are no list of fields.
    init(
        restoring bytes: [UInt8], section: String, version: UInt32, currentVersion: UInt32, now: UInt64
    ) throws(MachineError) {
        isRestoring = true
        self.section = section
        self.version = version
        self.currentVersion = currentVersion
        self.now = now
        var at = 0
        func take(_ count: Int) throws(MachineError) -> ArraySlice<UInt8> {
            guard count <= bytes.count - at else {
                throw .badState("has a section \(section) that ends inside a field at byte \(at)")
            }
            defer { at += count }
            return bytes[at..<at + count]
        }
        while at < bytes.count {
            let nameBytes = Int(try take(1)[at - 1])
            let name = String(decoding: try take(nameBytes), as: UTF8.self)
            let code = try take(1)[at - 1]
            let length = Self.number(try take(4))
            guard let kind = Kind(rawValue: code), length <= UInt64(bytes.count) else {
                throw .badState(
                    "has a section \(section) with a field \(name) of an unknown kind (\(code)) or length (\(length))")
            }
            input[name] = (kind, try take(Int(length)))
        }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// What was collected.
    var bytes: [UInt8] { output }

    /// - Throws: `badState` for the first field that did not fit, or one that nobody asked for.
    func finish() throws(MachineError) {
        if let failure { throw failure }
        guard isRestoring else { return }
        if let unknown = input.keys.sorted().first(where: { !names.contains($0) }) {
            throw .badState(
                "has a section \(section) of version \(version) with a field \(unknown) that this program does not know"
            )
        }
    }

    // MARK: Structure

    /// Puts a name in front of the fields that `body` lists.
    func group(_ name: String, _ body: () -> Void) {
        let outer = prefix
        prefix += name + "."
        body()
        prefix = outer
    }

    /// Refuses the section unless what was restored makes sense together.
    func check(_ holds: Bool, _ what: String) {
        if isRestoring, !holds { fail("does not make sense: \(what)") }
    }

    private func fail(_ reason: String) {
        failure = failure ?? .badState("has a section \(section) that \(reason)")
    }

    private func put(_ name: String, _ kind: Kind, _ value: [UInt8]) {
        let full = Array((prefix + name).utf8)
        precondition(full.count < 256, "a state field's name has at most 255 bytes")
        output.append(UInt8(full.count))
        output += full
        output.append(kind.rawValue)
        output += Array(littleEndianBytes: UInt32(value.count))
        output += value
    }

    /// The stored value; nil when it is missing, which is an error unless the section is older than the field.
    private func get(_ name: String, _ kinds: [Kind]) -> (kind: Kind, bytes: ArraySlice<UInt8>)? {
        guard failure == nil else { return nil }
        let full = prefix + name
        guard let found = input[full] else {
            if version >= currentVersion { fail("lacks its field \(full)") }
            return nil
        }
        guard kinds.contains(found.kind) else {
            fail("holds something else in its field \(full)")
            return nil
        }
        return found
    }

    // MARK: Fields

    func field<T: FixedWidthInteger>(_ name: String, _ value: inout T, in range: ClosedRange<T> = T.min...T.max) {
        names.append(prefix + name)
        guard isRestoring else { return put(name, .integer, Array(littleEndianBytes: value)) }
        guard let found = get(name, [.integer]), let number: T = integer(name, found.bytes) else { return }
        guard range.contains(number) else { return fail("has \(number) in its field \(prefix + name), not \(range)") }
        value = number
    }

    private func integer<T: FixedWidthInteger>(_ name: String, _ bytes: ArraySlice<UInt8>) -> T? {
        guard bytes.count == T.bitWidth / 8 else {
            fail("has \(bytes.count) bytes in its field \(prefix + name), not \(T.bitWidth / 8)")
            return nil
        }
        return T(truncatingIfNeeded: Self.number(bytes))
    }

    /// A guest time that lies in the past, or is the present.
    func past(_ name: String, _ value: inout UInt64) { field(name, &value, in: 0...now) }

    func field(_ name: String, _ value: inout Bool) {
        var number: UInt8 = value ? 1 : 0
        field(name, &number, in: 0...1)
        value = number != 0
    }

    /// A case of an enumeration by its number.
    func field<T: RawRepresentable>(_ name: String, _ value: inout T) where T.RawValue: FixedWidthInteger {
        var number = value.rawValue
        field(name, &number)
        guard let known = T(rawValue: number) else {
            return fail("has \(number) in its field \(prefix + name), which is no case")
        }
        value = known
    }

    func field<T: FixedWidthInteger>(
        _ name: String, _ value: inout T?, in range: ClosedRange<T> = T.min...T.max
    ) {
        guard isRestoring else {
            names.append(prefix + name)
            guard let value else { return put(name, .nothing, []) }
            return put(name, .integer, Array(littleEndianBytes: value))
        }
        if input[prefix + name]?.kind == .nothing {
            names.append(prefix + name)
            value = nil
            return
        }
        var number: T = range.lowerBound
        field(name, &number, in: range)
        if failure == nil, input[prefix + name] != nil { value = number }
    }

    /// Bytes, as many as `count` allows.
    func field(_ name: String, _ value: inout [UInt8], count: ClosedRange<Int>) {
        names.append(prefix + name)
        guard isRestoring else { return put(name, .bytes, value) }
        guard let found = get(name, [.bytes]) else { return }
        guard count.contains(found.bytes.count) else {
            return fail("has \(found.bytes.count) bytes in its field \(prefix + name), not \(count)")
        }
        value = Array(found.bytes)
    }

    /// Bytes whose number does not change.
    func field(_ name: String, _ value: inout [UInt8]) { field(name, &value, count: value.count...value.count) }

    /// Wider numbers, as many as `count` allows; nil: as many as there are.
    func field<T: FixedWidthInteger>(_ name: String, _ value: inout [T], count: ClosedRange<Int>? = nil) {
        let size = T.bitWidth / 8
        let allowed = count ?? value.count...value.count
        var bytes = value.flatMap { Array(littleEndianBytes: $0) }
        field(name, &bytes, count: allowed.lowerBound * size...allowed.upperBound * size)
        guard isRestoring else { return }
        guard bytes.count % size == 0 else { return fail("has a part of a number in its field \(prefix + name)") }
        value = stride(from: 0, to: bytes.count, by: size).map {
            T(truncatingIfNeeded: Self.number(bytes[$0..<$0 + size]))
        }
    }

    /// A value whose setter does something: `set` is called only when restoring.
    func field<T: FixedWidthInteger>(_ name: String, _ value: T, set: (T) -> Void) {
        var copy = value
        field(name, &copy)
        if isRestoring { set(copy) }
    }

    func field<T: RawRepresentable>(_ name: String, _ value: T, set: (T) -> Void) where T.RawValue: FixedWidthInteger {
        var copy = value
        field(name, &copy)
        if isRestoring { set(copy) }
    }

    func field(_ name: String, _ value: Bool, set: (Bool) -> Void) {
        var copy = value
        field(name, &copy)
        if isRestoring { set(copy) }
    }

    /// The level of a wire, put back without an edge.
    func field(_ name: String, _ line: IRQLine) { field(name, line.level) { line.restore(level: $0) } }

    func field(_ name: String, _ queue: inout ByteQueue) {
        var bytes = queue.contents
        field(name, &bytes, count: 0...queue.capacity)
        if isRestoring { queue.contents = bytes }
    }
}
