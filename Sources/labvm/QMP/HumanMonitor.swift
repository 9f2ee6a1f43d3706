import Glibc
import Images

/// The commands that people type, for `human-monitor-command`. Answers are text; an error is text too.
enum HumanMonitor {
    private struct Row: Sendable {
        let name: String
        let usage: String
        let run: @Sendable (MachineControl, [String]) throws(QMPError) -> String
    }

    private static let table: [Row] = [
        Row(name: "help", usage: "help -- these lines") { _, _ in
            table.map { $0.usage + "\n" }.joined()
        },
        Row(name: "info", usage: "info status|block|cpus|registers [-a]|snapshots|version|name|jit") {
            control, words throws(QMPError) in
            switch words.first {
            case "status":
                return "VM status: \(control.status.rawValue)\n"
            case "version": return "7.2.0 (labctl)\n"
            case "name": return control.name + "\n"
            case "block": return control.drives.map { $0.summary + "\n" }.joined()
            case "cpus":
                return control.machine.processors.indices.map { index in
                    "\(index == control.selectedProcessor ? "*" : " ") CPU #\(index): thread_id=\(getpid())\n"
                }.joined()
            case "registers":
                return try control.registers(
                    of: words.contains("-a") ? Array(control.machine.processors.indices) : nil)
            case "snapshots":
                let list = try control.snapshots
                if list.isEmpty { return "There is no snapshot available.\n" }
                return "List of snapshots present on all disks:\n"
                    + SnapshotTable.text(list) { name in
                        // Names come from an image, and the text goes to a terminal.
                        String(
                            name.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : Character($0) })
                    }
            case "jit":
                let rows = control.translatorRows
                return rows.isEmpty
                    ? "everything is interpreted\n" : rows.map { "\($0.name): \($0.value)\n" }.joined()
            default: throw .generic("info knows status, block, cpus, registers, snapshots, version, name and jit")
            }
        },
        Row(name: "cpu", usage: "cpu N -- whose registers 'info registers' shows") {
            control, words throws(QMPError) in
            guard let number = words.first.flatMap({ Int64($0) }) else { throw .generic("cpu needs a number") }
            try control.selectProcessor(number)
            return ""
        },
        Row(name: "nmi", usage: "nmi -- a non-maskable interrupt for all CPUs") { control, _ in
            control.machine.injectNMI()
            return ""
        },
        Row(name: "stop", usage: "stop -- pauses the guest") { control, _ in
            control.pause()
            return ""
        },
        Row(name: "cont", usage: "cont -- resumes the guest") { control, _ throws(QMPError) in
            try control.resume()
            return ""
        },
        Row(name: "system_reset", usage: "system_reset") { control, _ in
            control.reset()
            return ""
        },
        Row(name: "system_powerdown", usage: "system_powerdown") { control, _ in
            control.powerDown()
            return ""
        },
        Row(name: "quit", usage: "quit") { control, _ in
            control.quit()
            return ""
        },
        Row(name: "sendkey", usage: "sendkey KEY[-KEY…]") { control, words throws(QMPError) in
            let keys = (words.first ?? "").split(separator: "-").map(String.init)
            try control.press(keys, holdMilliseconds: 100)
            return ""
        },
        Row(name: "screendump", usage: "screendump FILE [ppm|png]") { control, words throws(QMPError) in
            guard let path = words.first else { throw .generic("screendump needs a file name") }
            try control.screendump(to: path, format: words.count > 1 ? words[1] : "ppm")
            return ""
        },
        Row(name: "savevm", usage: "savevm NAME -- keeps the whole VM in its qcow2 disks") {
            control, words throws(QMPError) in
            try control.saveSnapshot(name(words, "savevm"))
            return ""
        },
        Row(name: "loadvm", usage: "loadvm NAME -- makes the VM what it was then") { control, words throws(QMPError) in
            try control.loadSnapshot(name(words, "loadvm"))
            return ""
        },
        Row(name: "delvm", usage: "delvm NAME") { control, words throws(QMPError) in
            try control.deleteSnapshot(name(words, "delvm"))
            return ""
        },
        Row(name: "change", usage: "change DRIVE FILE [FORMAT]") { control, words throws(QMPError) in
            guard words.count >= 2 else { throw .generic("change needs a drive and a file") }
            try control.insert(path: words[1], format: words.count > 2 ? words[2] : nil, into: words[0])
            return ""
        },
        Row(name: "eject", usage: "eject DRIVE") { control, words throws(QMPError) in
            guard let drive = words.last else { throw .generic("eject needs a drive") }
            try control.eject(drive)
            return ""
        },
    ]

    private static func name(_ words: [String], _ command: String) throws(QMPError) -> String {
        guard let name = words.first else { throw .generic("\(command) needs the name of a snapshot") }
        return name
    }

    /// Runs one line.
    static func run(_ line: String, _ control: MachineControl) -> String {
        let words = line.split(whereSeparator: \.isWhitespace).map(String.init)
        guard let name = words.first else { return "" }
        guard let row = table.first(where: { $0.name == name }) else { return "unknown command: '\(name)'\r\n" }
        do {
            return try row.run(control, Array(words.dropFirst()))
        } catch {
            return "Error: \(error.text)\r\n"
        }
    }
}
