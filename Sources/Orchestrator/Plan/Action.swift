import LabSpec

/// One thing that `up` would do, as `plan` shows it.
public struct Action: Sendable, Equatable, Encodable {
    public enum Kind: String, Sendable, Encodable, CaseIterable {
        case makeImage = "make-image"
        case createOverlay = "create-overlay"
        case start, restart
        /// The VM runs and has not been seen ready.
        case awaitReady = "await-ready"
        case leave
        /// Nothing is done to the VM; the reason says what to do.
        case refuse
    }

    public var kind: Kind
    /// Name of the image or VM.
    public var subject: String
    /// Why, or what exactly.
    public var detail: String

    public init(_ kind: Kind, _ subject: String, _ detail: String) {
        self.kind = kind
        self.subject = subject
        self.detail = detail
    }
}

/// What `up` will do with one VM.
public struct VMPlan: Sendable, Equatable {
    public enum Decision: Sendable, Equatable {
        case leave
        case awaitReady
        case start(reason: String)
        case restart(reason: String)
        /// Fresh overlays; a VM that ran comes back running.
        case reset(startsAgain: Bool)
        case refuse(reason: String)
    }

    public var instance: VMInstance
    public var decision: Decision
    /// Slots that need an overlay before the VM can start, in order.
    public var missingOverlays: [DiskSlot]
    /// The machine that it begins as, where its disks are fresh; nil: it is switched on.
    public var source: StartSource?

    init(instance: VMInstance, decision: Decision, missingOverlays: [DiskSlot]) {
        self.instance = instance
        self.decision = decision
        self.missingOverlays = missingOverlays
    }

    /// Whether it starts on disks to which nothing was written.
    var startsFresh: Bool {
        switch decision {
        case .reset(let startsAgain): startsAgain
        case .start, .restart:
            missingOverlays.count == instance.spec.disks.values.count { $0.mode == .overlay }
        case .leave, .awaitReady, .refuse: false
        }
    }
}

/// What a VM begins as.
public enum StartSource: Sendable, Equatable {
    /// `restore`: the VM that it was.
    case restored(SavedVM)
    /// `from_snapshot`: a clone of another.
    case clone(SavedVM)

    var saved: SavedVM {
        switch self {
        case .restored(let saved), .clone(let saved): saved
        }
    }
}

/// Everything that `up` will do, in order.
public struct Plan: Sendable, Equatable {
    /// Images to make, inputs first.
    public var images: [ImageNode]
    /// VMs in the order of the lab file.
    public var vms: [VMPlan]
    /// Sentences about things that are left alone.
    public var warnings: [String]

    /// Whether `up` would change anything.
    public var hasChanges: Bool {
        !images.isEmpty
            || vms.contains { plan in
                switch plan.decision {
                case .leave, .awaitReady, .refuse: false
                case .start, .restart, .reset: true
                }
            }
    }

    /// The plan as a list for people and scripts.
    public var actions: [Action] {
        images.map { Action(.makeImage, $0.label, $0.summary) } + vms.flatMap(\.actions)
    }
}

extension ImageNode {
    /// The recipe in words.
    var summary: String {
        switch recipe {
        case .file(let path, _, _): path
        case .download(let address, _, _): "downloaded from \(address.text)"
        case .create(let format, let sizeBytes): "empty \(format.rawValue), \(ByteSize(bytes: sizeBytes))"
        case .convert(let from, let format, let compress):
            "\(from.label) as \(compress ? "compressed " : "")\(format.rawValue)"
        case .build(let recipe):
            switch recipe.start {
            case .image(let from): "built on \(from.label)"
            case .emptyDisk(let size): "built on an empty disk of \(size)"
            }
        }
    }
}

extension ImageReference {
    /// As the lab file names it.
    public var label: String {
        switch self {
        case .named(let name): name
        case .path(let path): path.written
        }
    }
}

extension VMPlan {
    var actions: [Action] {
        let name = instance.name
        let overlays = missingOverlays.map { slot in
            Action(
                .createOverlay, "\(name)/\(slot.rawValue)",
                "on \(instance.spec.disks[slot].map { $0.image.label } ?? "")")
        }
        switch decision {
        case .leave: return [Action(.leave, name, "running, nothing changed")]
        case .awaitReady: return [Action(.awaitReady, name, "running, not seen ready yet")]
        case .start(let reason): return overlays + [Action(.start, name, reason)]
        case .restart(let reason): return overlays + [Action(.restart, name, reason)]
        case .reset(let startsAgain): return [Action(.restart, name, startsAgain ? "reset" : "reset, stays down")]
        case .refuse(let reason): return [Action(.refuse, name, reason)]
        }
    }
}
