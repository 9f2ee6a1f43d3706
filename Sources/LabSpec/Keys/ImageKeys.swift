/// `images`: golden images, and the recipes of those that are made.

/// An entry of `images` before it is known to be whole.
struct ImageDraft: Sendable {
    var name: String
    var path: LabPath?
    var url: String?
    var format: DiskFormat?
    var sha256: String?
    var create: CreateRecipe?
    var convert: ConvertRecipe?
    var build: BuildRecipe?
    var spans = SectionSpans()

    /// The image; nil where its source is missing or not right, which has been reported.
    var image: Image? {
        let source: ImageSource
        if let path {
            source = .file(FileSource(path: path, format: format, sha256: sha256))
        } else if let url {
            guard let format, let sha256 else { return nil }
            source = .download(DownloadSource(address: ImageAddress(url), format: format, sha256: sha256))
        } else if let create {
            source = .create(create)
        } else if let convert {
            source = .convert(convert)
        } else if let build {
            source = .build(build)
        } else {
            return nil
        }
        return Image(name: name, source: source, spans: spans)
    }

    /// Fills in what the file's name says, and reports what it hides.
    mutating func finish(_ scope: DecodingScope) {
        if let url { finish(ImageAddress(url), scope) }
        guard let path, spans.entries["format"] == nil else { return }
        let ending = path.written.lowercased().split(separator: ".").last.map(String.init) ?? ""
        switch ending {
        case "iso":
            // A CD image is raw by definition: nothing is probed.
            format = .raw
        case "raw", "dd", "bin":
            scope.report(
                .rawFormat, "\(scope.place) looks raw, but does not say so", at: spans.value("path"),
                help: "add `format: raw`; a raw image is never guessed, since a guest could write any header into it")
        case "img", "ima", "flp":
            scope.sink.report(
                Diagnostic(
                    .rawFormat, "\(scope.place) may be raw, but does not say so", at: spans.value("path"),
                    help: "add `format: raw`, or the format it has; probing never answers raw", severity: .warning))
        default: break
        }
    }

    /// What is downloaded is never probed: its format is written, or its name says it.
    private mutating func finish(_ address: ImageAddress, _ scope: DecodingScope) {
        guard spans.entries["format"] == nil else { return }
        format = address.format
        guard format == nil else { return }
        scope.report(
            .rawFormat, "the name '\(address.fileName.clippedForMessage)' in \(scope.place) does not say its format",
            at: spans.value("url"), help: "add `format`, such as `format: qcow2` or `format: raw`")
    }

    /// Words of other programs for formats.
    static let formatSlips = ["vhd": "vpc", "img": "raw", "iso": "raw", "qcow3": "qcow2", "bin": "raw"]

    static let table = SectionTable<ImageDraft>(
        id: "image", noun: "image", plural: "images",
        "A golden image: never written by a VM. It is there (`path`), it is downloaded (`url`), or it is made (`create`, "
            + "`convert`, `build`).",
        spans: \.spans,
        rules: [
            .exactlyOne(["path", "url", "create", "convert", "build"]),
            .requiresAny(key: "format", of: ["path", "url"]), .requiresAny(key: "sha256", of: ["path", "url"]),
            .needs(
                key: "url", companion: "sha256",
                help: "`sha256sum` of the file, or a line of the SHA256SUMS that its publisher signs"),
        ],
        keys: [
            LabKey(
                "path", .path, \.path, "The image file, relative to the lab file's folder.",
                synonyms: ["file", "source", "image"]),
            LabKey(
                "url", .url, \.url,
                "An address (`https`, `http`, `file`) that the image is downloaded from, once for all labs; `.xz`, `.gz` and "
                    + "`.zst` are unpacked.",
                synonyms: ["uri", "href", "download", "box_url"]),
            LabKey(
                "format", .choice(DiskFormat.allCases, slips: formatSlips), \.format,
                "The format of `path`. Needed for raw images (`.iso` files are raw without saying so); others are "
                    + "probed and pinned without it. Of `url`, it is the format of what is unpacked, and needed where "
                    + "the name does not say it.",
                synonyms: ["type", "fmt"]),
            LabKey(
                "sha256", .sha256, \.sha256,
                "The SHA-256 digest of the file at `path`, or of what `url` gives before it is unpacked; a file that differs "
                    + "is refused.",
                synonyms: ["checksum", "digest", "hash", "sha256sum"]),
            LabKey("create", create, \.create, "An empty image.", synonyms: ["new", "empty"]),
            LabKey("convert", convert, \.convert, "Another image, in another format.", synonyms: ["copy"]),
            LabKey(
                "build", build, \.build, "What a VM made of an image, or of an empty disk.", synonyms: ["provision"]),
        ])

    private static let create = ValueType<CreateRecipe>.section(
        CreateDraft.table, fresh: CreateDraft(), help: { "write { size: \($0) }" }, finish: { draft, _ in draft.recipe }
    )

    private static let convert = ValueType<ConvertRecipe>.section(
        ConvertDraft.table, fresh: ConvertDraft(), help: { "write { from: \($0) }" },
        finish: { draft, scope in draft.finish(scope) })

    private static let build = ValueType<BuildRecipe>.section(
        BuildDraft.table, fresh: BuildDraft(), finish: { draft, scope in draft.finish(scope) })
}

/// Sizes of disks: whole sectors.
let diskSizes = ByteSize.kibibytes(64)...ByteSize(bytes: 1 << 52)
let sector = ByteSize(bytes: 512)

/// `create`.
struct CreateDraft: Sendable {
    var format = CreateRecipe().format
    var size: ByteSize?
    var spans = SectionSpans()

    var recipe: CreateRecipe? {
        guard let size else { return nil }
        var recipe = CreateRecipe(format: format, size: size)
        recipe.spans = spans
        return recipe
    }

    static let table = SectionTable<CreateDraft>(
        id: "create", noun: "create", plural: "creates", "An empty image.", spans: \.spans,
        keys: [
            LabKey(
                "format", .choice(DiskFormat.creatable, slips: ImageDraft.formatSlips), \.format,
                defaultOf: CreateDraft(), "The format to create.", synonyms: ["type", "fmt"]),
            LabKey(
                "size", .size(diskSizes, granule: sector), \.size, required: true,
                "The size that the guest sees, in whole sectors of 512 bytes.", synonyms: ["capacity", "length"]),
        ])
}

/// `convert`.
struct ConvertDraft: Sendable {
    var from: ImageReference?
    var format = ConvertRecipe().format
    var compress = ConvertRecipe().compress
    var spans = SectionSpans()

    func finish(_ scope: DecodingScope) -> ConvertRecipe? {
        if compress, !DiskFormat.compressible.contains(format) {
            let able = DiskFormat.compressible.map(\.rawValue).joined(separator: ", ")
            scope.report(
                .conflict, "'compress' in \(scope.place): \(format.rawValue) images cannot be compressed",
                at: spans.key("compress"),
                notes: spans.entries["format"].map { [.init("the format is chosen here", at: $0.value)] } ?? [],
                help: "formats that can: \(able)")
        }
        guard let from else { return nil }
        var recipe = ConvertRecipe(from: from, format: format, compress: compress)
        recipe.spans = spans
        return recipe
    }

    static let table = SectionTable<ConvertDraft>(
        id: "convert", noun: "convert", plural: "converts", "Another image, in another format.", spans: \.spans,
        keys: [
            LabKey(
                "from", .imageReference, \.from, required: true,
                "The image to convert: the name of an entry of `images`, or a path. A raw one needs an entry with "
                    + "`format: raw`.",
                synonyms: ["source", "input", "base", "image"]),
            LabKey(
                "format", .choice(DiskFormat.convertible, slips: ImageDraft.formatSlips), \.format,
                defaultOf: ConvertDraft(), "The format to write.", synonyms: ["to", "type", "output"]),
            LabKey("compress", .boolean, \.compress, defaultOf: ConvertDraft(), "Compresses what is written."),
        ])
}

/// `build`.
struct BuildDraft: Sendable {
    var from: ImageReference?
    var disk: ByteSize?
    var recipe = BuildRecipe()
    var kernel: LabPath?
    var initrd: LabPath?
    var append: String?
    var spans = SectionSpans()

    func finish(_ scope: DecodingScope) -> BuildRecipe? {
        var recipe = recipe
        if let from {
            recipe.start = .image(from)
        } else if let disk {
            recipe.start = .emptyDisk(disk)
            if recipe.cdrom == nil, ["cdrom", "kernel"].allSatisfy({ spans.entries[$0] == nil }) {
                scope.report(
                    .missingCompanion, "\(scope.place) starts from an empty disk and has nothing to boot from",
                    at: spans.key("disk"), help: "add `cdrom` with an installer's ISO")
            }
            // An empty disk cannot boot before the installer has written it.
            if spans.entries["boot"] == nil { recipe.boot = [.disk, .cdrom] }
        } else {
            return nil
        }
        if let kernel { recipe.kernel = KernelBoot(kernel: kernel, initrd: initrd, append: append ?? "") }
        recipe.spans = spans
        return recipe
    }

    static let table = SectionTable<BuildDraft>(
        id: "build", noun: "build", plural: "builds",
        "A VM runs on an overlay of `from`, or on an empty disk; what it leaves when it powers off is the image.",
        spans: \.spans,
        rules: [
            .exactlyOne(["from", "disk"]), .requires(key: "initrd", needed: "kernel"),
            .requires(key: "append", needed: "kernel"),
        ],
        keys: [
            LabKey(
                "from", .imageReference, \.from,
                "The image to start from: the name of an entry of `images`, or a path.",
                synonyms: ["base", "image"]),
            LabKey(
                "disk", .size(diskSizes, granule: sector), \.disk, "Starts from an empty disk of this size.",
                synonyms: ["size", "hda"]),
            LabKey("cdrom", .imageReference, \.recipe.cdrom, "A CD in the drive.", synonyms: ["iso", "cd"]),
            LabKey(
                "boot", .bootOrder, \.recipe.boot, defaultOf: BuildDraft(),
                "Boot devices: `c` disk, `d` CD, `a` floppy, `n` network; several letters are an order."),
            LabKey(
                "memory", .size(VMDraft.memorySizes, granule: .kibibytes(4)), \.recipe.memory, defaultOf: BuildDraft(),
                "Memory of the building VM.", synonyms: ["mem", "ram", "m"]),
            LabKey(
                "kernel", .path, \.kernel, "A Linux kernel to boot directly, such as an installer's.",
                synonyms: ["vmlinuz", "linux"]),
            LabKey("initrd", .path, \.initrd, "The initial RAM disk of `kernel`.", synonyms: ["initramfs", "ramdisk"]),
            LabKey("append", .line, \.append, "The command line of `kernel`.", synonyms: ["cmdline", "args"]),
            LabKey(
                "steps", .list(of: StepDraft.type), \.recipe.steps, defaultOf: BuildDraft(),
                "What is done with the VM, in order. Behind the last one the build waits until the guest powers off.",
                synonyms: ["script", "commands", "run"]),
            LabKey(
                "timeout", .duration(.seconds(1)...(.minutes(60 * 24))), \.recipe.timeout, defaultOf: BuildDraft(),
                "How long the whole build may take."),
            LabKey("compress", .boolean, \.recipe.compress, defaultOf: BuildDraft(), "Compresses the result."),
        ])
}
