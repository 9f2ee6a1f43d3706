import Glibc
import Images
import LabSpec
import VMProtocol

/// The VM of a build: its folder, its disk and its process.
///
/// The folder lies among those of the lab's VMs, under a name that no VM can have (`build:IMAGE`), so that `console`, `logs`,
/// `screenshot`, `down` and `destroy` work with it as with any.
struct BuildVM {
    let store: ImageStore
    let label: String
    let recipe: BuildRecipe
    let images: [ImageReference: ResolvedImage]
    let folder: VMFolder

    init(_ store: ImageStore, _ label: String, _ recipe: BuildRecipe, _ images: [ImageReference: ResolvedImage]) {
        self.store = store
        self.label = label
        self.recipe = recipe
        self.images = images
        folder = store.folder.vm(BuildVM.name(label))
    }

    /// What the VM of an image is called.
    static func name(_ label: String) -> String { "build:\(label)" }

    var disk: String { folder.overlay(.hda) }

    /// Makes the folder and the disk and starts the process.
    func start() throws(OrchestratorError) -> VMProcess {
        try removeLeftover()
        if let error = Folder.make(folder.path) ?? Folder.make(folder.runtime) { throw OrchestratorError(error) }
        let lock = try withHostErrors { () throws(HostError) in try FileLock.tryLock(folder.file(.lock)) }
        guard let lock else {
            throw OrchestratorError(.vm, "\(folder.name) was started by somebody else just now")
        }
        let description = try description()
        var record = VMRecord()
        record.overlays[DiskSlot.hda.rawValue] = try makeDisk()
        record.run = VMRecord.Run(
            description: description, definition: "build", startedAt: WallClock.now, consoleStart: 0)
        try folder.write(record)
        let executable = try VMExecutable.find()
        let process = try withHostErrors { () throws(HostError) in
            try VMProcess(
                executable: executable, description: description, lock: lock, log: folder.file(.processLog))
        }
        lock.annotate("process \(process.processID)")
        try process.waitUntilItRuns(folder, interruption: store.interruption, progress: store.progress)
        return process
    }

    /// The VM of an earlier build: of one that was killed, or that was kept for a look.
    private func removeLeftover() throws(OrchestratorError) {
        guard Folder.exists(folder.path) else { return }
        if folder.isRunning {
            store.progress(.warning("\(folder.name) is left from an earlier build; it is removed"))
        }
        try remove()
    }

    /// Ends the process, where it runs, and removes everything.
    func remove() throws(OrchestratorError) {
        if folder.isRunning {
            var task = StopTask(folder, store.progress, limitMilliseconds: 0)
            try task.finish()
        }
        if let error = Folder.remove(folder.runtime) ?? Folder.remove(folder.path) { throw OrchestratorError(error) }
    }

    private func input(_ reference: ImageReference) throws(OrchestratorError) -> ResolvedImage {
        guard let image = images[reference] else {
            throw OrchestratorError(.image, "image '\(reference.label)' is not known")
        }
        return image
    }

    private func makeDisk() throws(OrchestratorError) -> VMRecord.Overlay {
        switch recipe.start {
        case .emptyDisk(let size):
            try withImageErrors { () throws(ImageError) in
                try DiskImage.create(disk, format: "qcow2", size: size.bytes)
            }
            // It stands on nothing; the entry says that the disk is known.
            return VMRecord.Overlay(basePath: disk, baseFormat: "qcow2", golden: [])
        case .image(let reference):
            let base = try input(reference)
            guard let format = base.format else {
                throw OrchestratorError(
                    .image, "the format of \(base.path) is not recognised; write 'format: raw' if it is a raw disk")
            }
            try withImageErrors { () throws(ImageError) in
                try DiskImage.createOverlay(disk, backing: base.path, backingFormat: format)
            }
            return VMRecord.Overlay(basePath: base.path, baseFormat: format, golden: [])
        }
    }

    private func description() throws(OrchestratorError) -> VMDescription {
        var description = VMDescription(name: folder.name, memoryBytes: recipe.memory.bytes)
        description.disks = [.init(slot: .hda, path: disk, format: "qcow2")]
        var files = Set(store.allowed.files)
        if case .image(let reference) = recipe.start { files.insert(try input(reference).path) }
        if let cdrom = recipe.cdrom {
            let disc = try input(cdrom)
            description.cdrom = disc.path
            description.cdromFormat = disc.format
        }
        description.boot = recipe.boot.map(\.rawValue).joined()
        description.kernel = recipe.kernel?.kernel.absolute
        description.initrd = recipe.kernel?.initrd?.absolute
        description.append = recipe.kernel?.append
        description.console = .socket
        description.stateFolder = folder.path
        description.runtimeFolder = folder.runtime
        description.imageRules = VMDescription.ImageRules(
            folders: store.allowed.folders, files: files.sorted(), golden: [])
        return description
    }
}
