/// The output of a Lempel-Ziv decoder: bytes written so far, which later matches repeat, and the room behind them.
///
/// Copies go in whole machine words as long as there is room for what they write beyond their end, and exactly where
/// there is none.
struct LZWindow {
    /// Bytes that a wide copy may read and write beyond its end.
    static let slack = 16

    private let base: UnsafeMutableRawPointer
    let capacity: Int
    /// Bytes written.
    private(set) var done = 0

    init(_ base: UnsafeMutableRawPointer, capacity: Int) {
        self.base = base
        self.capacity = capacity
    }

    /// Whether a match may begin this many bytes back, once `pending` more bytes are written.
    @inline(__always) func reaches(_ distance: Int, pending: Int) -> Bool {
        // Zero, which nothing repeats, wraps round to the largest number.
        UInt(bitPattern: distance &- 1) < UInt(bitPattern: done &+ pending)
    }

    /// Whether wide copies of `count` bytes in all stay inside.
    @inline(__always) func hasSlack(_ count: Int) -> Bool { capacity &- done >= count &+ Self.slack }

    /// Appends bytes. The caller knows that they fit.
    @inline(__always) mutating func append(_ source: UnsafeRawPointer, _ count: Int) {
        // SAFETY: the caller has compared `count` with `capacity - done`, and `source` with its end.
        (base + done).copyMemory(from: source, byteCount: count)
        done &+= count
    }

    /// Appends bytes where `hasSlack` of them and `source` has 16 readable bytes more.
    @inline(__always) mutating func appendWide(_ source: UnsafeRawPointer, _ count: Int) {
        Self.copyWide(base + done, source, count)
        done &+= count
    }

    /// Appends up to 8 bytes where `hasSlack` of them and `source` has 8 readable bytes.
    @inline(__always) mutating func appendWord(_ source: UnsafeRawPointer, _ count: Int) {
        // SAFETY: the caller has seen to both.
        (base + done).storeBytes(of: source.loadUnaligned(as: UInt64.self), as: UInt64.self)
        done &+= count
    }

    /// Repeats `count` bytes from `distance` back. The caller knows that they fit and that `reaches` the distance.
    @inline(__always) mutating func `repeat`(_ distance: Int, _ count: Int) {
        for index in done..<done &+ count {
            // SAFETY: distance <= index < capacity; one byte at a time, since the match may run into itself.
            let byte = base.load(fromByteOffset: index &- distance, as: UInt8.self)
            base.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
        }
        done &+= count
    }

    /// Repeats bytes where also `hasSlack` of them.
    @inline(__always) mutating func repeatWide(_ distance: Int, _ count: Int) {
        let target = base + done
        if distance >= Self.slack {
            Self.copyWide(target, UnsafeRawPointer(target - distance), count)
        } else {
            Self.repeatShort(target, distance, count)
        }
        done &+= count
    }

    /// Copies 16 bytes at a time, at least once.
    @inline(__always) private static func copyWide(
        _ target: UnsafeMutableRawPointer, _ source: UnsafeRawPointer, _ count: Int
    ) {
        var at = 0
        repeat {
            // SAFETY: both sides have `slack` bytes beyond `count`; a source 16 or more bytes back was written before.
            target.storeBytes(
                of: source.loadUnaligned(fromByteOffset: at, as: SIMD16<UInt8>.self), toByteOffset: at,
                as: SIMD16<UInt8>.self)
            at &+= 16
        } while at < count
    }

    /// Matches of less than 16 bytes' distance run into what they write: runs of one byte, pixels, table entries.
    @inline(never) private static func repeatShort(_ target: UnsafeMutableRawPointer, _ distance: Int, _ count: Int) {
        var at = 0
        // SAFETY: as for wide copies. What eight bytes from less than eight back hold beyond the end is masked away.
        let source = UnsafeRawPointer(target - distance)
        if distance >= 8 {
            while at < count {
                target.storeBytes(
                    of: source.loadUnaligned(fromByteOffset: at, as: UInt64.self), toByteOffset: at, as: UInt64.self)
                at &+= 8
            }
            return
        }
        // The period's bytes over and over in one word, stored at every multiple of the period that it holds whole.
        let width = UInt64(truncatingIfNeeded: distance &* 8)
        var pattern = source.loadUnaligned(as: UInt64.self).littleEndian & (1 &<< width &- 1)
        pattern |= pattern << width
        pattern |= pattern << (width &* 2)
        pattern |= pattern << (width &* 4)
        pattern = pattern.littleEndian
        // The largest multiple of 1, 2, … 7 up to 8, four bits each.
        let step = 0x7658_6880 &>> (distance &* 4) & 15
        while at < count {
            target.storeBytes(of: pattern, toByteOffset: at, as: UInt64.self)
            at &+= step
        }
    }
}
