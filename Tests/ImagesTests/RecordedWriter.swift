import Testing

@testable import Images

/// Writes to an image on a simulated disk with everything that its format can do, and keeps account of it.
struct RecordedWriter {
    let image: SimulatedImage
    let disk: SimulatedDisk
    let scratch: Scratch
    /// The disk when recording began.
    let start: [String: PagedBytes]
    private(set) var journal: DiskJournal
    /// What was being done from which event on.
    private(set) var stages: [(event: Int, name: String)] = []
    private var snapshots: [Kept] = []
    private var random: SeededRandom

    /// A snapshot: from when on it must be there, and from when on it need not be.
    private struct Kept {
        var name: String
        var content: [UInt8]
        var from: Int
        var until = Int.max
    }

    init(_ image: SimulatedImage, _ disk: SimulatedDisk, _ scratch: Scratch, seed: UInt64) throws {
        (self.image, self.disk, self.scratch) = (image, disk, scratch)
        random = SeededRandom(seed)
        let device = try image.open(disk, in: scratch)
        var content = try device.bytes(at: 0, count: Int(device.size))
        if image.variant.format == "luks" {
            // Ciphertext that was never written reads as noise; a disk of zeros is easier to talk about.
            content = [UInt8](repeating: 0, count: content.count)
            try device.put(content, at: 0)
        }
        try device.close()
        journal = DiskJournal(content: content)
        start = disk.files
        disk.isRecording = true
    }

    private var now: Int { disk.events.count }
    private mutating func stage(_ name: String) { stages.append((now, name)) }

    mutating func run(rounds: Int, requestsPerRound: Int) throws {
        for round in 0..<rounds {
            stage("open \(round)")
            let device = try image.open(disk, in: scratch)
            let name = "s\(round)"
            try requests(device, requestsPerRound)
            // Before there are snapshots: what they show of the base would change with it.
            if round == 0 { try commit(device) }
            try snapshot(device, name)
            try requests(device, requestsPerRound)
            try rename(device, round)
            try resize(device, round)
            try changeBitmaps(device)
            if round > 0 { try apply(device, "s\(round - 1)") }
            try requests(device, requestsPerRound)
            if round > 0 { try forget(device, "s\(round - 1)") }
            try amend(device, round)
            stage("close")
            try device.close()
            journal.finishedFlush(at: now)
        }
        let found = try image.inspect(disk, in: scratch)
        #expect(firstDifference(found.content, journal.content) == nil, "the writer itself went wrong")
        #expect(found.result.corruptions + found.result.leaks == 0, "\(found.result.findings.prefix(3))")
    }

    private mutating func requests(_ device: any BlockDevice, _ count: Int) throws {
        for _ in 0..<count {
            stage("requests")
            let size = journal.content.count
            switch DiskRequest.random(diskBytes: size, &random, longest: 60_000) {
            case .write(let offset, let bytes):
                journal.began(at: now, offset: offset, bytes: bytes)
                try device.put(bytes, at: UInt64(offset))
            case .zero(let range, let unmap):
                journal.began(at: now, offset: range.lowerBound, bytes: [UInt8](repeating: 0, count: range.count))
                try device.writeZeroes(at: UInt64(range.lowerBound), count: UInt64(range.count), mayUnmap: unmap)
            case .discard(let range):
                // It leaves zeros or the old bytes.
                let event = now
                try device.discard(at: UInt64(range.lowerBound), count: UInt64(range.count))
                let after = try device.bytes(at: UInt64(range.lowerBound), count: range.count)
                journal.began(at: event, offset: range.lowerBound, bytes: [UInt8](repeating: 0, count: range.count))
                journal.began(at: event, offset: range.lowerBound, bytes: after)
            case .read(let range):
                let read = try device.bytes(at: UInt64(range.lowerBound), count: range.count)
                #expect(firstDifference(read, Array(journal.content[range])) == nil)
            case .flush: try flush(device)
            }
        }
    }

    private mutating func flush(_ device: any BlockDevice) throws {
        try device.flush()
        journal.finishedFlush(at: now)
    }

    private mutating func snapshot(_ device: any BlockDevice, _ name: String) throws {
        guard let device = device as? any SnapshotCapable, canSnapshot else { return }
        try flush(device)
        stage("snapshot create")
        try device.createSnapshot(named: name)
        snapshots.append(Kept(name: name, content: journal.content, from: now))
        journal.finishedFlush(at: now)
    }

    /// One reference per cluster leaves no room for snapshots, and a data file has none.
    private var canSnapshot: Bool {
        image.variant.options["refcount_bits"] != "1" && image.variant.options["data_file"] == nil
    }

    private mutating func apply(_ device: any BlockDevice, _ name: String) throws {
        guard let device = device as? any SnapshotCapable, let kept = snapshots.first(where: { $0.name == name }) else {
            return
        }
        try flush(device)
        stage("snapshot apply")
        journal.beganReplacing(at: now, with: kept.content)
        try device.applySnapshot(name)
        journal.finishedFlush(at: now)
    }

    private mutating func forget(_ device: any BlockDevice, _ name: String) throws {
        guard let device = device as? any SnapshotCapable, let index = snapshots.firstIndex(where: { $0.name == name })
        else { return }
        stage("snapshot delete")
        snapshots[index].until = now
        try device.deleteSnapshot(name)
    }

    private mutating func resize(_ device: any BlockDevice, _ round: Int) throws {
        // What grows must read as zeros.
        guard image.variant.capabilities.contains(.resize), image.driver.newImagesReadAsZeros,
            image.variant.options["data_file_raw"] == nil,
            // With snapshots, version 2 keeps its size.
            image.variant.options["compat"] != "0.10"
        else {
            return
        }
        let size = journal.content.count + [200_192, -300_032, 65536][round % 3]
        try flush(device)
        stage("resize to \(size)")
        journal.beganResizing(at: now, to: size)
        try device.resize(to: UInt64(size), preallocation: .off)
        try flush(device)
    }

    /// What `commit` does: the disk reads the same whether its bytes lie here or below.
    private mutating func commit(_ device: any BlockDevice) throws {
        guard image.hasBacking, let top = device as? any BackingChangeable else { return }
        try flush(device)
        stage("commit")
        let base = try image.base(disk, in: scratch, readOnly: false)
        if base.size < device.size { try base.resize(to: device.size, preallocation: .off) }
        try base.put(journal.content, at: 0)
        try base.flush()
        try top.makeEmpty()
        journal.finishedFlush(at: now)
    }

    private mutating func rename(_ device: any BlockDevice, _ round: Int) throws {
        guard image.hasBacking, let top = device as? any BackingChangeable else { return }
        try flush(device)
        stage("rebase")
        // Short and long names in turn; the test attaches the same base whatever it is called.
        let isSmall = (device.clusterSize ?? 512) < 4096
        let name = round % 2 == 0 ? String(repeating: "n", count: isSmall ? 100 : 700) : SimulatedImage.baseName
        try top.changeBacking(BackingReference(file: name, format: "raw"))
    }

    private mutating func changeBitmaps(_ device: any BlockDevice) throws {
        guard let device = device as? QCOW2Image, device.header.version >= 3 else { return }
        for action in [
            QCOW2Image.BitmapAction.add(granularity: nil, disabled: false), .disable, .clear, .enable, .remove,
        ] {
            stage("bitmap")
            try device.changeBitmap(named: "b", action)
        }
        try device.changeBitmap(named: "stays", .add(granularity: 65536, disabled: false))
        try requests(device, 8)
        stage("bitmap remove")
        try device.changeBitmap(named: "stays", .remove)
    }

    private mutating func amend(_ device: any BlockDevice, _ round: Int) throws {
        guard let device = device as? QCOW2Image, device.header.version >= 3 else { return }
        stage("amend")
        var options = ["lazy_refcounts": round % 2 == 0 ? "on" : "off"]
        // Under another width the image is another object: the last thing before it is closed.
        if image.variant.options["refcount_bits"] == nil { options["refcount_bits"] = ["32", "8", "16"][round % 3] }
        try device.amend(AmendRequest(options: options))
    }

    /// What is wrong with the snapshots on a disk whose power was cut before `event`.
    func snapshotFaults(_ cut: SimulatedDisk, at event: Int) throws -> [String] {
        guard !snapshots.isEmpty else { return [] }
        let device = try image.open(cut, in: scratch, readOnly: true)
        let names = Set(device.summary.snapshots.map(\.name))
        try device.close()
        var faults: [String] = []
        for kept in snapshots {
            if kept.from <= event, event <= kept.until, !names.contains(kept.name) {
                faults.append("snapshot \(kept.name) is gone")
            }
            guard names.contains(kept.name), event % 3 == 0 else { continue }
            let device = try image.open(cut, in: scratch, readOnly: true)
            try (device as? any SnapshotCapable)?.loadSnapshot(kept.name)
            let content = try device.bytes(at: 0, count: Int(device.size))
            try device.close()
            if let byte = firstDifference(content, kept.content) {
                faults.append("snapshot \(kept.name) differs at byte \(byte)")
            }
        }
        return faults
    }
}
