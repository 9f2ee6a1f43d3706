/// What a machine is built of, as far as a saved state depends on it: a state is restored on the same machine only.
struct MachineDescription {
    /// Names and values for people, which are also what is compared.
    let rows: [(name: String, value: String)]

    static let section = "machine"
    /// 2: with the processors' number and packing; before there was one.
    private static let version: UInt32 = 2
    private static let longestValue = 4096

    init(board: PCBoard, features: CPUFeatures) {
        let config = board.config
        let words = [CPUFeature.Word.leaf1ECX, .leaf1EDX, .leaf7EBX, .leaf7ECX, .extendedECX, .extendedEDX]
        let processor = [features.vendor.rawValue, hex(UInt64(features.signature), 8)]
        var rows = [
            (name: "board", value: "i440FX"),
            (name: "memory", value: "\(board.memory.ramSizeBytes) bytes"),
            (
                name: "processor",
                value: (processor + words.map { hex(UInt64(features.word($0)), 8) }).joined(separator: " ")
            ),
            (name: Self.packing, value: Self.text(config.topology)),
            (name: "time-stamp counter", value: "\(config.tscHertz) Hz"),
            (name: "system BIOS", value: hex(XXHash64.hash(board.firmware.bytes), 16)),
            (name: "VGA BIOS", value: hex(XXHash64.hash(UnsafeRawBufferPointer(board.vga.rom)), 16)),
            (name: "serial ports", value: "\(board.uarts.count)"),
        ]
        for (index, name) in ["hda", "hdb", "hdc", "hdd"].enumerated() {
            let drive = index < config.drives.count ? config.drives[index] : nil
            rows.append((name: name, value: Self.text(drive)))
        }
        let floppies = board.floppyController?.drives.prefix(2).map { "\($0.kind)" } ?? ["absent", "absent"]
        for (name, value) in zip(["floppy drive A", "floppy drive B"], floppies) { rows.append((name, value)) }
        rows.append((name: "debug exit port", value: config.debugExitPort.map { hex(UInt64($0), 4) } ?? "none"))
        self.rows = rows
    }

    private static let packing = "processors"

    private static func text(_ topology: CPUTopology) -> String {
        "\(topology.sockets) × \(topology.coresPerSocket) × \(topology.threadsPerCore)"
    }

    private static func text(_ drive: PCConfig.Drive?) -> String {
        switch drive {
        case .disk(let backend): "a disk of \(backend.sizeBytes) bytes"
        case .cdrom: "a CD-ROM drive"
        case nil: "nothing"
        }
    }

    func saved() -> StateSection {
        let coder = StateCoder(saving: Self.section, version: Self.version, now: 0)
        for row in rows {
            var value = Array(row.value.utf8)
            coder.field(row.name, &value, count: 0...Self.longestValue)
        }
        return StateSection(name: Self.section, version: Self.version, bytes: coder.bytes)
    }

    /// - Throws: `badState` naming the first row in which the saved machine was another one.
    func check(_ section: StateSection) throws(MachineError) {
        let coder = try StateCoder(
            restoring: section.bytes, section: Self.section, version: section.version, currentVersion: Self.version,
            now: 0)
        var difference: String?
        for row in rows {
            var value = Array(row.value.utf8)
            if row.name == Self.packing, section.version < 2 { value = Array(Self.text(CPUTopology()).utf8) }
            coder.field(row.name, &value, count: 0...Self.longestValue)
            let saved = String(decoding: value, as: UTF8.self)
            if saved != row.value {
                difference =
                    difference ?? "was saved on a machine with \(row.name): \(saved); this one has \(row.value)"
            }
        }
        if let difference { throw .badState(difference) }
        try coder.finish()
    }
}

extension FirmwareROM {
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: sizeBytes) }
}
