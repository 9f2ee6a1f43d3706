/// The lab file as typed values with units. Everything here has been validated when it comes out of `LabFile.load`.
///
/// Names (of labs, images, networks, VMs) are letters, digits, `-` and `_`, so that a reference with a `.` or a `/` in
/// it is always a path and one without is always a name. Relative paths are relative to the lab file's own folder.

/// A whole lab.
public struct Lab: Sendable, Equatable {
    /// `lab`: the name of the lab, part of its state folder's name.
    public var name: String
    /// `images`, in file order.
    public var images: [Image]
    /// `networks`, in file order.
    public var networks: [Network]
    /// `vms`, in file order, replicas not expanded (see `instances()`).
    public var vms: [VM]
    /// Absolute real path of the lab file.
    public var path: String
    /// Places of the top-level keys.
    public var spans: SectionSpans

    public init(name: String = "", images: [Image] = [], networks: [Network] = [], vms: [VM] = [], path: String = "") {
        self.name = name
        self.images = images
        self.networks = networks
        self.vms = vms
        self.path = path
        self.spans = SectionSpans()
    }

    /// The image declared under this name.
    public func image(named name: String) -> Image? { images.first { $0.name == name } }
    /// The VM (or group of replicas) declared under this name.
    public func vm(named name: String) -> VM? { vms.first { $0.name == name } }
    /// Every different thing that is said about VMs: a group counts once, or as all of its VMs where they differ.
    public var distinctVMs: [VM] { vms.flatMap { $0.members.isEmpty ? [$0] : $0.members } }
}

/// A path of the lab file.
public struct LabPath: Sendable, Hashable {
    /// As written, variables replaced.
    public var written: String
    /// Absolute: relative paths start at the lab file's folder, `~/` at the user's home.
    public var absolute: String

    public init(written: String, absolute: String) {
        self.written = written
        self.absolute = absolute
    }
}

/// How a VM or a recipe names an image: by its name under `images`, or by the path of a file.
public enum ImageReference: Sendable, Hashable {
    /// The name of an entry of `images`.
    case named(String)
    /// A file.
    case path(LabPath)
}

/// Disk image formats by the names that qemu-img uses, and what can be done with them: what the library's registry of formats
/// says (a test holds them together).
public enum DiskFormat: String, Sendable, Hashable, CaseIterable {
    case raw, qcow2, qcow, vmdk, vdi, vhdx, vpc, cow, cloop, dmg, parallels, bochs, luks, ova, gz, xz, zst

    /// Formats that `create` can make empty.
    public static let creatable: [DiskFormat] = [.raw, .qcow2, .qcow, .vmdk, .vdi, .vhdx, .vpc, .cow, .parallels]
    /// Formats that `convert` can write.
    public static let convertible: [DiskFormat] = creatable + [.cloop]
    /// Formats that hold compressed clusters.
    public static let compressible: [DiskFormat] = [.qcow2, .qcow, .vmdk, .cloop]
}

/// An entry of `images`: a golden image, never written by a VM.
public struct Image: Sendable, Equatable {
    /// The name that VMs refer to.
    public var name: String
    /// Where the image comes from.
    public var source: ImageSource
    /// Places of the name and of the keys.
    public var spans: SectionSpans

    public init(name: String, source: ImageSource, spans: SectionSpans = SectionSpans()) {
        self.name = name
        self.source = source
        self.spans = spans
    }
}

/// The ways to come by an image: it is there, it is downloaded, or it is made.
public enum ImageSource: Sendable, Equatable {
    /// `path`: a file that exists.
    case file(FileSource)
    /// `url`: a file that is downloaded once.
    case download(DownloadSource)
    /// `create`: an empty image.
    case create(CreateRecipe)
    /// `convert`: another image, in another format.
    case convert(ConvertRecipe)
    /// `build`: what a VM made of it.
    case build(BuildRecipe)
}

/// `path`, `format`, `sha256`.
public struct FileSource: Sendable, Equatable {
    public var path: LabPath
    /// The pinned format; nil is probed (probing never answers raw). `.iso` files are raw without saying so.
    public var format: DiskFormat?
    /// Digest of the file, 64 lower-case hex digits; a file that differs is refused.
    public var sha256: String?

    public init(path: LabPath, format: DiskFormat? = nil, sha256: String? = nil) {
        self.path = path
        self.format = format
        self.sha256 = sha256
    }
}

/// `url`, `format`, `sha256`.
public struct DownloadSource: Sendable, Equatable {
    public var address: ImageAddress
    /// Of what is in the file once it is unpacked.
    public var format: DiskFormat
    /// Digest of the file as it is downloaded, 64 lower-case hex digits.
    public var sha256: String

    public init(address: ImageAddress, format: DiskFormat, sha256: String) {
        self.address = address
        self.format = format
        self.sha256 = sha256
    }
}

/// `create: { format, size }`.
public struct CreateRecipe: Sendable, Equatable {
    public var format: DiskFormat
    public var size: ByteSize
    public var spans: SectionSpans

    public init(format: DiskFormat = .qcow2, size: ByteSize = ByteSize(bytes: 0)) {
        self.format = format
        self.size = size
        self.spans = SectionSpans()
    }
}

/// `convert: { from, format, compress }`.
public struct ConvertRecipe: Sendable, Equatable {
    public var from: ImageReference
    public var format: DiskFormat
    public var compress: Bool
    public var spans: SectionSpans

    public init(from: ImageReference = .named(""), format: DiskFormat = .qcow2, compress: Bool = false) {
        self.from = from
        self.format = format
        self.compress = compress
        self.spans = SectionSpans()
    }
}

/// `build`: a VM runs on an overlay of `from`, or on an empty disk; what it leaves is the image (qcow2).
public struct BuildRecipe: Sendable, Equatable {
    /// What the disk of the building VM starts as.
    public enum Start: Sendable, Equatable {
        /// `from`: a copy-on-write overlay of another image.
        case image(ImageReference)
        /// `disk`: an empty disk of this size.
        case emptyDisk(ByteSize)
    }

    public var start: Start
    /// `cdrom`: read-only.
    public var cdrom: ImageReference?
    public var boot: [BootDevice]
    public var memory: ByteSize
    /// `kernel`, with `initrd` and `append`: boots Linux without a boot loader.
    public var kernel: KernelBoot?
    /// What is done with the VM, in order. The build is done when the guest powers off.
    public var steps: [LabStep]
    /// For the whole build.
    public var timeout: LabDuration
    /// Whether the clusters of the result are compressed.
    public var compress: Bool
    public var spans: SectionSpans

    public init(start: Start = .emptyDisk(ByteSize(bytes: 0))) {
        self.start = start
        self.cdrom = nil
        self.boot = BootDevice.defaultOrder
        self.memory = .mebibytes(512)
        self.kernel = nil
        self.steps = []
        self.timeout = .minutes(30)
        self.compress = false
        self.spans = SectionSpans()
    }
}

/// An entry of `networks`: a lab-private Ethernet segment.
public struct Network: Sendable, Equatable {
    public var name: String
    public var spans: SectionSpans

    public init(name: String, spans: SectionSpans = SectionSpans()) {
        self.name = name
        self.spans = spans
    }
}

/// An entry of `vms`: one VM, or a group of equal ones where `replicas` is written.
public struct VM: Sendable, Equatable {
    public var name: String
    /// Nil: one VM called `name`. A number (1 too): VMs called `name-01`, `name-02`, …, or after the roster's people.
    public var replicas: Int?
    /// Who the VMs of the group are for; `replicas` is their number.
    public var roster: Roster?
    /// What the file says about each VM, in order, where `${index}`, `${name}` or `${row.COLUMN}` make a difference between
    /// them; else empty.
    public var members: [VM]
    public var memory: ByteSize
    /// Virtual CPUs.
    public var cpus: Int
    /// `cpu: { accel }`.
    public var accelerator: Accelerator
    /// `cpu: { model }`, as QEMU's `-cpu`; nil: the usual one.
    public var processor: String?
    /// `cpu: { limit }`: percent of one processor; nil: no limit.
    public var cpuPercent: Int?
    /// `cpu: { nice }`; nil: as labctl.
    public var nice: Int?
    /// What guest time follows on a busy host.
    public var clock: ClockSource
    /// Whether its process gives up what a guest that broke out could use.
    public var sandbox: SandboxMode
    /// Disks by IDE slot.
    public var disks: [DiskSlot: Disk]
    /// Read-only CD in the secondary master's drive; excludes `hdc`.
    public var cdrom: ImageReference?
    /// Floppy in drive A; read-only.
    public var floppy: ImageReference?
    /// Boot devices in order.
    public var boot: [BootDevice]
    /// `kernel`, with `initrd` and `append`: boots Linux without firmware disks.
    public var kernel: KernelBoot?
    /// `cloud_init`, `files`, `ssh_keys`: what cloud-init finds; nil: nothing.
    public var seed: CloudSeed?
    /// What says that the VM is ready; nil: it is ready when it runs.
    public var ready: Readiness?
    /// Names of VMs or groups that must be ready first; a group means all of its VMs.
    public var dependsOn: [String]
    /// Names of networks, one network card each, in order.
    public var networks: [String]
    public var restart: RestartPolicy
    /// How long the guest gets to power off before it is stopped.
    public var stopGracePeriod: LabDuration
    /// How commands get a shell on its console.
    public var login: Login?
    /// What is done in it once after it got fresh overlays, when it is ready.
    public var provision: [LabStep]
    /// What its firmware tells about the machine.
    public var smbios: [SMBIOSField]
    /// What Ignition finds through the firmware's configuration device.
    public var ignition: IgnitionSource?
    /// What has to be true of it.
    public var checks: [Check]
    /// `from_snapshot`, `warm`: the machine that it begins as; nil: it is switched on.
    public var origin: MachineOrigin?
    /// `identity`: what makes a clone another machine.
    public var identity: GuestIdentity?
    /// Places of the name and of the keys.
    public var spans: SectionSpans

    public init(name: String = "") {
        self.name = name
        self.replicas = nil
        self.roster = nil
        self.members = []
        self.memory = .mebibytes(256)
        self.cpus = 1
        self.accelerator = .jit
        self.processor = nil
        self.cpuPercent = nil
        self.nice = nil
        self.clock = .guest
        self.sandbox = .auto
        self.disks = [:]
        self.cdrom = nil
        self.floppy = nil
        self.boot = BootDevice.defaultOrder
        self.kernel = nil
        self.seed = nil
        self.ready = nil
        self.dependsOn = []
        self.networks = []
        self.restart = .no
        self.stopGracePeriod = .seconds(30)
        self.login = nil
        self.provision = []
        self.smbios = []
        self.ignition = nil
        self.checks = []
        self.spans = SectionSpans()
    }
}

/// How much of its rights a VM's process gives up before its guest runs.
public enum SandboxMode: String, Sendable, Hashable, CaseIterable {
    /// As much as the host can take from it; what is missing is said.
    case auto
    /// All of it, or the VM does not start.
    case required
    /// Nothing but what every VM process does.
    case off
}

/// What a guest's time follows while the host is busy with others.
public enum ClockSource: String, Sendable, Hashable, CaseIterable {
    /// The time that the guest got.
    case guest
    /// The host's.
    case host
}

/// How guest code runs.
public enum Accelerator: String, Sendable, Hashable, CaseIterable {
    /// Translated to host code.
    case jit
    /// Interpreted.
    case interp
    /// Both in lockstep; stops at the first difference.
    case verify
}

/// The four IDE slots.
public enum DiskSlot: String, Sendable, Hashable, CaseIterable, Comparable {
    /// Primary master, primary slave, secondary master, secondary slave.
    case hda, hdb, hdc, hdd

    public static func < (left: DiskSlot, right: DiskSlot) -> Bool { left.rawValue < right.rawValue }
}

/// What is in a disk slot.
public struct Disk: Sendable, Equatable {
    public enum Mode: String, Sendable, Hashable, CaseIterable {
        /// The VM writes to a copy-on-write overlay of its own (always so with `base`).
        case overlay
        /// The VM writes to the image file itself; one writer in the whole lab.
        case direct
        /// The VM cannot write.
        case readOnly = "read-only"
    }

    /// What happens when the host cannot write what the VM wrote: QEMU's `werror`.
    public enum WriteErrors: String, Sendable, Hashable, CaseIterable {
        case report, ignore, stop, enospc
    }

    /// The image behind the disk.
    public var image: ImageReference
    public var mode: Mode
    public var writeErrors: WriteErrors = .enospc
    public var spans: SectionSpans

    public init(image: ImageReference, mode: Mode = .overlay) {
        self.image = image
        self.mode = mode
        self.spans = SectionSpans()
    }
}

/// Devices the firmware tries, by QEMU's letters.
public enum BootDevice: String, Sendable, Hashable, CaseIterable {
    case floppy = "a", disk = "c", cdrom = "d", network = "n"

    /// Disk, floppy, CD: what a PC does when nobody says otherwise.
    public static let defaultOrder: [BootDevice] = [.disk, .floppy, .cdrom]
}

/// Direct Linux boot.
public struct KernelBoot: Sendable, Equatable {
    public var kernel: LabPath
    public var initrd: LabPath?
    /// The kernel's command line.
    public var append: String

    public init(kernel: LabPath, initrd: LabPath? = nil, append: String = "") {
        self.kernel = kernel
        self.initrd = initrd
        self.append = append
    }
}

/// `ready`: when a VM counts as up.
public struct Readiness: Sendable, Equatable {
    /// What the serial console says then; nothing where `screen` is asked for.
    public var console: ConsolePattern
    /// What the screen shows then.
    public var screen: ConsolePattern?
    /// How long it may take from the start of the VM.
    public var timeout: LabDuration
    public var spans: SectionSpans

    public init(console: ConsolePattern = "", screen: ConsolePattern? = nil, timeout: LabDuration = .minutes(2)) {
        self.console = console
        self.screen = screen
        self.timeout = timeout
        self.spans = SectionSpans()
    }
}

/// What happens when a VM's process ends without being asked to.
public enum RestartPolicy: String, Sendable, Hashable, CaseIterable {
    case no
    case onFailure = "on-failure"
    case always
}
