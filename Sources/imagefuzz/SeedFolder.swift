import Glibc
import Images

/// The seeds of one campaign on disk: a folder per recipe.
struct SeedFolder {
    let root: String

    func folder(_ recipe: SeedRecipe) -> String { root + "/" + recipe.name }

    /// Makes a recipe's files. False where it needs qemu-img and there is none.
    func make(_ recipe: SeedRecipe) throws -> Bool {
        let folder = folder(recipe)
        guard mkdir(folder, 0o755) == 0 else { throw FuzzFailure("cannot make \(folder)") }
        let path = folder + "/" + SeedRecipe.mainFile
        switch recipe.content {
        case .bytes(let make):
            try write(make(), to: path)
            if recipe.name == "vmdk-sesparse" { try write(HandMade.seSparse(), to: folder + "/image-sesparse.vmdk") }
        case .qemu(let arguments):
            return try fromRaw(recipe.size, folder) { ChildProcess.run(["qemu-img"] + arguments, in: folder) }
        case .shell(let line):
            return try fromRaw(recipe.size, folder) { ChildProcess.run(["/bin/sh", "-c", line], in: folder) }
        case .compressed: try compressed(recipe, folder, path)
        case .overlay(let base):
            // A differencing VDI finds its parent by UUID among the .vdi files of its folder.
            let below = base == "vdi" ? "base.vdi" : "base"
            try create(folder + "/" + below, base, recipe.size, recipe.format == base ? recipe.options : [:])
            try write(path: folder + "/" + below, base) { device in try fill(device, from: 0x1000) }
            var request = CreateRequest(
                path: path, size: recipe.size, backing: BackingReference(file: below, format: base),
                options: recipe.options)
            request.secrets = SeedRecipe.secrets
            try DiskImage.create(request, format: recipe.format)
            try write(path: path, recipe.format) { device in try fill(device, from: 0x9_0000) }
        case .dirtyLog: try dirtyLog(recipe, path)
        case .written, .snapshots, .bitmaps:
            try create(path, recipe.format, recipe.size, recipe.options)
            try write(path: path, recipe.format) { device in try change(device, recipe) }
        }
        return true
    }

    private func create(_ path: String, _ format: String, _ size: UInt64, _ options: [String: String]) throws {
        var request = CreateRequest(path: path, size: size, options: options)
        request.secrets = SeedRecipe.secrets
        try DiskImage.create(request, format: format, unsafeCache: true)
    }

    private func write(path: String, _ format: String, _ body: (any BlockDevice) throws -> Void) throws {
        var options = OpenOptions(format: format, readOnly: false, unsafeCache: true)
        options.secrets = SeedRecipe.secrets
        options.keySecret = "key"
        let device = try DiskImage.open(path, options: options)
        try body(device)
        try device.close()
    }

    private func change(_ device: any BlockDevice, _ recipe: SeedRecipe) throws {
        try fill(device, from: 0)
        switch recipe.content {
        case .snapshots:
            guard let image = device as? any SnapshotCapable else { return }
            for name in ["one", "two", "three"] {
                try image.createSnapshot(named: name)
                try fill(device, from: UInt64(name.utf8.count) * 0x1_3000)
            }
        case .bitmaps:
            try DiskImage.changeBitmap(device, named: "first", .add(granularity: 4096, disabled: false))
            try DiskImage.changeBitmap(device, named: "second", .add(granularity: nil, disabled: true))
        default: break
        }
    }

    /// Guest data: one word over and over, so that it is told from metadata; and a stretch of zeros.
    private func fill(_ device: any BlockDevice, from start: UInt64) throws {
        let block = [UInt8](repeating: 0, count: 65536).indices.map { UInt8(truncatingIfNeeded: 0x41 + $0 % 8) }
        for (offset, count) in [(start, 65536), (start + 0x3_1200, 20000), (start + 0x12_0000, 40000)]
        where offset + UInt64(count) <= device.size {
            try block.withUnsafeBytes { bytes in
                try device.write(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: offset)
            }
        }
        if device.size > start + 0x6_0000 {
            try device.writeZeroes(at: start + 0x4_0000, count: 0x2_0000, mayUnmap: false)
        }
    }

    /// Runs a program that makes something out of `data.raw`.
    private func fromRaw(_ size: UInt64, _ folder: String, _ body: () -> Bool) throws -> Bool {
        try raw(size, at: folder + "/data.raw")
        defer { unlink(folder + "/data.raw") }
        return body()
    }

    private func raw(_ size: UInt64, at path: String) throws {
        try create(path, "raw", size, [:])
        try write(path: path, "raw") { device in
            try fill(device, from: 0)
            // Text, so that compressed clusters are of many lengths.
            var text = ""
            for number in 0..<4000 { text += "line \(number &* 2_654_435_761) of the seed\n" }
            let bytes = Array(text.utf8)
            let start = min(0x1f_0000, size / 2)
            try bytes.withUnsafeBytes { bytes in
                let count = min(bytes.count, Int(size - start))
                try device.write(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: start)
            }
        }
    }

    private func compressed(_ recipe: SeedRecipe, _ folder: String, _ path: String) throws {
        let source = folder + "/data.raw"
        try raw(recipe.size, at: source)
        let device = try DiskImage.open(source, options: OpenOptions(format: "raw"))
        var request = ConvertRequest(sources: [device], targetPath: path, targetFormat: recipe.format)
        request.options = recipe.options
        request.isCompressed = true
        request.syncsResult = false
        try DiskImage.convert(request)
        try device.close()
        unlink(source)
    }

    /// The file as it was half-way through the changes that a VHDX writer had logged and not yet applied.
    private func dirtyLog(_ recipe: SeedRecipe, _ path: String) throws {
        let driver = try FormatRegistry.require(recipe.format)
        let storage = MemoryStorage()
        try driver.create(
            in: storage, request: CreateRequest(path: path, size: recipe.size, options: recipe.options))
        let start = storage.bytes
        storage.isRecording = true
        let device = try driver.open(
            storage: storage, options: OpenOptions(format: recipe.format, readOnly: false, openBacking: false))
        try fill(device, from: 0)
        try device.close()
        // The header in force names a log GUID from the moment the log is used until it is empty again.
        var dirty: [Int] = []
        for count in storage.recorded.indices {
            let bytes = MemoryStorage.replay(storage.recorded[..<count], onto: start).bytes
            let sequences = [65536, 131072].map { place in (bytes[place + 8..<place + 16].reversed().map { $0 }, place)
            }
            guard let newest = sequences.max(by: { $0.0.lexicographicallyPrecedes($1.0) }) else { continue }
            if bytes[newest.1 + 48..<newest.1 + 64].contains(where: { $0 != 0 }) { dirty.append(count) }
        }
        guard !dirty.isEmpty else { throw FuzzFailure("the VHDX writer never left a log") }
        try write(MemoryStorage.replay(storage.recorded[..<dirty[dirty.count / 2]], onto: start).bytes, to: path)
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        let storage = try FileStorage.create(path, unsafeCache: true)
        defer { storage.close() }
        try bytes.withUnsafeBytes { try storage.write(from: $0, at: 0) }
    }
}
