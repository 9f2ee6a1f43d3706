import Glibc

@testable import Images

/// Operations of the fault runs beside the plain ones: variants of formats, targets of every kind, repairs.
extension HostFaultTests {
    static let password = ["s": Array("geheim".utf8)]

    /// Opens whatever the runs make: those that are encrypted too.
    static func openAny(_ path: String, _ format: String, readOnly: Bool = false) throws(ImageError) -> any BlockDevice
    {
        var options = OpenOptions(format: format, readOnly: readOnly)
        options.secrets = password
        return try DiskImage.open(path, options: options)
    }

    private static func create(_ scratch: Scratch, _ name: String, _ format: String, _ options: [String: String]) throws
    {
        var request = CreateRequest(path: scratch.path(name), size: 2 << 20, options: options)
        request.secrets = password
        try DiskImage.create(request, format: format)
        let device = try openAny(scratch.path(name), format)
        var random = SeededRandom(5)
        for offset in [0, 300_000, 1_000_000, 1_900_000] { try device.put(random.bytes(70_000), at: UInt64(offset)) }
        try device.close()
    }

    private static func writing(_ format: String, _ options: [String: String]) -> Operation {
        let text = options.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
        let name = "a.\(format)"
        return Operation(
            name: "write \(format) \(text)", images: [name],
            prepare: { scratch in
                var options = options
                if let file = options["data_file"] { options["data_file"] = scratch.path(file) }
                try create(scratch, name, format, options)
            },
            run: { try change(try openAny($0.path(name), format)) })
    }

    private static func converting(_ format: String, _ options: [String: String], existing: Bool = false) -> Operation {
        let text = options.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
        return Operation(
            name: "convert\(existing ? " -n" : "") to \(format) \(text)", images: ["src.qcow2", "out.\(format)"],
            prepare: {
                try fill($0, "src.qcow2", "qcow2")
                if existing { try create($0, "out.\(format)", format, options) }
            },
            run: { scratch in
                let source = try open(scratch.path("src.qcow2"), readOnly: true)
                defer { try? source.close() }
                var request = ConvertRequest(
                    sources: [source], targetPath: scratch.path("out.\(format)"), targetFormat: format)
                request.usesExistingTarget = existing
                request.secrets = password
                if !existing { request.options = options }
                try DiskImage.convert(request)
            })
    }

    private static func resizing(_ format: String, to size: UInt64) -> Operation {
        Operation(
            name: "resize \(format) to \(size)", images: ["a.\(format)"],
            prepare: { try create($0, "a.\(format)", format, format == "luks" ? luks : [:]) },
            run: { scratch in
                let device = try openAny(scratch.path("a.\(format)"), format)
                defer { try? device.close() }
                try device.resize(to: size, preallocation: .off)
                try device.flush()
            })
    }

    private static func onBitmap(_ name: String, _ action: @escaping @Sendable (QCOW2Image) throws -> Void) -> Operation
    {
        Operation(
            name: "bitmap \(name)", images: ["a.qcow2"],
            prepare: { scratch in
                try create(scratch, "a.qcow2", "qcow2", [:])
                let device = try open(scratch.path("a.qcow2"))
                for name in ["b", "c"] {
                    try DiskImage.changeBitmap(device, named: name, .add(granularity: nil, disabled: false))
                }
                try device.put([UInt8](repeating: 9, count: 100_000), at: 400_000)
                try device.close()
            },
            run: { scratch in
                let device = try open(scratch.path("a.qcow2"))
                defer { try? device.close() }
                if let image = device as? QCOW2Image { try action(image) }
                try device.flush()
            })
    }

    private static func committing(_ format: String) -> Operation {
        Operation(
            name: "commit to \(format)", images: ["base.\(format)", "top.qcow2"],
            prepare: { scratch in
                try fill(scratch, "base.\(format)", format)
                var request = CreateRequest(path: scratch.path("top.qcow2"), size: 2 << 20)
                request.backing = BackingReference(file: "base.\(format)", format: format)
                try DiskImage.create(request, format: "qcow2")
                try change(try open(scratch.path("top.qcow2")))
            },
            run: { try DiskImage.commit($0.path("top.qcow2"), format: "qcow2", keepTop: false) })
    }

    private static let luks = ["key-secret": "s", "iter-time": "0"]
    private static let encrypted = [
        "encrypt.format": "luks", "encrypt.key-secret": "s", "encrypt.iter-time": "0",
    ]

    private static let writes: [Operation] = [
        writing("qcow2", ["compat": "0.10"]), writing("qcow2", ["extended_l2": "on"]),
        writing("qcow2", ["lazy_refcounts": "on"]), writing("qcow2", ["data_file": "data"]),
        writing("qcow2", ["cluster_size": "512", "refcount_bits": "1"]), writing("qcow2", encrypted),
        writing("luks", luks), writing("vpc", ["subformat": "fixed"]), writing("vdi", ["static": "on"]),
        writing("vhdx", ["subformat": "fixed"]), writing("vmdk", ["subformat": "monolithicFlat"]),
        writing("vmdk", ["subformat": "twoGbMaxExtentSparse"]),
    ]

    private static let conversions: [Operation] = [
        converting("cow", [:]), converting("qcow", [:]), converting("luks", luks), converting("qcow2", encrypted),
        converting("vmdk", ["subformat": "streamOptimized"]), converting("vmdk", ["subformat": "monolithicFlat"]),
        converting("vmdk", ["subformat": "twoGbMaxExtentSparse"]), converting("vpc", ["subformat": "fixed"]),
        converting("qcow2", ["preallocation": "metadata"]), converting("qcow2", ["extended_l2": "on"]),
        converting("raw", [:], existing: true), converting("qcow2", [:], existing: true),
        converting("vmdk", [:], existing: true), converting("vdi", [:], existing: true),
        converting("vhdx", [:], existing: true), converting("vpc", [:], existing: true),
    ]

    private static let others: [Operation] = [
        resizing("raw", to: 1 << 20), resizing("raw", to: 3 << 20), resizing("luks", to: 3 << 20),
        resizing("qcow2", to: 1 << 20),
        onBitmap("remove") { try $0.changeBitmap(named: "b", .remove) },
        onBitmap("clear") { try $0.changeBitmap(named: "b", .clear) },
        onBitmap("disable") { try $0.changeBitmap(named: "b", .disable) },
        onBitmap("merge") { image in
            let content = try image.bitmapContent(named: "c")
            try image.changeBitmap(named: "b", .merge(content))
        },
        committing("raw"), committing("vmdk"), committing("vhdx"),
    ]

    static let variants = writes + conversions + others
}
