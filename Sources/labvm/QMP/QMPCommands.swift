import Glibc
import VMProtocol

/// One QMP command: a row of `QMPCommands.table`.
struct QMPCommand: Sendable {
    let name: String
    /// Names of the arguments it takes; others are refused.
    let arguments: [String]
    let run: @Sendable (MachineControl, QMPArguments) throws(QMPError) -> JSONValue
}

/// The commands, and the greeting that begins a connection.
enum QMPCommands {
    /// QEMU 7.2 is whose protocol and machine these are.
    static let version: JSONValue = [
        "qemu": ["major": 7, "minor": 2, "micro": 0], "package": "labctl",
    ]

    static let greeting: JSONValue = ["QMP": ["version": version, "capabilities": []]]

    /// `snapshot-save` and its like: QEMU's names of the disks, and of the one that holds the machine.
    private static func snapshotJob(_ kind: MachineControl.SnapshotJob) -> QMPCommand {
        let hasState = kind != .delete
        return QMPCommand(
            name: kind.rawValue, arguments: ["job-id", "tag", "devices"] + (hasState ? ["vmstate"] : [])
        ) { control, arguments throws(QMPError) in
            let devices = try arguments.array("devices").compactMap(\.stringValue)
            try control.run(
                kind, arguments.string("tag"), carrier: hasState ? arguments.string("vmstate") : nil,
                devices: devices, as: arguments.string("job-id"))
            return [:]
        }
    }

    static let table: [QMPCommand] = [
        QMPCommand(name: "qmp_capabilities", arguments: ["enable"]) { _, _ throws(QMPError) in
            throw QMPError(
                kind: .commandNotFound, text: "Capabilities negotiation is already complete, command ignored")
        },
        QMPCommand(name: "query-commands", arguments: []) { _, _ in
            .array(table.map { ["name": .string($0.name)] })
        },
        QMPCommand(name: "query-version", arguments: []) { _, _ in version },
        QMPCommand(name: "query-name", arguments: []) { control, _ in ["name": .string(control.name)] },
        QMPCommand(name: "query-status", arguments: []) { control, _ in
            [
                "running": .bool(control.status == .running), "singlestep": false,
                "status": .string(control.status.rawValue),
            ]
        },
        QMPCommand(name: "stop", arguments: []) { control, _ in
            control.pause()
            return [:]
        },
        QMPCommand(name: "cont", arguments: []) { control, _ throws(QMPError) in
            try control.resume()
            return [:]
        },
        QMPCommand(name: "system_reset", arguments: []) { control, _ in
            control.reset()
            return [:]
        },
        QMPCommand(name: "system_powerdown", arguments: []) { control, _ in
            control.powerDown()
            return [:]
        },
        QMPCommand(name: "quit", arguments: []) { control, _ in
            control.quit()
            return [:]
        },
        QMPCommand(name: "screendump", arguments: ["filename", "device", "head", "format"]) {
            control, arguments throws(QMPError) in
            let path = try arguments.string("filename")
            let format = try arguments.optionalString("format") ?? "ppm"
            try control.screendump(to: path, format: format)
            return [:]
        },
        QMPCommand(name: "send-key", arguments: ["keys", "hold-time"]) { control, arguments throws(QMPError) in
            var keys: [String] = []
            for item in try arguments.array("keys") {
                guard let name = item["data"]?.stringValue else {
                    throw .generic("Invalid parameter 'keys': expected objects of type qcode")
                }
                keys.append(name)
            }
            try control.press(keys, holdMilliseconds: try arguments.optionalInteger("hold-time") ?? 100)
            return [:]
        },
        QMPCommand(name: "query-cpus-fast", arguments: []) { control, _ in
            .array(
                control.machine.processors.enumerated().map { index, place in
                    [
                        "cpu-index": .int(Int64(index)), "qom-path": .string("/machine/unattached/device[\(index)]"),
                        "target": "x86_64", "thread-id": .int(Int64(getpid())),
                        "props": [
                            "socket-id": .int(Int64(place.socket)), "core-id": .int(Int64(place.core)),
                            "thread-id": .int(Int64(place.thread)),
                        ],
                    ]
                })
        },
        QMPCommand(name: "inject-nmi", arguments: []) { control, _ in
            control.machine.injectNMI()
            return [:]
        },
        QMPCommand(name: "query-block", arguments: []) { control, _ in .array(control.drives.map(\.queryBlock)) },
        QMPCommand(
            name: "blockdev-change-medium",
            arguments: ["device", "id", "filename", "format", "read-only-mode", "force"]
        ) { control, arguments throws(QMPError) in
            try control.insert(
                path: arguments.string("filename"), format: arguments.optionalString("format"),
                into: try drive(arguments))
            return [:]
        },
        QMPCommand(name: "eject", arguments: ["device", "id", "force"]) { control, arguments throws(QMPError) in
            try control.eject(try drive(arguments))
            return [:]
        },
        QMPCommand(name: "add-fd", arguments: ["fdset-id", "opaque"]) { control, arguments throws(QMPError) in
            guard let file = control.offered else {
                throw .generic("No file descriptor supplied via SCM_RIGHTS")
            }
            return try control.files.add(
                file, to: arguments.optionalInteger("fdset-id"), note: arguments.optionalString("opaque"))
        },
        QMPCommand(name: "remove-fd", arguments: ["fdset-id", "fd"]) { control, arguments throws(QMPError) in
            guard let number = try arguments.optionalInteger("fdset-id") else {
                throw .generic("Parameter 'fdset-id' is missing")
            }
            try control.files.remove(number)
            return [:]
        },
        QMPCommand(name: "query-fdsets", arguments: []) { control, _ in control.files.list },
        // Ours: what a person could read on the screen; `graphics` where characters were recognised by their shapes.
        QMPCommand(name: "x-query-screen-text", arguments: []) { control, _ throws(QMPError) in
            try control.screenText()
        },
        snapshotJob(.save), snapshotJob(.load), snapshotJob(.delete),
        QMPCommand(name: "query-jobs", arguments: []) { control, _ in control.jobs.list },
        QMPCommand(name: "job-dismiss", arguments: ["id"]) { control, arguments throws(QMPError) in
            try control.jobs.dismiss(try arguments.string("id"), announce: control.announce)
            return [:]
        },
        // Ours: the steps of a lab's snapshot (Checkpoint.swift).
        QMPCommand(name: "x-snapshot-begin", arguments: []) { control, _ throws(QMPError) in
            try control.beginCheckpoint()
            return [:]
        },
        QMPCommand(name: "x-snapshot-save", arguments: ["state", "disks"]) { control, arguments throws(QMPError) in
            var disks: [Checkpoint.Files] = []
            for item in try arguments.array("disks") {
                guard let slot = diskSlot(item["slot"]), let overlay = item["overlay"]?.stringValue,
                    let frozen = item["frozen"]?.stringValue
                else { throw .generic("Invalid parameter 'disks': expected slot, overlay and frozen") }
                disks.append(Checkpoint.Files(slot: slot, overlay: overlay, frozen: frozen))
            }
            try control.saveCheckpoint(state: try arguments.string("state"), disks: disks)
            return [:]
        },
        QMPCommand(name: "x-snapshot-end", arguments: ["keep"]) { control, arguments throws(QMPError) in
            try control.endCheckpoint(keeping: try arguments.array("keep").compactMap { diskSlot($0) })
            return [:]
        },
        // Ours: what of the sandbox holds, and what the translator did.
        QMPCommand(name: "x-query-sandbox", arguments: []) { control, _ in control.sandbox.json },
        QMPCommand(name: "x-query-jit", arguments: []) { control, _ in
            .object(Dictionary(uniqueKeysWithValues: control.translatorRows.map { ($0.name, .int(Int64($0.value))) }))
        },
        QMPCommand(name: "human-monitor-command", arguments: ["command-line", "cpu-index"]) {
            control, arguments throws(QMPError) in
            let selected = control.selectedProcessor
            if let number = try arguments.optionalInteger("cpu-index") { try control.selectProcessor(number) }
            let answer = HumanMonitor.run(try arguments.string("command-line"), control)
            // For this one line.
            if try arguments.optionalInteger("cpu-index") != nil { control.selectedProcessor = selected }
            return .string(answer)
        },
    ]

    private static func diskSlot(_ value: JSONValue?) -> VMDescription.Disk.Slot? {
        value?.stringValue.flatMap { VMDescription.Disk.Slot(rawValue: $0) }
    }

    private static func drive(_ arguments: QMPArguments) throws(QMPError) -> String {
        if let id = try arguments.optionalString("id") { return id }
        return try arguments.string("device")
    }
}
