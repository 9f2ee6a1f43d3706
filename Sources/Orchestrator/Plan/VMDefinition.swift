import LabSpec
import VMProtocol

/// From a VM of the lab file to the description that its process gets.
public struct VMDefinition: Sendable, Equatable {
    public var description: VMDescription
    /// Equal for equal definitions; a running VM whose digest differs is restarted.
    public var digest: String

    /// - Parameters:
    ///   - imagePath: where each image that the VM uses lies, and its format where known.
    public init(
        _ instance: VMInstance, folder: VMFolder,
        image: (ImageReference) throws(OrchestratorError) -> (path: String, format: String?)
    ) throws(OrchestratorError) {
        let spec = instance.spec
        var description = VMDescription(name: instance.name, memoryBytes: spec.memory.bytes)
        for (slot, disk) in spec.disks.sorted(by: { $0.key < $1.key }) {
            let place = VMDescription.Disk.Slot(slot)
            var described: VMDescription.Disk
            switch disk.mode {
            case .overlay: described = .init(slot: place, path: folder.overlay(slot), format: "qcow2")
            case .direct, .readOnly:
                let source = try image(disk.image)
                described = .init(
                    slot: place, path: source.path, format: source.format, readOnly: disk.mode == .readOnly)
            }
            // The default has no name here, so that it changes no digest.
            if disk.writeErrors != .enospc { described.writeErrors = .init(rawValue: disk.writeErrors.rawValue) }
            description.disks.append(described)
        }
        if let cdrom = spec.cdrom {
            let source = try image(cdrom)
            description.cdrom = source.path
            description.cdromFormat = source.format
        }
        if let seed = spec.seed { description.cdromContent = try SeedDisc(seed, hostName: instance.name).digest() }
        if let floppy = spec.floppy { description.floppy = try image(floppy).path }
        description.boot = spec.boot.map(\.rawValue).joined()
        description.kernel = spec.kernel?.kernel.absolute
        description.initrd = spec.kernel?.initrd?.absolute
        description.append = spec.kernel?.append
        description.accelerator =
            switch spec.accelerator {
            case .jit: .jit
            case .interp: .interp
            case .verify: .verify
            }
        description.cpu = spec.processor
        description.cpuPercent = spec.cpuPercent
        description.nice = spec.nice
        // One has no name here, so that it changes no digest.
        if spec.cpus > 1 { description.topology = .init(cores: spec.cpus) }
        if spec.clock == .host { description.clock = .host }
        // The usual value is left out, so that a VM that runs is not restarted for it.
        switch spec.sandbox {
        case .auto: break
        case .required: description.sandbox = .required
        case .off: description.sandbox = .off
        }
        switch spec.restart {
        case .no: break
        case .onFailure: description.restart = .onFailure
        case .always: description.restart = .always
        }
        if !spec.smbios.isEmpty { description.smbios = spec.smbios.map(VMDescription.SMBIOSField.init) }
        if let ignition = spec.ignition { description.firmwareFiles = [try .init(ignition, of: instance.name)] }
        description.console = .socket
        digest = SHA256Digest.of(String(decoding: JSONCoding.encode(description), as: UTF8.self))
        // Where the files of a VM lie is not part of what it is.
        if spec.seed != nil {
            description.cdrom = SeedDisc.path(in: folder)
            description.cdromFormat = "raw"
        }
        description.stateFolder = folder.path
        description.runtimeFolder = folder.runtime
        self.description = description
    }

    /// What differs between two descriptions, in the lab file's words.
    public static func changes(from old: VMDescription, to new: VMDescription) -> String {
        var changes: [String] = []
        if old.memoryBytes != new.memoryBytes {
            changes.append("memory \(ByteSize(bytes: old.memoryBytes)) → \(ByteSize(bytes: new.memoryBytes))")
        }
        if old.disks != new.disks { changes.append("disks") }
        if old.cdrom != new.cdrom || old.cdromFormat != new.cdromFormat { changes.append("cdrom") }
        if old.cdromContent != new.cdromContent {
            changes.append("cloud_init (it does its work once; 'reset' has it done again)")
        }
        if old.floppy != new.floppy { changes.append("fda") }
        if old.boot != new.boot { changes.append("boot \(old.boot) → \(new.boot)") }
        if old.kernel != new.kernel { changes.append("kernel") }
        if old.initrd != new.initrd { changes.append("initrd") }
        if old.append != new.append { changes.append("append") }
        if old.accelerator != new.accelerator { changes.append("accel") }
        if old.topology != new.topology {
            changes.append("cpus \(old.topology?.count ?? 1) → \(new.topology?.count ?? 1)")
        }
        if old.cpu != new.cpu { changes.append("cpu model") }
        if old.cpuPercent != new.cpuPercent { changes.append("cpu limit") }
        if old.nice != new.nice { changes.append("nice") }
        if old.clock != new.clock { changes.append("clock") }
        if old.smbios != new.smbios { changes.append("smbios") }
        if old.firmwareFiles != new.firmwareFiles {
            changes.append("ignition (it does its work once; 'reset' has it done again)")
        }
        if old.restart != new.restart { changes.append("restart") }
        if old.sandbox != new.sandbox { changes.append("sandbox") }
        return changes.isEmpty ? "definition changed" : changes.joined(separator: ", ") + " changed"
    }
}

extension VMDescription.SMBIOSField {
    /// The field that a key of the lab file means.
    init(_ field: LabSpec.SMBIOSField) {
        let (type, name): (UInt8, String) =
            switch field.key {
            case .biosVendor: (0, "vendor")
            case .biosVersion: (0, "version")
            case .biosDate: (0, "date")
            case .manufacturer, .product, .version, .serial, .uuid, .sku, .family: (1, field.key.rawValue)
            }
        self.init(type: type, name: name, value: field.value)
    }
}

extension VMDescription.FirmwareFile {
    /// The file that Ignition reads. Its text is part of the description, so that another one is another definition.
    init(_ source: IgnitionSource, of name: String) throws(OrchestratorError) {
        switch source {
        case .text(let text): self.init(name: Self.ignitionName, text: text)
        case .file(let path):
            let bytes = try withHostErrors { () throws(HostError) in try StateFile.read(path.absolute) }
            guard let bytes else { throw OrchestratorError(.vm, "\(name): there is no file \(path.absolute)") }
            guard bytes.count <= Self.mostBytes, let text = String(validating: bytes, as: UTF8.self) else {
                throw OrchestratorError(
                    .vm, "\(name): \(path.absolute) is not a text of at most \(Self.mostBytes) bytes, as JSON is")
            }
            self.init(name: Self.ignitionName, text: text)
        }
    }
}

extension VMDescription.Disk.Slot {
    init(_ slot: DiskSlot) {
        switch slot {
        case .hda: self = .hda
        case .hdb: self = .hdb
        case .hdc: self = .hdc
        case .hdd: self = .hdd
        }
    }
}
