/// What a PC is made of. Plain data; `PCBoard` builds from it.
public struct PCConfig {
    /// A Linux kernel to start without firmware, as QEMU's -kernel, -initrd and -append.
    public struct Linux: Sendable {
        public var kernelPath: String
        public var initrdPath: String?
        public var commandLine: String

        public init(kernelPath: String, initrdPath: String? = nil, commandLine: String = "") {
            self.kernelPath = kernelPath
            self.initrdPath = initrdPath
            self.commandLine = commandLine
        }
    }

    /// What sits in a drive slot of the two IDE channels.
    public enum Drive {
        case disk(any DiskBackend)
        /// A CD-ROM drive, with or without a disc.
        case cdrom((any DiskBackend)?)

        var medium: IDEMedium {
            switch self {
            case .disk(let backend): .disk(backend)
            case .cdrom(let backend): .cdrom(backend)
            }
        }
    }

    /// QEMU's -icount.
    public struct InstructionClock: Sendable, Equatable {
        /// An instruction takes 2^shift nanoseconds, 0 to `largestShift`.
        public var shift: Int
        /// A guest that waits for its next timer waits as long on the host.
        public var sleeps: Bool
        public static let largestShift = 10

        public init(shift: Int, sleeps: Bool = true) {
            self.shift = shift
            self.sleeps = sleeps
        }
    }

    /// At least 1 MiB, rounded up to whole pages.
    public var memoryBytes: UInt64 = 128 << 20
    /// System BIOS; nil: SeaBIOS as Debian installs it.
    public var firmwarePath: String?
    /// hda, hdb (primary master and slave), hdc, hdd (secondary).
    public var drives: [Drive?] = [nil, nil, nil, nil]
    /// Floppy drives A and B, at most two; nil: a drive without a disk.
    public var floppies: [(any DiskBackend)?] = []
    /// QEMU's boot letters in order: a floppy, c disk, d CD-ROM, n network.
    public var bootOrder = "cad"
    /// The order until the guest resets for the first time; nil: `bootOrder`.
    public var bootOnce: String?
    /// The firmware offers its boot menu.
    public var hasBootMenu = false
    public var linux: Linux?
    /// One UART per entry, COM1 first, at most four; nil: nothing is connected.
    public var serialPorts: [(any SerialBackend)?] = [nil]
    /// QEMU's isa-debug-exit; nil: absent. QEMU's default port is 501h.
    public var debugExitPort: UInt16?
    /// What the real-time clock shows at power-on, seconds since 1970; nil: the host's time.
    public var clockSeconds: Int64?
    /// What guest time follows on a busy host.
    public var clockSource = ClockSource.guest
    /// Guest time is counted in instructions instead.
    public var instructionClock: InstructionClock?
    /// What the processor is and can do.
    public var cpu = CPUFeatures()
    /// How many there are, and how they are packed.
    public var topology = CPUTopology()
    /// Frequency of the time-stamp counter; at 1 GHz it counts guest nanoseconds.
    public var tscHertz: UInt64 = 1_000_000_000
    /// What executes guest instructions.
    public var engine = Engine.translator
    /// Named files of the configuration device, as QEMU's -fw_cfg.
    public var firmwareFiles: [(name: String, contents: [UInt8])] = []
    /// Fields that the firmware puts into its SMBIOS tables.
    public var smbios: [SMBIOSField] = []
    /// Shown in SMBIOS and fw_cfg.
    public var uuid: [UInt8] = [UInt8](repeating: 0, count: 16)

    public init() {}
}

/// A field of an SMBIOS structure, as the firmware takes it over.
public struct SMBIOSField: Sendable, Equatable {
    /// Type of the structure.
    public var type: UInt8
    /// Offset in the structure's formatted part.
    public var offset: UInt16
    /// The value; of a string field, the string with the zero that ends it.
    public var bytes: [UInt8]

    public init(type: UInt8, offset: UInt16, bytes: [UInt8]) {
        self.type = type
        self.offset = offset
        self.bytes = bytes
    }
}

/// What guest time follows while the host runs other programs in the guest's place.
public enum ClockSource: String, Sendable, CaseIterable {
    /// Host time: the guest's clock is never behind the host's for long, but timeouts may pass that the guest had no time to meet.
    case host
    /// The time that the guest got: what it was kept from is caught up gently.
    case guest
}
