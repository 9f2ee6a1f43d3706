import Glibc
import Testing

@testable import Images

/// A host disk that fails at the n-th change, for every n: the writer says so, and nothing that was flushed is lost.
@Suite struct DiskFailureTests {
    /// Failing positions that are tried per kind of image.
    private static let positions = 15 * CrashTests.effort

    @Test(arguments: SimulatedImage.all)
    func aFailingDiskEndsInAnErrorAndAnImageThatOpens(image: SimulatedImage) throws {
        let scratch = Scratch()
        let start = try image.create(in: scratch).files
        let whole = SimulatedDisk(files: start)
        var writer = try FailingWriter(image, whole, scratch)
        try writer.run()
        #expect(writer.errors.isEmpty, "without a failure: \(writer.errors.prefix(2))")
        var random = SeededRandom(5)
        let step = max(1, whole.changes / Self.positions)
        for position in stride(from: 0, to: whole.changes, by: step) {
            let first = position + Int.random(in: 0..<step, using: &random)
            let disk = SimulatedDisk(files: start)
            // Once, for a while, or from here on.
            let length = [1, 5, Int.max - first].randomElement(using: &random) ?? 1
            disk.failing = first..<first + length
            disk.failure = Bool.random(using: &random) ? ENOSPC : EIO
            var faults: [String] = []
            do {
                var writer = try FailingWriter(image, disk, scratch)
                try writer.run()
                faults += writer.faults
                // A lost punch or a refcount that is written again is no error to anybody.
                for error in writer.errors where error.kind != .outOfSpace && error.kind != .io {
                    faults.append("the error was of kind \(error.kind): \(error.message)")
                }
                disk.failing = 0..<0
                let found = try image.inspect(disk, in: scratch)
                if found.result.corruptions > 0 { faults.append("\(found.result.findings.prefix(3))") }
                if let fault = writer.journal.allowsNow(found.content) {
                    faults.append("\(fault); errors: \(writer.errors.map(\.message).prefix(3))")
                }
            } catch {
                faults.append("\(error)")
            }
            #expect(faults.isEmpty, "change \(first) of \(whole.changes), \(length) failures: \(faults.prefix(4))")
            if !faults.isEmpty { return }
        }
    }
}

/// Writes to an image whose disk may fail, and goes on after failures.
private struct FailingWriter {
    let image: SimulatedImage
    let disk: SimulatedDisk
    let scratch: Scratch
    private(set) var journal = DiskJournal(content: [])
    private(set) var errors: [ImageError] = []
    private(set) var faults: [String] = []
    private var random = SeededRandom(8)
    private var snapshots: [String: [UInt8]] = [:]

    init(_ image: SimulatedImage, _ disk: SimulatedDisk, _ scratch: Scratch) throws {
        (self.image, self.disk, self.scratch) = (image, disk, scratch)
    }

    mutating func run() throws {
        let device: any BlockDevice
        do {
            device = try image.open(disk, in: scratch)
        } catch let error as ImageError {
            errors.append(error)
            disk.failing = 0..<0
            let found = try image.inspect(disk, in: scratch)
            journal = DiskJournal(content: found.content)
            return
        }
        journal = DiskJournal(content: try device.bytes(at: 0, count: Int(device.size)))
        try requests(device, 12)
        whole(device) { writer throws(ImageError) in
            try (device as? any SnapshotCapable)?.createSnapshot(named: "s")
            writer.snapshots["s"] = writer.journal.content
        }
        try requests(device, 12)
        if let kept = snapshots["s"] {
            whole(device, or: kept) { _ throws(ImageError) in
                try (device as? any SnapshotCapable)?.applySnapshot("s")
            }
        }
        try requests(device, 6)
        if snapshots["s"] != nil {
            whole(device) { _ throws(ImageError) in try (device as? any SnapshotCapable)?.deleteSnapshot("s") }
        }
        resize(device, to: device.size + 100_352)
        try requests(device, 6)
        if attempt({ () throws(ImageError) in try device.close() }) { journal.finishedFlush(at: disk.changes) }
    }

    /// Sends requests; what a failed one has left is read back and must be old or new.
    private mutating func requests(_ device: any BlockDevice, _ count: Int) throws {
        for _ in 0..<count {
            switch DiskRequest.random(diskBytes: journal.content.count, &random, longest: 60_000) {
            case .write(let offset, let bytes):
                change(device, offset, to: bytes) { () throws(ImageError) in
                    let span = bytes.span
                    try span.withUnsafeBytes { (raw) throws(ImageError) in
                        try device.write(from: raw, at: UInt64(offset))
                    }
                }
            case .zero(let range, let unmap):
                change(device, range.lowerBound, to: [UInt8](repeating: 0, count: range.count)) {
                    () throws(ImageError) in
                    try device.writeZeroes(
                        at: UInt64(range.lowerBound), count: UInt64(range.count), mayUnmap: unmap)
                }
            case .discard(let range):
                change(device, range.lowerBound, to: [UInt8](repeating: 0, count: range.count)) {
                    () throws(ImageError) in
                    try device.discard(at: UInt64(range.lowerBound), count: UInt64(range.count))
                }
            case .read(let range): compare(device, range)
            case .flush: flush(device)
            }
        }
    }

    private mutating func attempt(_ body: () throws(ImageError) -> Void) -> Bool {
        do throws(ImageError) {
            try body()
            return true
        } catch {
            errors.append(error)
            return false
        }
    }

    private mutating func flush(_ device: any BlockDevice) {
        if attempt({ () throws(ImageError) in try device.flush() }) { journal.finishedFlush(at: disk.changes) }
    }

    private mutating func change(
        _ device: any BlockDevice, _ offset: Int, to bytes: [UInt8], _ body: () throws(ImageError) -> Void
    ) {
        let old = Array(journal.content[offset..<offset + bytes.count])
        journal.began(at: disk.changes, offset: offset, bytes: bytes)
        _ = attempt(body)
        // Reading never fails here: only changes do.
        guard let now = try? device.bytes(at: UInt64(offset), count: bytes.count) else {
            return faults.append("bytes at \(offset) cannot be read after an error")
        }
        if let wrong = now.indices.first(where: { now[$0] != old[$0] && now[$0] != bytes[$0] }) {
            faults.append("byte \(offset + wrong) is neither old nor new")
        }
        journal.began(at: disk.changes, offset: offset, bytes: now)
    }

    private mutating func compare(_ device: any BlockDevice, _ range: Range<Int>) {
        guard let now = try? device.bytes(at: UInt64(range.lowerBound), count: range.count) else {
            return faults.append("bytes \(range) cannot be read")
        }
        if let byte = firstDifference(now, Array(journal.content[range])) {
            faults.append("byte \(range.lowerBound + byte) reads wrong")
        }
    }

    /// Something that leaves the disk as it is or makes it `other`, at one instant.
    private mutating func whole(
        _ device: any BlockDevice, or other: [UInt8]? = nil, _ body: (inout FailingWriter) throws(ImageError) -> Void
    ) {
        guard device is any SnapshotCapable, image.variant.options["refcount_bits"] != "1",
            image.variant.options["data_file"] == nil
        else { return }
        flush(device)
        do throws(ImageError) {
            try body(&self)
        } catch {
            errors.append(error)
        }
        guard let now = try? device.bytes(at: 0, count: Int(device.size)) else {
            return faults.append("the disk cannot be read")
        }
        if now == other {
            journal.beganReplacing(at: disk.changes, with: now)
            journal.finishedFlush(at: disk.changes)
        } else if let byte = firstDifference(now, journal.content) {
            faults.append("byte \(byte) is neither the disk's nor the snapshot's")
        }
    }

    private mutating func resize(_ device: any BlockDevice, to size: UInt64) {
        guard image.variant.capabilities.contains(.resize), image.driver.newImagesReadAsZeros,
            // With snapshots, version 2 keeps its size.
            image.variant.options["compat"] != "0.10"
        else { return }
        flush(device)
        if attempt({ () throws(ImageError) in try device.resize(to: size, preallocation: .off) }) {
            journal.beganResizing(at: disk.changes, to: Int(size))
        } else if device.size == size {
            journal.beganResizing(at: disk.changes, to: Int(size))
        }
        compare(device, 0..<journal.content.count)
    }
}
