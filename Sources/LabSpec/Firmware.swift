/// What a VM's firmware tells its guest.

/// `ignition`: the configuration that Ignition applies at the first boot.
public enum IgnitionSource: Sendable, Equatable {
    /// A file of the host, taken as it is.
    case file(LabPath)
    /// JSON.
    case text(String)
}

/// A field of `smbios`.
public struct SMBIOSField: Sendable, Equatable {
    /// Keys of the lab file.
    public enum Key: String, Sendable, CaseIterable {
        case manufacturer, product, version, serial, uuid, sku, family
        case biosVendor = "bios_vendor"
        case biosVersion = "bios_version"
        case biosDate = "bios_date"
    }

    public var key: Key
    public var value: String

    public init(_ key: Key, _ value: String) {
        self.key = key
        self.value = value
    }

    /// Bytes of a text; longer ones are no names.
    static let mostBytes = 200

    /// The bytes of a UUID in the order they are written; nil for what is none.
    public static func uuidBytes(_ text: String) -> [UInt8]? {
        let groups = text.split(separator: "-", omittingEmptySubsequences: false)
        guard groups.map(\.count) == [8, 4, 4, 4, 12] else { return nil }
        let digits = groups.joined().map(\.hexDigitValue)
        guard digits.count == 32 else { return nil }
        var bytes: [UInt8] = []
        for pair in stride(from: 0, to: 32, by: 2) {
            guard let high = digits[pair], let low = digits[pair + 1] else { return nil }
            bytes.append(UInt8(high << 4 | low))
        }
        return bytes
    }
}
