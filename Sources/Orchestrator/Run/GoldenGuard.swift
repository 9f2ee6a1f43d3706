import Images
import LabSpec
import VMProtocol

/// Keeps golden images golden: finds out, before anything is started, which files VMs would write to, and refuses those that
/// back a golden image, whatever path, link, data file or extent leads there. Files are compared by device and inode.
struct GoldenGuard {
    private let orchestrator: LabOrchestrator
    private var owners: [FileStorage.FileIdentity: String] = [:]

    /// - Parameter images: the images of the lab that are known.
    init(_ orchestrator: LabOrchestrator, _ images: [ImageReference: ResolvedImage]) {
        self.orchestrator = orchestrator
        let lab = orchestrator.lab
        let written = GoldenGuard.references(of: lab) { $0 == .direct }
        // What nobody writes to is golden: entries of `images`, bases, read-only disks, discs.
        for (reference, image) in images where !written.contains(reference) {
            protect(image, as: "the golden image '\(reference.label)'")
        }
        for image in lab.images {
            guard case .file(let source) = image.source, images[.named(image.name)] == nil else { continue }
            let format = source.format?.rawValue
            protect(
                ResolvedImage(path: source.path.absolute, format: format, isPresent: true),
                as: "the golden image '\(image.name)'")
        }
        protectBases()
    }

    /// What lies below the overlays of all labs of this user.
    private mutating func protectBases() {
        for lab in orchestrator.state.allLabs() {
            for vm in lab.vmNames.map({ lab.vm($0) }) {
                for overlay in vm.recordReading.known?.overlays.values.map({ $0 }) ?? [] {
                    for file in overlay.golden {
                        guard let identity = DiskImage.identity(of: file.stamp.path) else { continue }
                        owners[identity] = owners[identity] ?? "the golden image of \(vm.name) (\(vm.path))"
                    }
                }
            }
        }
    }

    private mutating func protect(_ image: ResolvedImage, as owner: String) {
        // A file that cannot be opened as an image is protected all the same.
        if let identity = DiskImage.identity(of: image.path) { owners[identity] = owner }
        for file in files(of: image) { owners[file.identity] = owner }
    }

    /// Files of an image that can be opened. One that cannot be is for its VM process to refuse, which looks again.
    private func files(of image: ResolvedImage) -> [ImageFile] {
        (try? orchestrator.images.files(of: image)) ?? []
    }

    private static func references(of lab: Lab, _ mode: (Disk.Mode) -> Bool) -> Set<ImageReference> {
        Set(lab.distinctVMs.flatMap { vm in vm.disks.values.filter { mode($0.mode) }.map(\.image) })
    }

    /// Refuses VMs whose `direct` disks lead to a golden file, or to a file that another disk of the lab uses.
    /// - Throws: `.image`; the sentence names disk, file and owner, one line each.
    func check(
        _ instances: [VMInstance], _ images: [ImageReference: ResolvedImage]
    ) throws(OrchestratorError) {
        var writers: [FileStorage.FileIdentity: String] = [:]
        var problems: [String] = []
        for instance in instances {
            for (slot, disk) in instance.spec.disks.sorted(by: { $0.key < $1.key }) where disk.mode == .direct {
                guard let image = images[disk.image] else { continue }
                let who = "\(instance.name)/\(slot.rawValue)"
                for file in files(of: image) where file.layer == 0 {
                    if let owner = owners[file.identity] {
                        problems.append(
                            "\(who): '\(disk.image.label)' would be written to, and its file \(file.path) is a file of "
                                + "\(owner); use an overlay (base:) or a copy ('labctl image convert')")
                    } else if let other = writers.updateValue(who, forKey: file.identity), other != who {
                        problems.append(
                            "\(who): '\(disk.image.label)' would be written to, and its file \(file.path) is written to "
                                + "by \(other) too; give each a copy")
                    }
                }
            }
        }
        guard problems.isEmpty else { throw OrchestratorError(.image, problems.joined(separator: "\n")) }
    }

    /// The protected files, for the VM process, which looks again when it opens its disks.
    var fileNumbers: [VMDescription.FileNumber] {
        owners.keys.map { VMDescription.FileNumber(device: $0.device, inode: $0.inode) }
            .sorted { ($0.device, $0.inode) < ($1.device, $1.inode) }
    }
}
