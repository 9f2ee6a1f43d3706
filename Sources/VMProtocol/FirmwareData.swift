/// What the firmware of a VM tells its guest beside what it finds out itself.
extension VMDescription {
    /// A file of QEMU's configuration device (`-fw_cfg name=…`): what guests find under
    /// /sys/firmware/qemu_fw_cfg/by_name.
    public struct FirmwareFile: Codable, Sendable, Equatable {
        /// `opt/ORGANISATION/NAME`.
        public var name: String
        /// The file of the host that has its content; nil: `text` is it.
        public var path: String?
        public var text: String?

        public init(name: String, path: String) {
            self.name = name
            self.path = path
        }

        public init(name: String, text: String) {
            self.name = name
            self.text = text
        }

        /// Bytes of a name, of which the last ends it (QEMU's specs/fw_cfg).
        public static let mostNameBytes = 55
        /// Bytes of a content: an Ignition configuration with files in it has some hundred thousand.
        public static let mostBytes = 16 << 20
        /// How many a VM may have.
        public static let mostFiles = 64
        /// Where Ignition looks.
        public static let ignitionName = "opt/com.coreos/config"
    }

    /// A field of an SMBIOS structure.
    ///
    /// | type | structure | offsets (DSP0134, 7.1 and 7.2) |
    /// | --- | --- | --- |
    /// | 0 | BIOS information | vendor 04h, version 05h, release date 08h |
    /// | 1 | system information | manufacturer 04h, product 05h, version 06h, serial 07h, UUID 08h, SKU 19h, family 1Ah |
    public struct SMBIOSField: Codable, Sendable, Equatable {
        public var type: UInt8
        /// As QEMU's `-smbios` calls it.
        public var name: String
        public var value: String

        public init(type: UInt8, name: String, value: String) {
            self.type = type
            self.name = name
            self.value = value
        }

        /// Type, name and offset of every field that there is.
        public static let table: [(type: UInt8, name: String, offset: UInt16)] = [
            (0, "vendor", 0x04), (0, "version", 0x05), (0, "date", 0x08), (1, "manufacturer", 0x04),
            (1, "product", 0x05), (1, "version", 0x06), (1, "serial", 0x07), (1, "uuid", 0x08), (1, "sku", 0x19),
            (1, "family", 0x1A),
        ]

        /// Where it stands in its structure; nil for a field that there is not.
        public var offset: UInt16? { Self.table.first { $0.type == type && $0.name == name }?.offset }
    }
}
