/// Everything `labvm` needs to know about one VM; handed over as JSON on a file descriptor.
///
/// Paths are absolute. The description says what to run, not how it came to be: replicas, overlays and image builds are
/// the orchestrator's business and done before.
public struct VMDescription: Codable, Sendable, Equatable {
    /// A disk in an IDE slot.
    public struct Disk: Codable, Sendable, Equatable {
        public enum Slot: String, Codable, Sendable, CaseIterable { case hda, hdb, hdc, hdd }
        public var slot: Slot
        public var path: String
        /// Format name as in `labctl image`; nil: probe (raw is pinned with a warning).
        public var format: String?
        public var readOnly: Bool
        /// Writes go to a temporary overlay that is gone when the VM ends (QEMU's -snapshot).
        public var snapshot: Bool
        /// What a failed write does; nil: `enospc`.
        public var writeErrors: WriteErrorPolicy?
        public init(slot: Slot, path: String, format: String? = nil, readOnly: Bool = false, snapshot: Bool = false) {
            self.slot = slot
            self.path = path
            self.format = format
            self.readOnly = readOnly
            self.snapshot = snapshot
        }
    }

    /// What a write that the host cannot do does to the guest: QEMU's `werror`.
    public enum WriteErrorPolicy: String, Codable, Sendable, CaseIterable {
        /// The guest is told.
        case report
        /// The guest is not told.
        case ignore
        /// The guest is paused until it is continued; then the write is tried again.
        case stop
        /// A full disk pauses the guest until there is room; other errors are reported.
        case enospc
    }

    /// A file, whatever path leads to it.
    public struct FileNumber: Codable, Sendable, Hashable {
        public var device: UInt64
        public var inode: UInt64
        public init(device: UInt64, inode: UInt64) {
            self.device = device
            self.inode = inode
        }
    }

    /// What the images of a VM may lead to.
    public struct ImageRules: Codable, Sendable, Equatable {
        /// Folders that files named by an image must lie in.
        public var folders: [String]
        /// Files elsewhere that may be named all the same.
        public var files: [String]
        /// Files that are never opened for writing.
        public var golden: [FileNumber]
        public init(folders: [String], files: [String], golden: [FileNumber]) {
            self.folders = folders
            self.files = files
            self.golden = golden
        }
    }

    /// Where serial port 0 goes.
    public enum Console: String, Codable, Sendable {
        /// `console.sock` in the runtime folder, and every byte to `console.log` in the state folder.
        case socket
        /// The process's own stdin and stdout (`labctl run -nographic`); Ctrl-A x quits.
        case stdio
        case none
    }

    /// Which engine runs guest code.
    public enum Accelerator: String, Codable, Sendable, CaseIterable { case jit, interp, verify }

    /// QEMU's `-smp`: packages, cores in each, threads in each core.
    public struct Topology: Codable, Sendable, Equatable {
        public var sockets: Int
        public var cores: Int
        public var threads: Int
        public var count: Int { sockets * cores * threads }

        public init(sockets: Int = 1, cores: Int = 1, threads: Int = 1) {
            self.sockets = sockets
            self.cores = cores
            self.threads = threads
        }
    }

    /// What guest time follows while the host runs other programs.
    public enum ClockSource: String, Codable, Sendable, CaseIterable { case host, guest }

    /// Whether the process gives up what a guest that broke out of it could use.
    public enum Sandbox: String, Codable, Sendable, CaseIterable {
        /// The VM does not start where the host cannot give all of it.
        case required
        /// As much of it as the host can give; what is missing is said.
        case auto
        case off
    }

    /// When a VM is started again that ended without being asked to.
    public enum Restart: String, Codable, Sendable, CaseIterable {
        /// When it failed, crashed or was killed.
        case onFailure = "on-failure"
        /// Also when its guest powered off.
        case always
    }

    public var name: String
    public var memoryBytes: UInt64
    public var disks: [Disk]
    /// An ISO in the secondary master slot; excludes `hdc`. Empty string: a drive without a disc.
    public var cdrom: String?
    /// Format of the disc image; nil: raw for `.iso`, else probed.
    public var cdromFormat: String?
    /// Digest of what is on the disc, where the orchestrator made it; so that another content is another definition.
    public var cdromContent: String?
    /// A floppy image in drive A.
    public var floppy: String?
    /// QEMU's boot letters: a floppy, c disk, d CD-ROM, n network; the order is the boot order.
    public var boot: String
    public var kernel: String?
    public var initrd: String?
    public var append: String?
    /// Firmware file; nil: SeaBIOS as Debian installs it.
    public var bios: String?
    public var accelerator: Accelerator
    public var console: Console
    /// Where `console.log`, `exit.json` and `lock` live; nil for a VM without state (`labctl run`).
    public var stateFolder: String?
    /// Where `console.sock` and `qmp.sock` live; nil for none.
    public var runtimeFolder: String?
    /// Where QMP is served too, for `-qmp unix:PATH`; nil for none but the one in `runtimeFolder`.
    public var monitorSocket: String?
    /// How many processors there are, and how they are packed; nil: one.
    public var topology: Topology?
    /// QEMU's `-cpu`: a model and its features; nil: x86-64-v2.
    public var cpu: String?
    /// What guest time follows on a busy host; nil: `guest`.
    public var clock: ClockSource?
    /// QEMU's -icount: an instruction takes 2^n guest nanoseconds; nil: guest time is the host's.
    public var instructionShift: Int?
    /// With `instructionShift`: a guest that waits for a timer does not wait on the host.
    public var skipsSleep: Bool?
    /// What the real-time clock shows at power-on, seconds since 1970; nil: the host's time.
    public var clockSeconds: Int64?
    /// The real-time clock shows local time instead of UTC.
    public var clockIsLocal: Bool?
    /// The boot order until the guest resets for the first time; nil: `boot`.
    public var bootOnce: String?
    /// The firmware offers its boot menu.
    public var bootMenu: Bool?
    /// How much of one processor the process may use, in percent; nil: all that it gets.
    public var cpuPercent: Int?
    /// How the process gives way to others, 0 to 19; nil: as the one that starts it.
    public var nice: Int?
    /// Nil: none.
    public var firmwareFiles: [FirmwareFile]?
    /// Nil: what the firmware says by itself.
    public var smbios: [SMBIOSField]?
    /// I/O port of QEMU's isa-debug-exit; nil: absent.
    public var debugExitPort: UInt16?
    /// A guest reset ends the VM (-no-reboot).
    public var noReboot: Bool
    /// Guest power-off stops the CPU but keeps the process (-no-shutdown).
    public var noShutdown: Bool
    /// QEMU-style `-d` items (in_asm, int, cpu, cpu_reset, ioport, guest_errors …) and the file for them (-D).
    public var debugItems: [String]
    public var debugFile: String?
    /// Translated code is named for `perf` in /tmp/perf-PID.map (QEMU's -perfmap).
    public var perfMap: Bool?
    /// Nil: `auto`.
    public var sandbox: Sandbox?
    /// Nil: never.
    public var restart: Restart?
    /// Whether the VM ends in order with the thread that started it; nil: only one on its terminal does.
    public var endsWithParent: Bool?
    /// The snapshot that the VM begins as (-loadvm); nil: it is switched on.
    public var loadSnapshot: String?
    /// The saved state that the VM begins as, on disks that are as they were then; nil: it is switched on.
    public var savedState: String?
    /// For tests of the sandbox: what is tried from inside in the guest's place, as `NAME PATH`.
    public var probe: String?
    /// Nil: images may name any file (`labctl run`).
    public var imageRules: ImageRules?

    public init(name: String, memoryBytes: UInt64) {
        self.name = name
        self.memoryBytes = memoryBytes
        disks = []
        boot = "c"
        accelerator = .jit
        console = .socket
        noReboot = false
        noShutdown = false
        debugItems = []
    }
}

/// How a VM process ended; written as `exit.json` into its state folder, atomically, as its last act.
public struct ExitRecord: Codable, Sendable, Equatable {
    public enum Reason: String, Codable, Sendable {
        /// The guest powered off (ACPI S5 or APM).
        case guestPowerOff
        /// The guest reset and `noReboot` was set.
        case guestReset
        /// The guest wrote to the debug-exit port; `status` is what the process ends with.
        case debugExit
        /// Asked to quit (QMP `quit`, SIGTERM, Ctrl-A x).
        case quit
        /// The machine could not start or go on; `message` says why.
        case failed
        /// The process has a fault of its own; `message` names it, and `vm.log` has the backtrace.
        case crashed
    }
    public var reason: Reason
    public var message: String?
    /// Exit status that the guest asked for through the debug-exit port.
    public var status: Int32?
    /// Seconds since 1970.
    public var endedAt: Double
    public init(reason: Reason, message: String? = nil, endedAt: Double) {
        self.reason = reason
        self.message = message
        self.endedAt = endedAt
    }
}
