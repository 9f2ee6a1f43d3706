/// `vms`: the machines.

/// An entry of `vms` before it is known to be whole.
struct VMDraft: Sendable {
    var vm: VM
    var replicas: Replicas?
    var smbios: [SMBIOSField] = []
    var kernel: LabPath?
    var initrd: LabPath?
    var append: String?
    var slots = DiskSlots()
    var cpu = CPUDraft()
    var cloudInit: CloudInitDraft?
    var files: [CloudSeed.File] = []
    var sshKeys: [CloudSeed.PublicKey] = []
    var fromSnapshot: String?
    var warm: WarmRecipe?

    init(name: String = "") { vm = VM(name: name) }

    /// A PC needs some room for its firmware; the upper end is what 36 address bits hold.
    static let memorySizes = ByteSize.mebibytes(2)...ByteSize.gibibytes(64)
    static let replicaCounts = 1...999
    static let cpuCounts = 1...64
    static let maximumCount = 1000
    private static let restartSlips = [
        "never": "no", "false": "no", "unless-stopped": "always", "on_failure": "on-failure",
    ]

    /// Joins the parts of the VM.
    mutating func finish(_ scope: DecodingScope) {
        vm.set(replicas)
        for name in vm.instanceNames.prefix(vm.roster == nil ? 0 : vm.instanceNames.count)
        where !Names.check(name, at: vm.spans.value("replicas"), scope) { break }
        vm.disks = slots.disks
        vm.accelerator = cpu.accelerator
        vm.processor = cpu.model
        vm.cpuPercent = cpu.limit
        vm.nice = cpu.nice
        vm.smbios = smbios
        if cloudInit != nil || !files.isEmpty || !sshKeys.isEmpty {
            var seed = cloudInit?.seed ?? CloudSeed()
            seed.files = files
            seed.sshKeys = sshKeys
            vm.seed = seed
        }
        if let fromSnapshot, fromSnapshot != MachineOrigin.warmName {
            vm.origin = .snapshot(fromSnapshot)
        } else if fromSnapshot != nil || warm != nil {
            vm.origin = .warm(warm ?? WarmRecipe())
        }
        if let kernel { vm.kernel = KernelBoot(kernel: kernel, initrd: initrd, append: append ?? "") }
    }

    /// What cloud-init reads is a CD in the one drive that there is.
    private static let seedRules = ["cloud_init", "files", "ssh_keys"].flatMap { key in
        ["cdrom", "disks.hdc"].map { other in
            SectionRule.exclusive(
                key, other, because: "are both in the secondary master's place",
                help: other == "cdrom"
                    ? "give the CD as a read-only disk: hdd: { image: NAME, mode: read-only }"
                    : "move the disk to `hdb` or `hdd`")
        }
    }

    static let table = SectionTable<VMDraft>(
        id: "vm", noun: "VM", plural: "VMs", "A virtual PC, or a group of equal ones.", spans: \.vm.spans,
        rules: seedRules + [
            .exclusive(
                "disks.hdc", "cdrom", because: "are both the secondary master", help: "move the disk to `hdb` or `hdd`"),
            .requires(key: "initrd", needed: "kernel"), .requires(key: "append", needed: "kernel"),
            .requiresAny(key: "identity", of: ["from_snapshot", "warm"]),
        ],
        keys: [
            LabKey(
                "replicas", .replicas, \.replicas,
                "Makes a group of this many equal VMs, numbered `NAME-01`, `NAME-02`, …, or, with `{ from: roster.csv }`, of one "
                    + "VM for each row of a list. `${index}`, `${name}` and `${row.COLUMN}` in the entry are the VM's own.",
                synonyms: ["count", "scale", "roster"]),
            LabKey(
                "memory", .size(memorySizes, granule: .kibibytes(4)), \.vm.memory, defaultOf: VMDraft(), "Memory.",
                synonyms: ["mem", "ram", "m"]),
            LabKey(
                "cpus", .integer(cpuCounts), \.vm.cpus, defaultOf: VMDraft(), "Number of virtual CPUs.",
                synonyms: ["smp", "vcpus", "cores"]),
            LabKey(
                "cpu",
                .section(
                    CPUDraft.table, fresh: CPUDraft(), help: { "write { accel: \($0) }" },
                    finish: { draft, _ in draft }),
                \.cpu, defaultOf: VMDraft(), "How the virtual CPUs are run.", synonyms: ["processor"]),
            LabKey(
                "disks", .section(DiskSlots.table, fresh: DiskSlots(), finish: { slots, _ in slots }), \.slots,
                defaultOf: VMDraft(), "Disks by IDE slot.", synonyms: ["drives", "volumes", "storage"]),
            LabKey(
                "cdrom", .imageReference, \.vm.cdrom,
                "A read-only CD: the name of an entry of `images`, or a path. It is the secondary master, so it excludes "
                    + "`hdc`.",
                synonyms: ["iso", "cd", "dvd"]),
            LabKey(
                "fda", .imageReference, \.vm.floppy,
                "A read-only floppy in drive A: the name of an entry of `images`, or a path.", synonyms: ["floppy"]),
            LabKey(
                "boot", .bootOrder, \.vm.boot, defaultOf: VMDraft(),
                "Boot devices: `c` disk, `d` CD, `a` floppy, `n` network; several letters are an order.",
                synonyms: ["boot_order", "bootorder"]),
            LabKey(
                "kernel", .path, \.kernel, "A Linux kernel to boot directly, without a boot loader.",
                synonyms: ["vmlinuz", "linux"]),
            LabKey("initrd", .path, \.initrd, "The initial RAM disk of `kernel`.", synonyms: ["initramfs", "ramdisk"]),
            LabKey("append", .line, \.append, "The command line of `kernel`.", synonyms: ["cmdline", "args"]),
            LabKey(
                "cloud_init",
                .section(CloudInitDraft.table, fresh: CloudInitDraft(), finish: { draft, _ in draft }), \.cloudInit,
                "What cloud-init does in the guest.", synonyms: ["cloud-init", "cloudinit", "user_data"]),
            LabKey(
                "files", .list(of: GuestFileDraft.type), \.files, defaultOf: VMDraft(),
                "Files that cloud-init writes in the guest.", synonyms: ["write_files"]),
            LabKey(
                "ssh_keys", .list(of: .publicKey), \.sshKeys, defaultOf: VMDraft(),
                "Public keys, or paths of their files, that cloud-init lets log in as its default user.",
                synonyms: ["ssh_authorized_keys", "authorized_keys", "ssh_key"]),
            LabKey(
                "ready",
                .section(
                    ReadyDraft.table, fresh: ReadyDraft(), help: { "write { console: \"\($0)\" }" },
                    finish: { draft, _ in draft.readiness }),
                \.vm.ready, "What says that the VM is up. Without it a VM is ready when it runs.",
                synonyms: ["healthcheck", "wait", "wait_for"]),
            LabKey(
                "depends_on", .list(of: .name, isUnique: true), \.vm.dependsOn, defaultOf: VMDraft(),
                "VMs that have to be ready before this one starts; a group means all of its VMs.",
                synonyms: ["depends", "after", "requires", "needs", "dependson"]),
            LabKey(
                "networks", .list(of: .name), \.vm.networks, defaultOf: VMDraft(),
                "Names of entries of `networks`; one network card each.", synonyms: ["nics", "net"]),
            LabKey(
                "restart", .choice(RestartPolicy.allCases, slips: restartSlips), \.vm.restart, defaultOf: VMDraft(),
                "Whether a VM is started again, after a pause that doubles, when it ends without being asked to: `on-failure` "
                    + "when it failed, crashed or was killed, `always` also when its guest powered off."),
            LabKey(
                "stop_grace_period", .duration(.seconds(0)...(.minutes(60))), \.vm.stopGracePeriod,
                defaultOf: VMDraft(),
                "How long the guest gets to power off before it is stopped; `0s` does not ask it.",
                synonyms: ["grace", "stop_timeout", "shutdown_timeout"]),
            LabKey(
                "login",
                .section(
                    LoginDraft.table, fresh: LoginDraft(), help: { "write { user: \($0) }" },
                    finish: { draft, _ in draft.whole }),
                \.vm.login, "How `exec`, `cp` and `check` log in on the console by themselves.",
                synonyms: ["credentials", "auth", "user"]),
            LabKey(
                "provision", .list(of: StepDraft.type), \.vm.provision, defaultOf: VMDraft(),
                "Steps, as those of `build`, that are done once after the VM got fresh overlays, when it is ready; again after "
                    + "`reset`.",
                synonyms: ["provisioners", "setup", "post", "steps"]),
            LabKey(
                "ignition", .ignitionSource, \.vm.ignition,
                "What Ignition (Fedora CoreOS, Flatcar) does at the first boot: a mapping, text of several lines, or the path of "
                    + "a file. The guest reads it through the firmware's configuration device.",
                synonyms: ["butane", "ign"]),
            LabKey(
                "smbios", .section(SMBIOSDraft.table, fresh: SMBIOSDraft(), finish: { draft, _ in draft.fields }),
                \.smbios,
                defaultOf: VMDraft(), "What the firmware tells about the machine (`dmidecode`, /sys/class/dmi/id).",
                synonyms: ["dmi", "firmware"]),
            LabKey(
                "checks", CheckDraft.listType, \.vm.checks, defaultOf: VMDraft(),
                "What has to be true of the VM: `labctl check` grades it.", synonyms: ["tests", "grading", "asserts"]),
            LabKey(
                "from_snapshot", .name, \.fromSnapshot,
                "The VM is not switched on but goes on from a saved machine, on disks of its own: `warm`, a machine like it "
                    + "that is booted once, or the name of a snapshot of this lab. `reset` goes back there.",
                synonyms: ["snapshot", "clone", "clone_of"]),
            LabKey(
                "warm",
                .section(
                    OriginDraft.table, fresh: OriginDraft(), finish: { draft, _ in draft.recipe }),
                \.warm, "What is done with the machine that `from_snapshot: warm` means before it is saved.",
                synonyms: ["warmup", "warm_up"]),
            LabKey(
                "identity", .guestIdentity, \.vm.identity,
                "What makes a clone another machine, once it runs: `debian` gives it a host name, a machine-id, SSH host keys "
                    + "and the time of its own, or steps.",
                synonyms: ["personality"]),
            LabKey(
                "clock", .choice(ClockSource.allCases, slips: ["vm": "guest", "rt": "host"]), \.vm.clock,
                defaultOf: VMDraft(),
                "What the guest's time follows while this host is busy with others: `guest` the time that the guest got, so "
                    + "that thirty VMs boot as one does; `host` the host's, so that its clock is never behind for long.",
                synonyms: ["time"]),
            LabKey(
                "sandbox",
                .choice(SandboxMode.allCases, slips: ["on": "required", "true": "required", "false": "off"]),
                \.vm.sandbox, defaultOf: VMDraft(),
                "Whether the VM's process gives up files, network and system calls before the guest runs: `auto` as far as "
                    + "the host can, `required` refuses to start where it cannot, `off` for debugging labctl.",
                synonyms: ["confine", "seccomp"]),
        ])
}

/// `cpu`.
struct CPUDraft: Sendable {
    var accelerator = VM().accelerator
    var model: String?
    var limit: Int?
    var nice: Int?
    var spans = SectionSpans()

    static let table = SectionTable<CPUDraft>(
        id: "cpu", noun: "cpu", plural: "cpus", "How the virtual CPUs are run.", spans: \.spans,
        keys: [
            LabKey(
                "accel", .choice(Accelerator.allCases, slips: ["tcg": "jit", "kvm": "jit", "interpreter": "interp"]),
                \.accelerator, defaultOf: CPUDraft(),
                "`jit` translates guest code, `interp` interprets it, `verify` does both and stops at the first "
                    + "difference.",
                synonyms: ["accelerator", "mode"]),
            LabKey(
                "model", .line, \.model,
                "What the guest sees, as QEMU's `-cpu`: `x86-64-v2` (default), `qemu64`, `Nehalem`, `max` …, then "
                    + "`,+feature` and `,-feature`.",
                synonyms: ["type", "features"]),
            LabKey(
                "limit", .percent, \.limit,
                "How much of one processor the VM's process may use, such as `50%`.",
                synonyms: ["max", "quota", "cap", "cpus"]),
            LabKey(
                "nice", .integer(0...19), \.nice, "How much it gives way to other programs of the host, as `nice`.",
                synonyms: ["priority", "niceness"]),
        ])
}

extension ValueType where Value == Int {
    /// A share of a processor: `50%`; more than 100 is more than one.
    static let percent: ValueType = {
        let shape = ValueShape.pattern(regex: "^[0-9]{1,4} *%$", example: "50%")
        let range = 1...6400
        return ValueType(shape) { node, scope in
            guard case .scalar(let scalar) = node.content, scalar.type != .null, scalar.text.hasSuffix("%"),
                let value = Int(scalar.text.dropLast().filter { $0 != " " })
            else {
                var help: String?
                if case .scalar(let scalar) = node.content, case .integer = scalar.type {
                    help = "write \(scalar.text.clippedForMessage)%"
                }
                scope.reportWrongType(node, expected: shape, help: help)
                return nil
            }
            guard range.contains(value) else {
                scope.report(
                    .outOfRange, "'\(scope.key)' in \(scope.place) is from 1% to \(range.upperBound)%", at: node.span)
                return nil
            }
            return value
        }
    }()
}

/// `ready`.
struct ReadyDraft: Sendable {
    var console: ConsolePattern?
    var screen: ConsolePattern?
    var timeout = Readiness().timeout
    var spans = SectionSpans()

    var readiness: Readiness? {
        guard console != nil || screen != nil else { return nil }
        var readiness = Readiness(console: console ?? "", screen: screen, timeout: timeout)
        readiness.spans = spans
        return readiness
    }

    static let table = SectionTable<ReadyDraft>(
        id: "ready", noun: "ready", plural: "readies", "What says that a VM is up.", spans: \.spans,
        rules: [.exactlyOne(["console", "screen"])],
        keys: [
            LabKey(
                "console", .consolePattern, \.console,
                "The VM is ready when its serial console has said this text, one of these texts, or something that "
                    + "`{ regex: … }` matches. Colours and other escape sequences do not count.",
                synonyms: ["serial", "text", "wait"]),
            LabKey(
                "screen", .consolePattern, \.screen,
                "The VM is ready when its screen shows this: for guests without a serial console. In graphics modes, text "
                    + "in the font of the VGA BIOS can be read.",
                synonyms: ["display", "vga", "video"]),
            LabKey(
                "timeout", .duration(.seconds(1)...(.minutes(60 * 24))), \.timeout, defaultOf: ReadyDraft(),
                "How long that may take from the start of the VM."),
        ])
}
