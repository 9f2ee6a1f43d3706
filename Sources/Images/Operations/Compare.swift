/// The answer of `compare`.
public enum ComparisonResult: Sendable, Equatable {
    case identical
    /// The shorter image equals the longer one's beginning and the rest is zeros.
    case identicalButSizes
    case contentDiffers(at: UInt64)
    /// Strict mode only.
    case sizeDiffers
    /// Strict mode only: allocated in one image, not in the other.
    case allocationDiffers(at: UInt64)
}

extension DiskImage {
    /// Compares what two disks hold. The part that only the longer one has must read as zeros.
    public static func compare(
        _ first: any BlockDevice, _ second: any BlockDevice, strict: Bool,
        progress: ((UInt64, UInt64) -> Void)? = nil
    ) throws(ImageError) -> ComparisonResult {
        if strict, first.size != second.size { return .sizeDiffers }
        let common = min(first.size, second.size)
        let end = max(first.size, second.size)
        let (a, b) = (HeapBuffer(2 << 20, zeroed: false), HeapBuffer(2 << 20, zeroed: false))
        var (knownFirst, knownSecond) = (KnownRun<Bool>(), KnownRun<Bool>())
        var position: UInt64 = 0
        while position < common {
            let one = try knownFirst.chainRun(of: first, at: position, limit: common - position)
            let two = try knownSecond.chainRun(of: second, at: position, limit: common - position)
            var run = min(one.length, two.length)
            if strict {
                let mine = try entry(in: first, at: position, limit: run)
                let theirs = try entry(in: second, at: position, limit: run)
                if !mine.isStoredLike(theirs) { return .allocationDiffers(at: position) }
                run = min(mine.length, theirs.length)
            }
            if !one.isZero || !two.isZero {
                run = min(run, UInt64(a.bytes.count))
                let count = Int(run)
                try first.read(into: a.bytes.part(0, count), at: position)
                try second.read(into: b.bytes.part(0, count), at: position)
                if let index = a.readable.firstDifference(from: b.readable, count: count) {
                    return .contentDiffers(at: position + UInt64(index & ~511))
                }
            }
            position += run
            progress?(position, end)
        }
        let longer = first.size > second.size ? first : second
        var known = KnownRun<Bool>()
        while position < end {
            let extent = try known.chainRun(of: longer, at: position, limit: end - position)
            var run = extent.length
            if !extent.isZero {
                run = min(run, UInt64(a.bytes.count))
                try longer.read(into: a.bytes.part(0, Int(run)), at: position)
                b.bytes.zero(from: 0)
                if let index = a.readable.firstDifference(from: b.readable, count: Int(run)) {
                    return .contentDiffers(at: position + UInt64(index & ~511))
                }
            }
            position += run
            progress?(position, end)
        }
        return first.size == second.size ? .identical : .identicalButSizes
    }
}

extension MapEntry {
    /// Whether both say the same of how their bytes are kept: at all, as zeros, as data, in a place of the host's.
    fileprivate func isStoredLike(_ other: MapEntry) -> Bool {
        isPresent == other.isPresent && isZero == other.isZero && isData == other.isData
            && (hostOffset == nil) == (other.hostOffset == nil)
    }
}

extension UnsafeRawBufferPointer {
    /// Index of the first of `count` bytes that differs, nil when all are equal.
    func firstDifference(from other: UnsafeRawBufferPointer, count: Int) -> Int? {
        guard let a = baseAddress, let b = other.baseAddress else { return nil }
        var index = 0
        while index + 64 <= count {
            // SAFETY: index + 64 <= count, which both buffers hold.
            let left = a.loadUnaligned(fromByteOffset: index, as: SIMD8<UInt64>.self)
            let right = b.loadUnaligned(fromByteOffset: index, as: SIMD8<UInt64>.self)
            if left != right { break }
            index += 64
        }
        while index < count {
            if self[index] != other[index] { return index }
            index += 1
        }
        return nil
    }
}
