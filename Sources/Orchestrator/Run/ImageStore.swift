import Dispatch
import Glibc
import Images
import LabSpec
import Synchronization
import VMProtocol

/// An image that VMs can use.
public struct ResolvedImage: Sendable, Equatable {
    public var path: String
    /// Driver name; nil where the reader may probe (discs).
    public var format: String?
    /// Whether the file is there; one that is not can be made.
    public var isPresent: Bool
    /// Whether somebody said the format, or we made the image; it was recognised otherwise.
    public var isPinned = true
}

/// Finds the images of a lab, checks them against their digests and makes those that are missing.
struct ImageStore: Sendable {
    let state: StateDirectory
    let interruption: StopSignal
    let progress: ProgressSink
    /// Which files images may name.
    let allowed: ImageFolders
    /// Where the VMs of builds have their folders.
    let folder: LabFolder
    /// Whether the VM of a build that fails is left running.
    var keepsFailedBuilds = false

    /// What was found of the images of a lab.
    struct Finding: Sendable {
        var images: [ImageReference: ResolvedImage] = [:]
        /// Images that cannot be used, with a sentence each; those made from them too.
        var failures: [ImageReference: String] = [:]
    }

    /// Looks at every image of a graph. Files that the lab file gives a digest for are checked.
    /// - Throws: `.interrupted`.
    func survey(_ graph: ImageGraph) throws(OrchestratorError) -> Finding {
        var images: [ImageReference: ResolvedImage] = [:]
        var contents: [ImageReference: String] = [:]
        var failures: [ImageReference: String] = [:]
        let needDigest = Set(graph.nodes.flatMap(\.inputs))
        for node in graph.nodes {
            if let reason = node.inputs.compactMap({ failures[$0] }).first {
                failures[node.reference] = "image '\(node.label)' cannot be made: \(reason)"
                continue
            }
            do throws(OrchestratorError) {
                if case .file(let path, let format, let sha256) = node.recipe {
                    images[node.reference] = try file(path, format, of: node)
                    guard sha256 != nil || needDigest.contains(node.reference) else { continue }
                    let golden = try digest(of: path, label: node.label)
                    if let sha256, golden.sha256 != sha256 {
                        throw OrchestratorError(
                            .image,
                            "image '\(node.label)': \(path) has SHA-256 \(golden.sha256), the lab file asks for \(sha256)"
                        )
                    }
                    contents[node.reference] = golden.sha256
                } else if let name = node.contentName(
                    inputDigests: node.inputs.compactMap { contents[$0] } + (try digests(of: node)))
                {
                    let path = "\(state.imagesFolder)/\(name)"
                    contents[node.reference] = name
                    images[node.reference] = ResolvedImage(
                        path: path, format: String(name.split(separator: ".").last ?? "raw"),
                        isPresent: Folder.exists(path))
                }
            } catch {
                if error.kind == .interrupted { throw error }
                failures[node.reference] = error.message
            }
        }
        return Finding(images: images, failures: failures)
    }

    /// Digests of the files, other than images, that an image is made from.
    private func digests(of node: ImageNode) throws(OrchestratorError) -> [String] {
        var digests: [String] = []
        for file in node.files {
            digests.append(
                try FileTree(file).digest { path throws(OrchestratorError) in
                    try digest(of: path, label: node.label).sha256
                })
        }
        return digests
    }

    private func file(_ path: String, _ format: DiskFormat?, of node: ImageNode) throws(OrchestratorError)
        -> ResolvedImage
    {
        guard access(path, R_OK) == 0 else {
            throw OrchestratorError(
                .image, "image '\(node.label)': \(path): \(String(cString: strerror(errno)))")
        }
        if let format {
            let image = ResolvedImage(path: path, format: format.rawValue, isPresent: true)
            try checkNames(in: image, label: node.label)
            return image
        }
        if path.lowercased().hasSuffix(".iso") { return ResolvedImage(path: path, format: "raw", isPresent: true) }
        let probed = try withImageErrors { () throws(ImageError) in try DiskImage.probe(path) }
        let image = ResolvedImage(
            path: path, format: probed == "raw" ? nil : probed, isPresent: true, isPinned: false)
        try checkNames(in: image, label: node.label)
        return image
    }

    /// Refuses an image that names files it must not, before any VM sees it. Other faults show when it is used.
    private func checkNames(in image: ResolvedImage, label: String) throws(OrchestratorError) {
        guard image.format != nil, image.format != "raw" else { return }
        var options = options(for: image)
        options.lock = .none
        options.forCheck = true
        do throws(ImageError) {
            let top = try DiskImage.open(image.path, options: options)
            for layer in DiskImage.chain(of: top) { try layer.close() }
        } catch {
            guard error.kind == .permission else { return }
            throw OrchestratorError(.image, "image '\(label)': \(error.sentence)")
        }
    }

    /// How an image of the lab is read.
    private func options(for image: ResolvedImage) -> OpenOptions {
        var options = OpenOptions(format: image.format)
        options.confinedTo = allowed.folders
        options.declaredFiles = allowed.files
        return options
    }

    /// Every file of an image and its backing chain. Takes no lock: a VM may be running on it.
    func files(of image: ResolvedImage) throws(OrchestratorError) -> [ImageFile] {
        var options = options(for: image)
        options.lock = .none
        options.forCheck = true
        return try withImageErrors { () throws(ImageError) in
            let top = try DiskImage.open(image.path, options: options)
            defer { for layer in DiskImage.chain(of: top) { try? layer.close() } }
            return DiskImage.files(of: top)
        }
    }

    /// Every file of a golden image with its digest, the image itself first.
    func goldenFiles(_ image: ResolvedImage, label: String) throws(OrchestratorError) -> [GoldenFile] {
        let chain = try withImageErrors { () throws(ImageError) in
            let top = try DiskImage.open(image.path, options: options(for: image))
            let paths = DiskImage.chain(of: top).map(\.path)
            for layer in DiskImage.chain(of: top) { try layer.close() }
            return paths
        }
        var files: [GoldenFile] = []
        for path in chain { files.append(try digest(of: path, label: label)) }
        return files
    }

    func digest(of path: String, label: String) throws(OrchestratorError) -> GoldenFile {
        // Small files are done before anybody could read that they are being looked at.
        var shown: UInt64 = 0
        let golden = try state.digests.digest(of: path) { done, total in
            if done - shown >= 32 << 20 {
                shown = done
                progress(.image(name: label, .verifying(done: done, total: total)))
            }
            return !interruption.isRequested
        }
        if shown > 0 { progress(.image(name: label, .ready)) }
        return golden
    }

    /// Why a golden image is not what it was when an overlay was made on it; nil when it is.
    /// - Parameter mayRead: whether a file with another time may be read to compare its digest.
    func drift(_ overlay: VMRecord.Overlay, mayRead: Bool) throws(OrchestratorError) -> String? {
        for file in overlay.golden {
            let path = file.stamp.path
            guard let now = try withHostErrors({ () throws(HostError) in try FileStamp.of(path) }) else {
                return "the golden image \(path) is gone"
            }
            if now == file.stamp { continue }
            if now.sizeBytes == file.stamp.sizeBytes {
                guard mayRead else { continue }
                if try digest(of: path, label: path).sha256 == file.sha256 { continue }
            }
            return "the golden image \(path) is not the one that its overlay was made on"
        }
        return nil
    }

    /// Makes images, each once, side by side where they do not need one another. One that cannot be made stops those made
    /// from it, and no other.
    /// - Returns: what failed, with a sentence each.
    /// - Throws: `.interrupted`.
    func make(
        _ nodes: [ImageNode], images: inout [ImageReference: ResolvedImage]
    ) throws(OrchestratorError) -> [ImageReference: String] {
        var failed: [ImageReference: String] = [:]
        var left = nodes
        while !left.isEmpty {
            let open = Set(left.map(\.reference))
            let next = left.filter { $0.inputs.allSatisfy { !open.contains($0) } }
            guard !next.isEmpty else { throw OrchestratorError(.image, "the images of the lab file form a cycle") }
            left.removeAll { open.contains($0.reference) && next.contains($0) }
            let blocked = next.filter { $0.inputs.contains { failed[$0] != nil } }
            for node in blocked {
                let reason = node.inputs.compactMap { failed[$0] }.first ?? ""
                failed[node.reference] = "image '\(node.label)' cannot be made: \(reason)"
                progress(.image(name: node.label, .failed(failed[node.reference] ?? "")))
            }
            let ready = next.filter { !blocked.contains($0) }
            let known = images
            let failures = Mutex<[Int: OrchestratorError]>([:])
            DispatchQueue.concurrentPerform(iterations: ready.count) { index in
                do throws(OrchestratorError) {
                    try make(ready[index], images: known)
                    progress(.image(name: ready[index].label, .ready))
                } catch {
                    progress(.image(name: ready[index].label, .failed(error.message)))
                    failures.withLock { $0[index] = error }
                }
            }
            let errors = failures.withLock { $0 }
            if let error = errors.values.first(where: { $0.kind == .interrupted }) { throw error }
            for (index, node) in ready.enumerated() {
                if let error = errors[index] {
                    let label = "image '\(node.label)'"
                    failed[node.reference] =
                        error.message.contains(label) ? error.message : "\(label): \(error.message)"
                } else {
                    images[node.reference]?.isPresent = true
                }
            }
        }
        return failed
    }

    private func make(_ node: ImageNode, images: [ImageReference: ResolvedImage]) throws(OrchestratorError) {
        guard let target = images[node.reference] else { return }
        if let error = Folder.make(state.imagesFolder) { throw OrchestratorError(error) }
        // Another lab may want the same image at the same time: one makes it, the other waits.
        let lock = try waitForLock("\(target.path).lock", label: node.label)
        defer { withExtendedLifetime(lock) { _ = unlink("\(target.path).lock") } }
        guard !Folder.exists(target.path) else { return }
        let temporary = "\(target.path).\(getpid()).tmp"
        defer { unlink(temporary) }
        switch node.recipe {
        case .file, .download, .build: break
        case .create, .convert: progress(.image(name: node.label, .making(done: 0, total: 0)))
        }
        switch node.recipe {
        case .file: return
        case .download(let address, let format, let sha256):
            try Download(store: self, label: node.label, address: address, sha256: sha256, format: format)
                .write(to: temporary)
        case .create(let format, let sizeBytes):
            try withImageErrors { () throws(ImageError) in
                try DiskImage.create(temporary, format: format.rawValue, size: sizeBytes)
            }
        case .convert(let from, let format, let compress):
            guard let source = images[from] else { return }
            try convert(source, to: temporary, format: format, compress: compress, label: node.label)
        case .build(let recipe):
            try ImageBuild(store: self, label: node.label, recipe: recipe, images: images).write(to: temporary)
        }
        // Golden from here on.
        chmod(temporary, 0o444)
        guard rename(temporary, target.path) == 0 else {
            throw OrchestratorError(HostError("make", target.path))
        }
    }

    func waitForLock(_ path: String, label: String) throws(OrchestratorError) -> FileLock {
        while !interruption.isRequested {
            let lock = try withHostErrors { () throws(HostError) in try FileLock.tryLock(path) }
            // Whoever had it before removed the file: a lock on a file without a name keeps nobody out.
            if let lock, lock.holds(path) { return lock }
            if lock != nil { continue }
            usleep(50_000)
        }
        throw OrchestratorError(.interrupted, "interrupted while another labctl makes image '\(label)'")
    }
}

extension ImageStore {
    /// Copies an image into another format.
    /// - Parameter below: files that the image may name besides those of the lab.
    func convert(
        _ source: ResolvedImage, to path: String, format: DiskFormat, compress: Bool, label: String,
        declaring below: Set<String> = []
    ) throws(OrchestratorError) {
        var options = options(for: source)
        options.declaredFiles.formUnion(below)
        let device = try withImageErrors { () throws(ImageError) in try DiskImage.open(source.path, options: options) }
        var request = ConvertRequest(sources: [device], targetPath: path, targetFormat: format.rawValue)
        request.isCompressed = compress
        request.progress = { [progress] done, total in
            progress(.image(name: label, .making(done: done, total: total)))
        }
        request.isCancelled = { [interruption] in interruption.isRequested }
        do throws(ImageError) {
            try DiskImage.convert(request)
            for layer in DiskImage.chain(of: device) { try layer.close() }
        } catch {
            if interruption.isRequested {
                throw OrchestratorError(.interrupted, "interrupted while image '\(label)' was made")
            }
            throw OrchestratorError(.image, "image '\(label)': \(error.sentence)")
        }
    }
}
