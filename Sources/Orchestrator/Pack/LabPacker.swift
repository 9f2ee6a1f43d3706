import Glibc
import Images
import LabSpec
import VMProtocol

/// Makes one file of a lab: its lab file, the files that this names, and their digests, in a compressed tape archive.
public struct LabPacker {
    private let lab: Lab
    private let loaded: LoadedLab
    private let interruption: StopSignal
    private let progress: ProgressSink
    /// The lab file's folder.
    private let root: String

    /// - Parameter loaded: a valid lab.
    public init?(_ loaded: LoadedLab, interruption: StopSignal, progress: @escaping ProgressSink) {
        guard let lab = loaded.lab else { return nil }
        self.lab = lab
        self.loaded = loaded
        self.interruption = interruption
        self.progress = progress
        root = lab.path.lastIndex(of: "/").map { String(lab.path[..<$0]) } ?? ""
    }

    /// Writes the archive.
    /// - Returns: how many files are in it.
    /// - Throws: `.host` where a file lies outside of the lab's folder, which whoever unpacks it does not have.
    public func write(to path: String) throws(OrchestratorError) -> Int {
        let files = try collect()
        let temporary = "\(path).\(getpid()).tmp"
        unlink(temporary)
        do throws(OrchestratorError) {
            try write(files, to: temporary)
            guard rename(temporary, path) == 0 else { throw OrchestratorError(HostError("make", path)) }
        } catch {
            unlink(temporary)
            throw error
        }
        return files.count
    }

    // MARK: What is in it

    private struct Entry {
        var name: String
        var path: String
        var isExecutable: Bool
    }

    private func collect() throws(OrchestratorError) -> [Entry] {
        var entries: [String: Entry] = [:]
        var outside: Set<String> = []
        func add(_ path: String) throws(OrchestratorError) {
            let tree = FileTree(LabPath(written: path, absolute: path))
            for entry in try tree.entries() where !entry.isFolder {
                guard let name = name(of: entry.path) else {
                    outside.insert(entry.path)
                    continue
                }
                entries[name] = Entry(name: name, path: entry.path, isExecutable: entry.isExecutable)
            }
        }
        try add(lab.path)
        for path in loaded.rosters.keys.sorted() { try add(path) }
        for image in lab.images {
            switch image.source {
            case .file(let source):
                try add(source.path.absolute)
                for file in try chain(below: source.path.absolute, format: source.format) { try add(file) }
            case .download(let source): if let path = source.address.localPath { try add(path) }
            case .build(let recipe):
                for path in [recipe.kernel?.kernel, recipe.kernel?.initrd] { if let path { try add(path.absolute) } }
                for path in Self.copies(recipe.steps) { try add(path.absolute) }
            case .create, .convert: break
            }
        }
        for case .path(let path) in lab.imageReferences(of: lab.instances()) {
            try add(path.absolute)
            for file in try chain(below: path.absolute, format: nil) { try add(file) }
        }
        for vm in lab.distinctVMs { for path in Self.files(of: vm) { try add(path.absolute) } }
        guard outside.isEmpty else {
            let list = outside.sorted().prefix(5).map { "\n  \($0)" }.joined()
            throw OrchestratorError(
                .host,
                "files that the lab needs lie outside of its folder \(root), where nobody else has them:\(list)\n"
                    + "put them into that folder, and give paths that start there")
        }
        return entries.values.sorted { $0.name < $1.name }
    }

    /// Files besides images that a VM needs.
    private static func files(of vm: VM) -> [LabPath] {
        var paths = copies(vm.provision)
        if let kernel = vm.kernel { paths += [kernel.kernel] + (kernel.initrd.map { [$0] } ?? []) }
        if case .file(let path)? = vm.ignition { paths.append(path) }
        guard let seed = vm.seed else { return paths }
        for case .file(let path)? in [seed.userData, seed.metaData, seed.networkConfig] { paths.append(path) }
        for file in seed.files { if case .file(let path) = file.content { paths.append(path) } }
        for case .file(let path) in seed.sshKeys { paths.append(path) }
        return paths
    }

    private static func copies(_ steps: [LabStep]) -> [LabPath] {
        steps.compactMap { if case .copy(let copy) = $0.action { copy.from } else { nil } }
    }

    /// The files that an image stands on.
    private func chain(below path: String, format: DiskFormat?) throws(OrchestratorError) -> [String] {
        guard format != .raw, !path.lowercased().hasSuffix(".iso") else { return [] }
        return try withImageErrors { () throws(ImageError) in
            let image = try DiskImage.open(path, options: OpenOptions(format: format?.rawValue, lock: .none))
            defer { try? image.close() }
            return DiskImage.chain(of: image).flatMap { $0.hostFiles.map(\.path) }.filter { $0 != path }
        }
    }

    private func name(of path: String) -> String? {
        let prefix = root + "/"
        guard path.hasPrefix(prefix) else { return nil }
        let name = String(path.dropFirst(prefix.count))
        return PackManifest.isInside(name) ? name : nil
    }

    // MARK: Writing

    private static let pieceBytes = 1 << 20

    private func write(_ files: [Entry], to path: String) throws(OrchestratorError) {
        let writer = try withImageErrors { () throws(ImageError) in try ZstdFileWriter(path) }
        var variables = loaded.variables
        // Whoever unpacks it has a home of their own.
        variables["HOME"] = nil
        var manifest = PackManifest(
            lab: lab.name, labFile: name(of: lab.path) ?? "lab.yaml", variables: variables, files: [])
        for file in files {
            let digest = try append(file, to: writer)
            manifest.files.append(.init(name: file.name, sha256: digest))
        }
        let text = JSONCoding.encode(manifest, pretty: true)
        try withImageErrors { () throws(ImageError) in
            let header = TarHeader(name: PackManifest.fileName, size: UInt64(text.count)).block ?? []
            try writer.write(header + text + [UInt8](repeating: 0, count: TarHeader.padding(UInt64(text.count))))
            // Two empty blocks end an archive.
            try writer.write([UInt8](repeating: 0, count: 2 * TarHeader.bytes))
            try writer.finish()
        }
    }

    /// - Returns: the file's digest.
    private func append(_ entry: Entry, to writer: ZstdFileWriter) throws(OrchestratorError) -> String {
        let file = try withHostErrors { () throws(HostError) in try Descriptor.open(entry.path, O_RDONLY) }
        var status = stat()
        guard fstat(file.raw, &status) == 0 else { throw OrchestratorError(HostError("read", entry.path)) }
        let size = UInt64(max(0, status.st_size))
        guard let header = TarHeader(name: entry.name, size: size, isExecutable: entry.isExecutable).block else {
            throw OrchestratorError(.host, "the name \(entry.name) is too long for an archive")
        }
        try withImageErrors { () throws(ImageError) in try writer.write(header) }
        let digest = SHA256Stream()
        var done: UInt64 = 0
        while done < size {
            if interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted; nothing was packed") }
            guard case .bytes(let bytes) = file.read(limit: Int(min(UInt64(Self.pieceBytes), size - done))) else {
                throw OrchestratorError(.host, "\(entry.path) became shorter while it was read")
            }
            digest.update(bytes)
            try withImageErrors { () throws(ImageError) in try writer.write(bytes) }
            done += UInt64(bytes.count)
            progress(.image(name: entry.name, .making(done: done, total: size)))
        }
        try withImageErrors { () throws(ImageError) in
            try writer.write([UInt8](repeating: 0, count: TarHeader.padding(size)))
        }
        progress(.image(name: entry.name, .ready))
        return digest.finish()
    }
}
