/// The files that a lab refers to are there.
import Glibc

struct FileChecks {
    private let lab: Lab
    private let sink: DiagnosticSink

    init(_ lab: Lab, sink: DiagnosticSink) {
        self.lab = lab
        self.sink = sink
    }

    func check() {
        let uses = ImageUse.all(in: lab)
        for image in lab.images {
            if case .build(let recipe) = image.source { check(recipe, of: image) }
            if case .download(let source) = image.source, let path = source.address.localPath {
                check(
                    LabPath(written: source.address.text, absolute: path), "'url' of image '\(image.name)'",
                    at: image.spans.value("url"))
            }
            guard case .file(let source) = image.source else { continue }
            let users = uses.filter { $0.reference == .named(image.name) }.prefix(3)
            check(
                source.path, "'path' of image '\(image.name)'", at: image.spans.value("path"),
                notes: users.map { .init("\($0.place) needs it", at: $0.span) })
        }
        for use in uses {
            if case .path(let path) = use.reference { check(path, use.place, at: use.span) }
        }
        for vm in lab.distinctVMs {
            check(vm.provision, "'provision' of VM '\(vm.name)'")
            if case .file(let path)? = vm.ignition {
                check(path, "'ignition' of VM '\(vm.name)'", at: vm.spans.value("ignition"))
            }
            if let seed = vm.seed { check(seed, of: vm) }
            guard let boot = vm.kernel else { continue }
            check(boot.kernel, "'kernel' of VM '\(vm.name)'", at: vm.spans.value("kernel"))
            if let initrd = boot.initrd { check(initrd, "'initrd' of VM '\(vm.name)'", at: vm.spans.value("initrd")) }
        }
    }

    /// Files that cloud-init gets.
    private func check(_ seed: CloudSeed, of vm: VM) {
        let sources = [
            ("user-data", seed.userData), ("meta-data", seed.metaData), ("network-config", seed.networkConfig),
        ]
        for (key, source) in sources {
            guard case .file(let path)? = source else { continue }
            check(path, "'\(key)' of 'cloud_init' of VM '\(vm.name)'", at: seed.spans.value(key))
        }
        for file in seed.files {
            guard case .file(let path) = file.content else { continue }
            check(path, "'from' of 'files' of VM '\(vm.name)'", at: file.spans.value("from"))
        }
        for case .file(let path) in seed.sshKeys {
            check(path, "'ssh_keys' of VM '\(vm.name)'", at: vm.spans.item(path.written, of: "ssh_keys"))
        }
    }

    /// Kernel and copied files of a build.
    private func check(_ recipe: BuildRecipe, of image: Image) {
        let place = "'build' of image '\(image.name)'"
        if let boot = recipe.kernel {
            check(boot.kernel, "'kernel' of \(place)", at: recipe.spans.value("kernel"))
            if let initrd = boot.initrd { check(initrd, "'initrd' of \(place)", at: recipe.spans.value("initrd")) }
        }
        check(recipe.steps, place)
    }

    /// Files that steps copy.
    private func check(_ steps: [LabStep], _ place: String) {
        for step in steps {
            guard case .copy(let copy) = step.action else { continue }
            check(copy.from, "'copy' of \(place)", at: copy.spans.value("from"), mayBeFolder: true)
        }
    }

    private func check(
        _ path: LabPath, _ place: String, at span: SourceSpan, notes: [Diagnostic.Note] = [], mayBeFolder: Bool = false
    ) {
        var status = stat()
        let written = path.written.clippedForMessage
        if stat(path.absolute, &status) != 0 {
            let code = errno
            var label: String?
            var message = "\(place): the file '\(written)' cannot be looked at: \(String(cString: strerror(code)))"
            if code == ENOENT || code == ENOTDIR {
                message = "\(place): there is no file '\(written)'"
                label = sink.isFull ? nil : near(path.absolute).map { "did you mean '\($0.clippedForMessage)'?" }
            }
            sink.report(
                Diagnostic(
                    .missingFile, message, at: span, label: label, notes: notes,
                    help: "looked for \(path.absolute.clippedPath)"))
        } else if status.st_mode & S_IFMT == S_IFDIR, !mayBeFolder {
            sink.report(Diagnostic(.missingFile, "\(place): '\(written)' is a folder", at: span, notes: notes))
        }
    }

    /// A file of a similar name in the same folder.
    private func near(_ path: String) -> String? {
        guard let folder = opendir(Paths.folder(of: path)) else { return nil }
        defer { closedir(folder) }
        var names: [String] = []
        // SAFETY: readdir's entry is valid until the next call; its name is a null-terminated array.
        while names.count < 1000, let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return Suggestion.nearest(to: Paths.lastComponent(path), among: names.sorted())
    }
}

extension String {
    /// A path for a message: whole, but without characters that drive a terminal.
    fileprivate var clippedPath: String {
        String(String.UnicodeScalarView(unicodeScalars.map { $0.isUnsafeToPrint ? "\u{FFFD}" : $0 }))
    }
}
