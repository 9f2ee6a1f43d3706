/// All opcode rows, parsed once, with an index by map and opcode byte.
struct OpcodeTable {
    let rows: [OpcodeRow]
    /// Row numbers by `map * 256 + opcode`, in table order: rows with a mandatory prefix or a narrower ModRM stand first.
    let index: [[UInt16]]

    /// Parsed at first use. A row that does not parse is a mistake in the source, found by any test that decodes.
    static let shared: OpcodeTable = {
        do {
            return try OpcodeTable()
        } catch {
            fatalError("opcode table: \(error)")
        }
    }()

    private init() throws(OpcodeTableError) {
        let families: [OpcodeRow.Family: [String: UInt16]] = [
            .integer: Self.names(Mnemonic.self), .x87: Self.names(X87Code.self), .sse: Self.names(SSECode.self),
            .system: Self.names(SystemCode.self),
        ]
        var rows: [OpcodeRow] = []
        for text in Self.texts {
            for line in text.description.split(separator: "\n") where !line.isEmpty && !line.hasPrefix("#") {
                let row = try OpcodeRow(line: line) { families[$0]?[$1] }
                rows.append(row)
            }
        }
        var index = [[UInt16]](repeating: [], count: 4 * 256)
        for (number, row) in rows.enumerated() {
            let opcodes = row.attributes.contains(.plusRegister) ? row.opcode...row.opcode + 7 : row.opcode...row.opcode
            for opcode in opcodes { index[row.map.rawValue * 256 + Int(opcode)].append(UInt16(number)) }
        }
        for slot in index.indices {
            index[slot].sort { a, b in
                let (ra, rb) = (Self.specificity(rows[Int(a)]), Self.specificity(rows[Int(b)]))
                return ra != rb ? ra > rb : a < b
            }
        }
        self.rows = rows
        self.index = index
    }

    private static func specificity(_ row: OpcodeRow) -> Int {
        (row.exactModRM != nil ? 4 : 0) + (row.prefix == .pF3 || row.prefix == .pF2 ? 2 : 0)
            + (row.prefix == .p66 ? 1 : 0)
    }

    private static func names<Code: CaseIterable & RawRepresentable>(_: Code.Type) -> [String: UInt16]
    where Code.RawValue == UInt16 {
        var names: [String: UInt16] = [:]
        for code in Code.allCases { names[String(describing: code)] = code.rawValue }
        return names
    }
}

extension OpcodeTable {
    /// The tables, in the order in which their rows are tried.
    static let texts = [
        OpcodeTableInteger.text, OpcodeTableSystem.text, OpcodeTableX87.text, OpcodeTableMMX.text, OpcodeTableSSE.text,
    ]
}
