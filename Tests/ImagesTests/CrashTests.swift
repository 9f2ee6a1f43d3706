import Foundation
import Testing

@testable import Images

/// Cuts the power of a writer: whatever is on disk then must open, at worst have leaked, and hold what was flushed.
@Suite struct CrashTests {
    /// `LABCTL_LONG_TESTS=n`: n times as many cuts.
    static let effort = ProcessInfo.processInfo.environment["LABCTL_LONG_TESTS"].flatMap { Int($0) } ?? 1

    @Test(arguments: SimulatedImage.all)
    func aPowerCutAtAnyWriteLosesNothingThatWasFlushed(image: SimulatedImage) throws {
        for seed in 0..<Self.effort {
            let scratch = Scratch()
            let disk = try image.create(in: scratch)
            var writer = try RecordedWriter(image, disk, scratch, seed: UInt64(seed) + 3)
            try writer.run(rounds: 3, requestsPerRound: 14)
            var random = SeededRandom(UInt64(seed) + 17)
            var cut = PowerCut(start: writer.start, events: disk.events)
            let step = max(1, disk.events.count / 36)
            var position = 0
            var asked = 0
            while position <= disk.events.count {
                cut.advance(to: position)
                guard try survives(cut.complete(), at: position, writer, &random, "all") else { return }
                let torn = cut.torn(&random)
                guard try survives(torn, at: position, writer, &random, "part") else { return }
                if asked < 3 * Self.effort, image.isReadableByQEMU, Int.random(in: 0..<8, using: &random) == 0 {
                    asked += 1
                    try qemuAgrees(torn, writer, at: position)
                }
                position += Int.random(in: 1...2 * step, using: &random)
            }
        }
    }

    /// Looks at what a cut has left; false when the first fault is found.
    private func survives(
        _ files: [String: PagedBytes], at event: Int, _ writer: RecordedWriter, _ random: inout SeededRandom,
        _ what: String
    ) throws -> Bool {
        let disk = SimulatedDisk(files: files)
        var faults: [String] = []
        do {
            let found = try writer.image.inspect(disk, in: writer.scratch)
            if found.result.corruptions > 0 { faults.append("\(found.result.findings.prefix(3))") }
            if let fault = writer.journal.disagreement(of: found.content, at: event) { faults.append(fault) }
            faults += try writer.snapshotFaults(disk, at: event)
            if faults.isEmpty, Int.random(in: 0..<4, using: &random) == 0 {
                faults += try goesOn(disk, found.content, writer, &random)
            }
        } catch {
            faults.append("\(error)")
        }
        let last = writer.stages.last { $0.event <= event }?.name ?? "start"
        #expect(
            faults.isEmpty,
            "cut before event \(event) of \(writer.disk.events.count) in \(last), \(what) kept: \(faults)")
        return faults.isEmpty
    }

    /// QEMU's check of what a cut has left finds leaks at most, and it reads what we read.
    private func qemuAgrees(_ files: [String: PagedBytes], _ writer: RecordedWriter, at event: Int) throws {
        let image = writer.image
        let scratch = Scratch()
        let path = scratch.path(SimulatedImage.diskName)
        for (name, bytes) in files {
            let buffer = HeapBuffer(bytes.count)
            bytes.copy(into: buffer.bytes.part(0, bytes.count), at: 0)
            let file = try FileStorage.create(scratch.path(FilePath.name(of: name)))
            try file.write(from: buffer.readable.part(0, bytes.count), at: 0)
            file.close()
        }
        let content = try image.inspect(SimulatedDisk(files: files), in: writer.scratch).content
        // VHDX and Parallels images were not closed: QEMU replays the log, or takes the mark away, when it may repair.
        let repairs = ["vhdx", "parallels"].contains(image.variant.format)
        let check = try run(
            ["qemu-img", "check", "-f", image.variant.format] + (repairs ? ["-r", "all"] : []) + [path])
        #expect(check.status == 0 || check.status == 3, "event \(event): \(check.output.suffix(300))")
        let read = try run(["qemu-img", "convert", "-f", image.variant.format, "-O", "raw", path, scratch.path("raw")])
        #expect(read.status == 0, "event \(event): \(read.output)")
        let raw = try open(scratch.path("raw"), format: "raw", readOnly: true)
        let difference = firstDifference(try raw.bytes(at: 0, count: Int(raw.size)), content)
        #expect(difference == nil, "event \(event): QEMU reads byte \(difference ?? 0) differently")
        try raw.close()
    }

    /// The survivor is written on: nothing left over from before the cut may shine through.
    private func goesOn(
        _ disk: SimulatedDisk, _ content: [UInt8], _ writer: RecordedWriter, _ random: inout SeededRandom
    ) throws -> [String] {
        let device = try writer.image.open(disk, in: writer.scratch)
        var wanted = content
        for _ in 0..<6 {
            let offset = Int.random(in: 0..<content.count, using: &random)
            let data = random.bytes(min(Int.random(in: 1...3000, using: &random), content.count - offset))
            try device.put(data, at: UInt64(offset))
            wanted.replaceSubrange(offset..<offset + data.count, with: data)
        }
        try device.close()
        let found = try writer.image.inspect(disk, in: writer.scratch)
        var faults: [String] = []
        if found.result.corruptions > 0 { faults.append("after going on: \(found.result.findings.prefix(3))") }
        if let index = firstDifference(found.content, wanted) {
            faults.append("after going on byte \(index) is \(found.content[index]), not \(wanted[index])")
        }
        return faults
    }
}
