import Foundation
import VMProtocol

/// A VM as a QEMU command line asks for it.
struct VMRequest {
    var vm: VMDescription
    var isSnapshot = false
    var wantsHelp = false
    /// What is done in another way than was asked for: a line each, before the VM starts.
    private(set) var warnings: [String] = []
    /// `-drive` without a place gets one when the line is read.
    private var unplaced: [VMDescription.Disk] = []

    /// QEMU gives a VM 128 MiB.
    private static let defaultMemoryBytes: UInt64 = 128 << 20

    init() {
        vm = VMDescription(name: "labctl", memoryBytes: VMRequest.defaultMemoryBytes)
        // There is no window to show a screen in: what can be seen is the serial port.
        vm.console = .stdio
        vm.boot = "cad"
    }

    private func isTaken(_ slot: VMDescription.Disk.Slot) -> Bool { vm.disks.contains { $0.slot == slot } }

    private static let discConflict =
        "-hdc and -cdrom are both the secondary master; put the disk into -hdb or -hdd"

    mutating func setDisk(
        _ slot: VMDescription.Disk.Slot, path: String, format: String? = nil, readOnly: Bool = false,
        snapshot: Bool = false, writeErrors: VMDescription.WriteErrorPolicy? = nil, option: String
    ) throws(QEMUOptionError) {
        guard !isTaken(slot) else { throw QEMUOptionError("\(option): \(slot.rawValue) is taken already") }
        if slot == .hdc, vm.cdrom != nil { throw QEMUOptionError(VMRequest.discConflict) }
        var disk = VMDescription.Disk(slot: slot, path: path, format: format, readOnly: readOnly, snapshot: snapshot)
        disk.writeErrors = writeErrors
        vm.disks.append(disk)
    }

    mutating func setDisc(path: String, format: String?) throws(QEMUOptionError) {
        guard vm.cdrom == nil else { throw QEMUOptionError("there is one CD-ROM drive") }
        guard !isTaken(.hdc) else { throw QEMUOptionError(VMRequest.discConflict) }
        vm.cdrom = path
        vm.cdromFormat = format
    }

    private static let driveKeys = [
        "file", "format", "if", "index", "bus", "unit", "media", "readonly", "snapshot", "id", "cache", "aio",
        "werror", "rerror", "discard",
    ]

    /// `-drive`: QEMU's key list.
    mutating func addDrive(_ text: String) throws(QEMUOptionError) {
        let keys = try QEMUValues.keyList(text, known: VMRequest.driveKeys)
        if let interface = keys["if"], interface != "ide" {
            throw QEMUOptionError("if=\(interface) is not supported: disks are on IDE")
        }
        let file = keys["file"] ?? ""
        let readOnly = try QEMUValues.isOn(keys["readonly"], key: "readonly")
        let snapshot = try QEMUValues.isOn(keys["snapshot"], key: "snapshot")
        switch keys["media"] ?? "disk" {
        case "cdrom": return try setDisc(path: file, format: keys["format"])
        case "disk": break
        case let other: throw QEMUOptionError("media=\(other) is not supported: disk or cdrom")
        }
        guard !file.isEmpty else { throw QEMUOptionError("a disk needs file=") }
        var disk = VMDescription.Disk(
            slot: .hda, path: file, format: keys["format"], readOnly: readOnly, snapshot: snapshot)
        if let word = keys["werror"] {
            guard let policy = VMDescription.WriteErrorPolicy(rawValue: word) else {
                throw QEMUOptionError("werror=\(word) is not supported: report, ignore, stop or enospc")
            }
            disk.writeErrors = policy
        }
        if let place = try VMRequest.place(keys) {
            disk.slot = place
            try setDisk(
                place, path: file, format: disk.format, readOnly: readOnly, snapshot: snapshot,
                writeErrors: disk.writeErrors, option: "-drive")
        } else {
            unplaced.append(disk)
        }
    }

    private static func place(_ keys: [String: String]) throws(QEMUOptionError) -> VMDescription.Disk.Slot? {
        func number(_ key: String) throws(QEMUOptionError) -> Int? {
            guard let text = keys[key] else { return nil }
            return try QEMUValues.number(text, key: key)
        }
        var index = try number("index")
        let bus = try number("bus"), unit = try number("unit")
        if bus != nil || unit != nil {
            // Whatever is too large for an IDE drive is so in a sum that cannot overflow too.
            index = min(bus ?? 0, 1 << 32) * 2 + min(unit ?? 0, 1 << 32)
        }
        guard let index else { return nil }
        guard index < VMDescription.Disk.Slot.allCases.count else {
            throw QEMUOptionError("there are four IDE drives, 0 to 3, not \(index)")
        }
        return VMDescription.Disk.Slot.allCases[index]
    }

    /// `-device`: the few that are more than a drive.
    mutating func addDevice(_ text: String) throws(QEMUOptionError) {
        var parts = text.split(separator: ",", omittingEmptySubsequences: false)
        let kind = parts.isEmpty ? "" : String(parts.removeFirst())
        guard kind == "isa-debug-exit" else {
            throw QEMUOptionError("the device '\(kind)' is not supported; there is isa-debug-exit")
        }
        let keys = try QEMUValues.keyList(parts.joined(separator: ","), known: ["iobase", "iosize"])
        vm.debugExitPort = try QEMUValues.port(keys["iobase"] ?? "0x501")
    }

    /// `-machine`: the one there is, and what it may be told.
    mutating func setMachine(_ text: String) throws(QEMUOptionError) {
        let parts = text.split(separator: ",").map(String.init)
        for part in parts {
            if part.hasPrefix("accel=") {
                try setAccelerator(String(part.dropFirst(6)))
            } else if !["pc", "type=pc"].contains(part), !part.hasPrefix("pc-i440fx-") {
                throw QEMUOptionError("'\(part)' is not supported: the machine is pc (i440FX)")
            }
        }
    }

    /// `-accel`, with QEMU's names for engines that are its own: ours runs the guest then.
    mutating func setAccelerator(_ text: String) throws(QEMUOptionError) {
        // kvm:tcg and properties: what is asked for first counts.
        let name = String(text.split { $0 == ":" || $0 == "," }.first ?? "")
        if ["kvm", "tcg", "xen", "hax", "hvf", "whpx", "nvmm"].contains(name) {
            useOwnEngine(insteadOf: name)
        } else {
            vm.accelerator = try QEMUValues.accelerator(text)
        }
    }

    mutating func useOwnEngine(insteadOf name: String) {
        if name != "tcg" { substitute("\(name.uppercased()) is not used: the VM runs on labctl's own translator") }
        vm.accelerator = .jit
    }

    /// `-cpu`. What `host` would be is not known to the guest: it gets all that is implemented.
    mutating func setProcessor(_ text: String) {
        if text == "host" || text.hasPrefix("host,") {
            substitute("-cpu host is -cpu max: the guest does not run on this host's processor")
        }
        vm.cpu = text
    }

    /// `-smp`. There are no processors to plug in later, so that `maxcpus` only says how those that there are are packed.
    mutating func setProcessors(_ text: String) throws(QEMUOptionError) {
        let asked = try QEMUValues.topology(text)
        if asked.maximum > asked.topology.count {
            substitute("-smp maxcpus=\(asked.maximum): there are \(asked.topology.count), none can be added later")
        }
        vm.topology = asked.topology.count > 1 ? asked.topology : nil
    }

    private mutating func substitute(_ line: String) {
        if !warnings.contains(line) { warnings.append(line) }
    }

    /// `-rtc base=utc|localtime|DATE,clock=host|rt|vm`.
    mutating func setClock(_ text: String) throws(QEMUOptionError) {
        let keys = try QEMUValues.keyList(text, known: ["base", "clock", "driftfix"])
        switch keys["base"] {
        case nil, "utc": break
        case "localtime": vm.clockIsLocal = true
        case .some(let date): vm.clockSeconds = try QEMUValues.date(date)
        }
        switch keys["clock"] {
        case nil: break
        case "host", "rt": vm.clock = .host
        case "vm": vm.clock = .guest
        case .some(let other): throw QEMUOptionError("clock=\(other) is not supported: host, rt or vm")
        }
    }

    /// Nanoseconds of an instruction, as a power of two.
    private static let instructionShifts = 0...10
    private static let usualShift = 2

    /// `-icount [shift=]N|auto[,sleep=on|off][,align=off]`.
    mutating func setInstructionClock(_ text: String) throws(QEMUOptionError) {
        let isBare = text.first?.isNumber ?? false || text.hasPrefix("auto")
        let keys = try QEMUValues.keyList(isBare ? "shift=" + text : text, known: ["shift", "sleep", "align"])
        guard let shift = keys["shift"] else { throw QEMUOptionError("shift=N is missing") }
        if try QEMUValues.isOn(keys["align"], key: "align") { throw QEMUOptionError("align=on is not supported") }
        if shift == "auto" {
            substitute("-icount shift=auto is shift=\(Self.usualShift): following the host would not repeat")
            vm.instructionShift = Self.usualShift
        } else {
            let value = try QEMUValues.number(shift, key: "shift")
            guard Self.instructionShifts.contains(value) else {
                throw QEMUOptionError("shift=\(shift): an instruction takes 2^0 to 2^10 nanoseconds")
            }
            vm.instructionShift = value
        }
        if keys["sleep"] != nil { vm.skipsSleep = try !QEMUValues.isOn(keys["sleep"], key: "sleep") }
    }

    /// `-boot`: letters, or `order=`, `once=`, `menu=`, `strict=`.
    mutating func setBoot(_ text: String) throws(QEMUOptionError) {
        guard text.contains("=") else {
            vm.boot = try QEMUValues.bootOrder(text)
            return
        }
        // How long a picture is shown, and what the firmware does after nothing could be booted, is its own business here.
        let keys = try QEMUValues.keyList(
            text, known: ["order", "once", "menu", "strict", "splash", "splash-time", "reboot-timeout"])
        if let order = keys["order"] { vm.boot = try QEMUValues.bootOrder(order) }
        if let once = keys["once"] { vm.bootOnce = try QEMUValues.bootOrder(once) }
        if try QEMUValues.isOn(keys["menu"], key: "menu") { vm.bootMenu = true }
    }

    /// Places what has no place and looks at the whole.
    mutating func check() throws(QEMUOptionError) {
        for disk in unplaced {
            let free = VMDescription.Disk.Slot.allCases.first { slot in
                !isTaken(slot) && !(slot == .hdc && vm.cdrom != nil)
            }
            guard let free else { throw QEMUOptionError("-drive \(disk.path): all IDE drives are taken") }
            try setDisk(
                free, path: disk.path, format: disk.format, readOnly: disk.readOnly, snapshot: disk.snapshot,
                option: "-drive")
        }
        unplaced = []
        // As with QEMU, a drive without a disc.
        if vm.cdrom == nil, !isTaken(.hdc) { vm.cdrom = "" }
        if isSnapshot { for index in vm.disks.indices { vm.disks[index].snapshot = true } }
        if let topology = vm.topology, vm.accelerator == .verify {
            throw QEMUOptionError(
                "-accel verify compares the engines on one processor, not \(topology.count): leave out -smp")
        }
        if vm.kernel == nil, vm.initrd != nil || vm.append != nil {
            throw QEMUOptionError("-initrd and -append go with -kernel")
        }
    }

    /// The description with absolute paths: the VM process has a folder of its own.
    var description: VMDescription {
        func absolute(_ path: String?) -> String? {
            path.map { $0.isEmpty ? $0 : URL(fileURLWithPath: $0).path }
        }
        var result = vm
        for index in result.disks.indices { result.disks[index].path = absolute(result.disks[index].path) ?? "" }
        result.cdrom = absolute(vm.cdrom)
        result.floppy = absolute(vm.floppy)
        result.kernel = absolute(vm.kernel)
        result.initrd = vm.initrd.map { text in
            if FileManager.default.fileExists(atPath: text) { return absolute(text) ?? text }
            // Modules of a Multiboot kernel: `FILE words,FILE words`.
            return text.split(separator: ",").map { item in
                let words = item.split(separator: " ", maxSplits: 1).map(String.init)
                return ([absolute(words.first) ?? ""] + words.dropFirst()).joined(separator: " ")
            }.joined(separator: ",")
        }
        result.bios = absolute(vm.bios)
        result.debugFile = absolute(vm.debugFile)
        result.monitorSocket = absolute(vm.monitorSocket)
        return result
    }
}
