/// `smbios` and `ignition` of a VM: what its firmware hands on to the guest.

/// `smbios`.
struct SMBIOSDraft: Sendable {
    var values: [String: String] = [:]
    var uuid: String?
    var spans = SectionSpans()

    /// In the order of the table.
    var fields: [SMBIOSField] {
        SMBIOSField.Key.allCases.compactMap { key in
            let value = key == .uuid ? uuid : values[key.rawValue]
            return value.map { SMBIOSField(key, $0) }
        }
    }

    private static func key(_ key: SMBIOSField.Key, _ documentation: String, _ synonyms: [String] = [])
        -> LabKey<SMBIOSDraft>
    {
        LabKey(key.rawValue, .smbiosText, \.values[key.rawValue], documentation, synonyms: synonyms)
    }

    static let table = SectionTable<SMBIOSDraft>(
        id: "smbios", noun: "smbios", plural: "smbioses",
        "What the firmware tells about the machine. A kernel that boots without firmware (`kernel`) does not see it.",
        spans: \.spans,
        keys: [
            key(.manufacturer, "Who made it.", ["vendor", "sys_vendor"]),
            key(.product, "What it is called.", ["product_name", "model"]), key(.version, "Its version."),
            key(.serial, "Its serial number; `ds=nocloud;…` is read by cloud-init.", ["serial_number"]),
            LabKey(
                SMBIOSField.Key.uuid.rawValue, .uuid, \.uuid, "Its identity.", synonyms: ["id"]),
            key(.sku, "Its order number."), key(.family, "The family that it is of."),
            key(.biosVendor, "Who made its firmware.", ["bios"]), key(.biosVersion, "Its firmware's version."),
            key(.biosDate, "Its firmware's date."),
        ])
}

extension ValueType where Value == String {
    /// One line, as SMBIOS strings are. Numbers are text here: a serial number often is one.
    static let smbiosText = ValueType(.text) { node, scope in
        guard case .scalar(let scalar) = node.content, scalar.type != .null else {
            scope.reportWrongType(node, expected: .text)
            return nil
        }
        let isPrintable = scalar.text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
        guard isPrintable, !scalar.text.isEmpty, scalar.text.utf8.count <= SMBIOSField.mostBytes else {
            scope.report(
                .outOfRange, "'\(scope.key)' in \(scope.place) has 1 to \(SMBIOSField.mostBytes) bytes on one line",
                at: node.span)
            return nil
        }
        return scalar.text
    }

    /// A UUID as RFC 9562 writes it, turned to lower case.
    static let uuid: ValueType = {
        let shape = ValueShape.pattern(
            regex: "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
            example: "123e4567-e89b-12d3-a456-426614174000")
        return ValueType(shape) { node, scope in
            guard case .scalar(let scalar) = node.content, scalar.type != .null,
                SMBIOSField.uuidBytes(scalar.text) != nil
            else {
                scope.reportWrongType(node, expected: shape)
                return nil
            }
            return scalar.text.lowercased()
        }
    }()
}

extension ValueType where Value == IgnitionSource {
    /// A mapping, which becomes JSON, text of several lines, or a path.
    static let ignitionSource = ValueType.document(
        mapping: { node, _ in .text(node.json.description) }, text: { .text($0) }, file: { .file($0) })
}

extension Node {
    /// The node as JSON, plain scalars by the types of YAML's core schema.
    var json: JSONText {
        switch content {
        case .sequence(let items): return .array(items.map(\.json))
        case .mapping(let pairs): return .object(pairs.map { ($0.key, $0.value.json) })
        case .scalar(let scalar):
            switch scalar.type {
            case .null: return .null
            case .boolean(let value): return .boolean(value)
            case .integer(let value?): return .integer(value)
            case .integer(nil), .float, .string: return .string(scalar.text)
            }
        }
    }
}
