import Glibc
import Images
import Seeded

/// Everything that is done with one damaged image. Errors are the expected answer; what counts as a finding is a crash,
/// a hang, memory, a file changed by a reader, an empty extent, an error without a sentence, or a file opened that lies
/// outside the image's folder.
struct Exercise {
    let folder: String
    let recipe: SeedRecipe
    var random: SeededRandom
    private(set) var findings: [String] = []
    /// Whether the damage was such that the image still opened.
    private(set) var didOpen = false

    private var path: String { folder + "/" + SeedRecipe.mainFile }

    init(folder: String, recipe: SeedRecipe, random: SeededRandom) {
        self.folder = folder
        self.recipe = recipe
        self.random = random
    }

    private mutating func options(readOnly: Bool) -> OpenOptions {
        var options = OpenOptions(
            format: random.oneIn(8) ? nil : recipe.format, readOnly: readOnly, lock: .none,
            openBacking: !random.oneIn(8), unsafeCache: true, forCheck: random.oneIn(3))
        options.secrets = SeedRecipe.secrets
        options.keySecret = "key"
        if random.oneIn(2) { options.confinedTo = [folder] }
        return options
    }

    /// Runs the readers and then, on the same file, the writers.
    mutating func run() {
        let before = stamp()
        attempt { (me) throws(ImageError) in try me.read() }
        if stamp() != before { findings.append("a reader changed the file") }
        for _ in 0..<2 { attempt { (me) throws(ImageError) in try me.write() } }
        attempt { (me) throws(ImageError) in try me.repair() }
    }

    private mutating func attempt(_ body: (inout Exercise) throws(ImageError) -> Void) {
        do throws(ImageError) {
            try body(&self)
        } catch {
            note(error)
        }
    }

    private mutating func note(_ error: ImageError) {
        if error.message.isEmpty { findings.append("an error of kind \(error.kind) has no message") }
        if error.message.utf8.count > 20_000 { findings.append("an error of \(error.message.utf8.count) bytes") }
    }

    /// Size and time of the last change.
    private func stamp() -> [Int] {
        var status = stat()
        guard stat(path, &status) == 0 else { return [] }
        return [Int(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
    }

    /// Every open file must be in the folder when it was said so.
    private mutating func checkConfinement(_ options: OpenOptions) {
        guard options.confinedTo != nil else { return }
        for descriptor in 3..<64 {
            guard let target = Worker.openFile(descriptor) else { continue }
            if !target.hasPrefix(folder + "/"), !Worker.ownFiles.contains(target) {
                findings.append("opened '\(target)' outside the folder")
            }
        }
    }

    // MARK: Readers

    private mutating func read() throws(ImageError) {
        let options = options(readOnly: true)
        let device = try DiskImage.open(path, options: options)
        defer { try? device.close() }
        didOpen = true
        checkConfinement(options)
        _ = device.summary
        _ = device.formatDetails
        _ = device.backingReference
        attempt { (me) throws(ImageError) in try me.walk(device) }
        readPieces(device)
        attempt { (me) throws(ImageError) in try me.check(device, .none) }
        if let image = device as? any SnapshotCapable {
            for snapshot in device.summary.snapshots.prefix(3) {
                attempt { (me) throws(ImageError) in
                    try image.loadSnapshot(snapshot.id)
                    try me.walk(device)
                    me.readPieces(device)
                }
            }
        }
        if device.size <= 8 << 20 {
            attempt { (_) throws(ImageError) in _ = try DiskImage.map(device) }
            attempt { (_) throws(ImageError) in
                _ = try DiskImage.measure(format: "qcow2", options: [:], size: device.size, source: device)
            }
            if random.oneIn(4) { attempt { (me) throws(ImageError) in try me.convert(device) } }
        }
    }

    private mutating func walk(_ device: any BlockDevice) throws(ImageError) {
        var position: UInt64 = 0
        for _ in 0..<1000 where position < device.size {
            let limit = random.oneIn(4) ? UInt64(1 + random.below(1 << 20)) : device.size - position
            let extent = try device.extent(at: position, limit: min(limit, device.size - position))
            guard extent.length > 0, extent.length <= limit else {
                findings.append("extent at \(position) is \(extent.length) bytes long, limit \(limit)")
                return
            }
            position += extent.length
        }
    }

    /// The beginning, the end and places between, in pieces of all lengths.
    private mutating func readPieces(_ device: any BlockDevice) {
        let size = device.size
        guard size > 0 else { return }
        for step in 0..<24 {
            let longest = step % 4 == 0 ? 300_000 : 20_000
            let count = Int(min(UInt64(1 + random.below(longest)), size))
            let last = size - UInt64(count)
            let start: UInt64
            switch step % 6 {
            case 0: start = min(UInt64(step) * 65536, last)
            case 1: start = last
            case 2: start = UInt64.random(in: 0...last, using: &random)
            default: start = UInt64.random(in: 0...min(last, 4 << 20), using: &random)
            }
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
            defer { buffer.deallocate() }
            attempt { (_) throws(ImageError) in try device.read(into: buffer, at: start) }
        }
    }

    private mutating func check(_ device: any BlockDevice, _ repair: RepairMode) throws(ImageError) {
        let result = try DiskImage.check(device, repair: repair, verifyData: true)
        if result.findings.count > 5000 { findings.append("check reports \(result.findings.count) lines") }
    }

    private mutating func convert(_ device: any BlockDevice) throws(ImageError) {
        let target = folder + "/converted"
        defer { unlink(target) }
        var request = ConvertRequest(
            sources: [device], targetPath: target, targetFormat: random.pick(["raw", "qcow2", "vmdk"]))
        request.isCompressed = request.targetFormat == "qcow2" && random.oneIn(2)
        request.durability = .never
        request.salvage = random.oneIn(2)
        request.workers = 2
        try DiskImage.convert(request)
    }

    // MARK: Writers

    private mutating func write() throws(ImageError) {
        let options = options(readOnly: false)
        let device = try DiskImage.open(path, options: options)
        defer { try? device.close() }
        checkConfinement(options)
        for _ in 0..<12 {
            let size = device.size
            guard size > 0 else { return }
            let count = min(UInt64(1 + random.below(random.oneIn(3) ? 200_000 : 9000)), size)
            let last = size - count
            let start = UInt64.random(in: 0...(random.oneIn(3) ? last : min(last, 4 << 20)), using: &random)
            attempt { (me) throws(ImageError) in try me.change(device, start, count) }
        }
        try device.flush()
        _ = device.summary
        try device.close()
    }

    private mutating func change(_ device: any BlockDevice, _ start: UInt64, _ count: UInt64) throws(ImageError) {
        switch random.below(12) {
        case 0..<5:
            let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(count), alignment: 16)
            defer { bytes.deallocate() }
            bytes.initializeMemory(as: UInt8.self, repeating: UInt8(random.below(256)))
            try device.write(from: UnsafeRawBufferPointer(bytes), at: start)
        case 5: try device.writeZeroes(at: start, count: count, mayUnmap: random.oneIn(2))
        case 6: try device.discard(at: start, count: count)
        case 7: try device.flush()
        case 8:
            let sizes = [device.size + 65536, device.size / 2, device.size + 1 << 30, 1 << 20]
            if random.oneIn(2) { try device.resize(to: random.pick(sizes), preallocation: .off) }
        case 9: try changeSnapshots(device)
        case 10:
            let actions: [QCOW2Image.BitmapAction] = [
                .add(granularity: 65536, disabled: false), .remove, .clear, .enable, .disable,
            ]
            if device.formatName == "qcow2" {
                try DiskImage.changeBitmap(
                    device, named: random.pick(["first", "second", "new"]), random.pick(actions))
            }
        default:
            guard let image = device as? any BackingChangeable else { return }
            if random.oneIn(4) { try image.makeEmpty() } else { try image.changeBacking(nil) }
        }
    }

    private mutating func changeSnapshots(_ device: any BlockDevice) throws(ImageError) {
        guard let image = device as? any SnapshotCapable else { return }
        let names = device.summary.snapshots.prefix(8).map(\.id) + ["new"]
        switch random.below(3) {
        case 0: try image.createSnapshot(named: "new")
        case 1: try image.applySnapshot(random.pick(names))
        default: try image.deleteSnapshot(random.pick(names))
        }
    }

    /// A repair, and what it leaves: an image that opens and reads as far as it goes.
    private mutating func repair() throws(ImageError) {
        var options = options(readOnly: false)
        options.forCheck = true
        let device = try DiskImage.open(path, options: options)
        attempt { (me) throws(ImageError) in try me.check(device, me.random.oneIn(3) ? .leaks : .all) }
        try device.close()
        try read()
    }
}
