import VMProtocol

/// A command line of `qemu-system-x86_64` that cannot be followed.
struct QEMUOptionError: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

/// One option: a row of `QEMUOptions.table`. Every consumer (parser, help, tests) reads the same rows.
struct QEMUOption: Sendable {
    enum Action: Sendable {
        case flag(@Sendable (inout VMRequest) -> Void)
        case value(String, @Sendable (inout VMRequest, String) throws(QEMUOptionError) -> Void)
        /// QEMU has it, we do not; why, or what to use.
        case refused(takesValue: Bool, String)
    }

    /// Without the dash; QEMU's spelling first.
    let names: [String]
    let help: String
    let action: Action
}

/// The options of `labctl run`: QEMU's own, single or double dash.
enum QEMUOptions {
    /// Reads a command line. A word that is no option is the disk in `hda`, as with QEMU.
    static func parse(_ words: [String]) throws(QEMUOptionError) -> VMRequest {
        var request = VMRequest()
        var rest = words[...]
        while let word = rest.popFirst() {
            guard word.hasPrefix("-"), word.count > 1 else {
                try request.setDisk(.hda, path: word, option: word)
                continue
            }
            let name = String(word.drop { $0 == "-" })
            guard let option = table.first(where: { $0.names.contains(name) }) else {
                throw QEMUOptionError("\(word): invalid option; 'labctl run -help' lists those there are")
            }
            switch option.action {
            case .flag(let apply): apply(&request)
            case .value(_, let apply):
                guard let value = rest.popFirst() else { throw QEMUOptionError("\(word): requires an argument") }
                do {
                    try apply(&request, value)
                } catch {
                    throw QEMUOptionError("\(word) \(value): \(error.description)")
                }
            case .refused(_, let reason): throw QEMUOptionError("\(word) is not supported: \(reason)")
            }
        }
        try request.check()
        return request
    }

    /// The help text.
    static var help: String {
        let width = 26
        return table.compactMap { option in
            let shown: String
            switch option.action {
            case .flag: shown = option.names.map { "-\($0)" }.joined(separator: ", ")
            case .value(let value, _): shown = option.names.map { "-\($0)" }.joined(separator: ", ") + " \(value)"
            case .refused: return nil
            }
            let gap = String(repeating: " ", count: max(2, width - shown.count))
            return "  \(shown)\(gap)\(option.help)\n"
        }.joined()
    }

    private static let noDisplay = "there is no window; use -nographic, and 'screendump' over -qmp for the screen"
    private static let noNetwork = "there is no network yet; -nic none says so"
    private static let noDebugger = "there is no debugger stub yet"

    static let table: [QEMUOption] = [
        QEMUOption(
            names: ["m"], help: "memory: MiB, or with a unit (default 128)",
            action: .value("SIZE") { request, value throws(QEMUOptionError) in
                request.vm.memoryBytes = try QEMUValues.memory(value)
            }),
        QEMUOption(
            names: ["hda"], help: "disk image, primary master",
            action: .value("FILE") { request, value throws(QEMUOptionError) in
                try request.setDisk(.hda, path: value, option: "-hda")
            }),
        QEMUOption(
            names: ["hdb"], help: "disk image, primary slave",
            action: .value("FILE") { request, value throws(QEMUOptionError) in
                try request.setDisk(.hdb, path: value, option: "-hdb")
            }),
        QEMUOption(
            names: ["hdc"], help: "disk image, secondary master",
            action: .value("FILE") { request, value throws(QEMUOptionError) in
                try request.setDisk(.hdc, path: value, option: "-hdc")
            }),
        QEMUOption(
            names: ["hdd"], help: "disk image, secondary slave",
            action: .value("FILE") { request, value throws(QEMUOptionError) in
                try request.setDisk(.hdd, path: value, option: "-hdd")
            }),
        QEMUOption(
            names: ["cdrom"], help: "CD image, secondary master",
            action: .value("FILE") { request, value throws(QEMUOptionError) in
                try request.setDisc(path: value, format: nil)
            }),
        QEMUOption(
            names: ["fda"], help: "floppy image, drive A",
            action: .value("FILE") { request, value in
                request.vm.floppy = value
            }),
        QEMUOption(names: ["fdb"], help: "", action: .refused(takesValue: true, "there is one floppy drive, -fda")),
        QEMUOption(
            names: ["drive"], help: "file=F[,format=…][,index=N][,media=disk|cdrom][,readonly=on][,snapshot=on]",
            action: .value("LIST") { request, value throws(QEMUOptionError) in
                try request.addDrive(value)
            }),
        QEMUOption(
            names: ["snapshot"], help: "writes to disks go to overlays that are gone at the end",
            action: .flag { $0.isSnapshot = true }),
        QEMUOption(
            names: ["loadvm"], help: "begins as the VM was when 'savevm NAME' kept it",
            action: .value("NAME") { request, value in
                request.vm.loadSnapshot = value
            }),
        QEMUOption(
            names: ["boot"], help: "order of a floppy, c disk, d CD-ROM, n network; or order=…,once=…,menu=on",
            action: .value("LETTERS") { request, value throws(QEMUOptionError) in
                try request.setBoot(value)
            }),
        QEMUOption(
            names: ["kernel"], help: "Linux kernel to start without a boot loader",
            action: .value("FILE") { request, value in
                request.vm.kernel = value
            }),
        QEMUOption(
            names: ["initrd"], help: "initial RAM disk for -kernel",
            action: .value("FILE") { request, value in
                request.vm.initrd = value
            }),
        QEMUOption(
            names: ["append"], help: "command line for -kernel",
            action: .value("TEXT") { request, value in
                request.vm.append = value
            }),
        QEMUOption(
            names: ["bios"], help: "firmware (default: SeaBIOS of this host)",
            action: .value("FILE") { request, value in
                request.vm.bios = value
            }),
        QEMUOption(
            names: ["name"], help: "what the VM is called",
            action: .value("NAME") { request, value in
                request.vm.name = String(value.split(separator: ",").first ?? "labctl")
            }),
        QEMUOption(
            names: ["nographic"], help: "serial port on this terminal; Ctrl-A x quits, Ctrl-A h helps",
            action: .flag { $0.vm.console = .stdio }),
        QEMUOption(
            names: ["serial"], help: "stdio, mon:stdio, none or null",
            action: .value("DEVICE") { request, value throws(QEMUOptionError) in
                request.vm.console = try QEMUValues.serial(value)
            }),
        QEMUOption(
            names: ["monitor"], help: "none (use -qmp)",
            action: .value("DEVICE") { _, value throws(QEMUOptionError) in
                try QEMUValues.require(value, among: ["none", "null"], else: "use -qmp unix:PATH,server=on,wait=off")
            }),
        QEMUOption(
            names: ["qmp"], help: "unix:PATH[,server=on,wait=off]: machine protocol on a socket",
            action: .value("DEVICE") { request, value throws(QEMUOptionError) in
                request.vm.monitorSocket = try QEMUValues.unixServer(value)
            }),
        QEMUOption(
            names: ["display"], help: "none",
            action: .value("TYPE") { _, value throws(QEMUOptionError) in
                try QEMUValues.require(value, among: ["none"], else: noDisplay)
            }),
        QEMUOption(
            names: ["vga"], help: "std",
            action: .value("TYPE") { _, value throws(QEMUOptionError) in
                try QEMUValues.require(value, among: ["std"], else: "the display adapter is std")
            }),
        QEMUOption(
            names: ["machine", "M"], help: "pc",
            action: .value("TYPE") { request, value throws(QEMUOptionError) in
                try request.setMachine(value)
            }),
        QEMUOption(
            names: ["accel"], help: "jit (default), interp or verify",
            action: .value("ENGINE") { request, value throws(QEMUOptionError) in
                try request.setAccelerator(value)
            }),
        QEMUOption(
            names: ["sandbox"], help: "auto (default), on or off: what the VM process gives up before the guest runs",
            action: .value("MODE") { request, value throws(QEMUOptionError) in
                request.vm.sandbox = try QEMUValues.sandbox(value)
            }),
        QEMUOption(
            names: ["smp"], help: "N, or cpus=,sockets=,cores=,threads=: processors (default 1)",
            action: .value("N") { request, value throws(QEMUOptionError) in
                try request.setProcessors(value)
            }),
        QEMUOption(
            names: ["rtc"], help: "base=utc|localtime|DATE, clock=vm (time that the guest got; default) or host",
            action: .value("LIST") { request, value throws(QEMUOptionError) in
                try request.setClock(value)
            }),
        QEMUOption(
            names: ["icount"], help: "shift=N[,sleep=off]: time is counted, 2^N ns an instruction",
            action: .value("LIST") { request, value throws(QEMUOptionError) in
                try request.setInstructionClock(value)
            }),
        QEMUOption(
            names: ["cpu"], help: "processor: x86-64-v2 (default), qemu64, Nehalem, max …, then +feature,-feature",
            action: .value("MODEL") { request, value in
                request.setProcessor(value)
            }),
        QEMUOption(
            names: ["smbios"], help: "type=0|1,FIELD=TEXT,…: what the firmware tells about the machine",
            action: .value("LIST") { request, value throws(QEMUOptionError) in
                try request.addSMBIOS(value)
            }),
        QEMUOption(
            names: ["fw_cfg"], help: "[name=]opt/…,file=F or string=TEXT: a file that the guest can ask for",
            action: .value("LIST") { request, value throws(QEMUOptionError) in
                try request.addFirmwareFile(value)
            }),
        QEMUOption(
            names: ["uuid"], help: "the machine's identity, as -smbios type=1,uuid=",
            action: .value("UUID") { request, value throws(QEMUOptionError) in
                try request.addSMBIOS("type=1,uuid=\(value)")
            }),
        QEMUOption(
            names: ["enable-kvm"], help: "accepted: the VM runs on labctl's own translator",
            action: .flag { $0.useOwnEngine(insteadOf: "kvm") }),
        QEMUOption(
            names: ["device"], help: "isa-debug-exit[,iobase=0x501]",
            action: .value("LIST") { request, value throws(QEMUOptionError) in
                try request.addDevice(value)
            }),
        QEMUOption(
            names: ["nic", "net"], help: "none",
            action: .value("LIST") { _, value throws(QEMUOptionError) in
                try QEMUValues.require(value, among: ["none"], else: noNetwork)
            }),
        QEMUOption(
            names: ["parallel"], help: "none",
            action: .value("DEVICE") { _, value throws(QEMUOptionError) in
                try QEMUValues.require(value, among: ["none", "null"], else: "there is no parallel port")
            }),
        QEMUOption(names: ["no-reboot"], help: "a guest reset ends the VM", action: .flag { $0.vm.noReboot = true }),
        QEMUOption(
            names: ["no-shutdown"], help: "the process stays after the guest powered off",
            action: .flag { $0.vm.noShutdown = true }),
        QEMUOption(
            names: ["d"], help: "what to log: int, in_asm, cpu_reset, guest_errors …",
            action: .value("ITEMS") { request, value in
                request.vm.debugItems += value.split(separator: ",").map(String.init)
            }),
        QEMUOption(
            names: ["D"], help: "file for -d (default: standard error)",
            action: .value("FILE") { request, value in
                request.vm.debugFile = value
            }),
        QEMUOption(
            names: ["perfmap"], help: "names translated code for perf in /tmp/perf-PID.map",
            action: .flag { $0.vm.perfMap = true }),
        QEMUOption(names: ["h", "help"], help: "this list", action: .flag { $0.wantsHelp = true }),
        QEMUOption(names: ["netdev"], help: "", action: .refused(takesValue: true, noNetwork)),
        QEMUOption(names: ["vnc"], help: "", action: .refused(takesValue: true, noDisplay)),
        QEMUOption(names: ["sdl", "curses", "full-screen"], help: "", action: .refused(takesValue: false, noDisplay)),
        QEMUOption(names: ["spice"], help: "", action: .refused(takesValue: true, noDisplay)),
        QEMUOption(names: ["s", "S"], help: "", action: .refused(takesValue: false, noDebugger)),
        QEMUOption(names: ["gdb"], help: "", action: .refused(takesValue: true, noDebugger)),
        QEMUOption(
            names: ["daemonize"], help: "",
            action: .refused(takesValue: false, "use a lab file and 'labctl up'")),
        QEMUOption(names: ["usb"], help: "", action: .refused(takesValue: false, "there is no USB")),
        QEMUOption(names: ["usbdevice"], help: "", action: .refused(takesValue: true, "there is no USB")),
        QEMUOption(names: ["soundhw", "audiodev"], help: "", action: .refused(takesValue: true, "there is no sound")),
        QEMUOption(names: ["chardev", "mon"], help: "", action: .refused(takesValue: true, "use -serial and -qmp")),
        QEMUOption(names: ["blockdev"], help: "", action: .refused(takesValue: true, "use -drive")),
        QEMUOption(
            names: [
                "object", "global", "acpitable", "option-rom", "L", "k",
                "pidfile", "incoming", "watchdog", "readconfig", "msg", "trace", "virtfs", "fsdev",
                "numa", "pflash", "sd", "mtdblock", "dtb", "runas", "chroot", "set", "add-fd",
            ], help: "",
            action: .refused(takesValue: true, "labctl has nothing like it")),
        QEMUOption(
            names: [
                "nodefaults", "no-user-config", "no-acpi", "no-hpet", "no-fd-bootchk", "win2k-hack",
                "singlestep", "only-migratable", "preconfig", "mem-prealloc", "overcommit",
            ], help: "",
            action: .refused(takesValue: false, "labctl has nothing like it")),
    ]
}
