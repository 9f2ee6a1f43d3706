@testable import Images

/// One request to a disk.
enum DiskRequest {
    case write(at: Int, [UInt8])
    case zero(Range<Int>, unmap: Bool)
    case discard(Range<Int>)
    case read(Range<Int>)
    case flush

    /// Half of the requests are aligned to 4 KiB, half of them write.
    static func random(diskBytes: Int, _ random: inout SeededRandom, longest: Int) -> DiskRequest {
        let offset = Int.random(in: 0..<diskBytes, using: &random)
        var count = min(Int.random(in: 1...longest, using: &random), diskBytes - offset)
        var start = offset
        if Bool.random(using: &random) {
            start = offset & ~4095
            count = min((count + 4095) & ~4095, diskBytes - start)
        }
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<5: return .write(at: start, random.bytes(count))
        case 5, 6: return .zero(start..<start + count, unmap: Bool.random(using: &random))
        case 7: return .discard(start..<start + count)
        case 8: return .flush
        default: return .read(start..<start + count)
        }
    }
}

/// What a disk may hold after its power was cut, from the requests it was sent: whatever was flushed, and of what came
/// later any part.
struct DiskJournal {
    private enum Step {
        case bytes(at: Int, [UInt8])
        /// All of the disk changes at once.
        case whole([UInt8])
        case size(Int)
    }

    /// The disk as it is now.
    private(set) var content: [UInt8]
    private var flushed: [(event: Int, content: [UInt8], steps: Int)]
    private var steps: [(event: Int, step: Step)] = []

    init(content: [UInt8]) {
        self.content = content
        flushed = [(0, content, 0)]
    }

    /// A request has begun at `event` of the recorded stream and will leave `bytes` at `offset`.
    mutating func began(at event: Int, offset: Int, bytes: [UInt8]) {
        steps.append((event, .bytes(at: offset, bytes)))
        content.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    }

    mutating func beganReplacing(at event: Int, with other: [UInt8]) {
        steps.append((event, .whole(other)))
        content = other
    }

    mutating func beganResizing(at event: Int, to count: Int) {
        steps.append((event, .size(count)))
        if count < content.count {
            content.removeLast(content.count - count)
        } else {
            content += [UInt8](repeating: 0, count: count - content.count)
        }
    }

    /// A flush has returned at `event`: from here on the disk's present state is safe.
    mutating func finishedFlush(at event: Int) { flushed.append((event, content, steps.count)) }

    /// Bytes that a request failed to write may be there or not.
    func allowsNow(_ disk: [UInt8]) -> String? { disagreement(of: disk, at: Int.max) }

    /// What is wrong with a disk found after a cut before `event`; nil when it is one of those that may be found.
    func disagreement(of disk: [UInt8], at event: Int) -> String? {
        guard let base = flushed.last(where: { $0.event <= event }) else { return "no state to compare with" }
        var size = base.content.count
        var wanted = base.content
        var later: [(at: Int, bytes: [UInt8])] = []
        for (began, step) in steps[base.steps...] where began < event {
            switch step {
            case .bytes(let offset, let bytes): later.append((offset, bytes))
            case .whole(let other): if disk == other { return nil }
            case .size(let count):
                if disk.count == count {
                    wanted = Array(wanted.prefix(count))
                    wanted += [UInt8](repeating: 0, count: count - wanted.count)
                } else if disk.count == size, count < size {
                    // What is being cut off does not matter any more.
                    later.append((count, Array(disk[count...])))
                }
                size = disk.count
            }
        }
        guard disk.count == wanted.count else { return "the disk has \(disk.count) bytes, not \(wanted.count)" }
        for start in stride(from: 0, to: disk.count, by: 4096) {
            let range = start..<min(disk.count, start + 4096)
            if disk[range] == wanted[range] { continue }
            for index in range where disk[index] != wanted[index] {
                let isLater = later.contains { change in
                    index >= change.at && index < change.at + change.bytes.count
                        && change.bytes[index - change.at] == disk[index]
                }
                if !isLater { return "byte \(index) is \(disk[index]), flushed was \(wanted[index])" }
            }
        }
        return nil
    }
}
