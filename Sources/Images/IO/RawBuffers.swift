import Glibc

/// Big- and little-endian fields in raw memory. Offsets are bytes; callers have checked the bounds.
extension UnsafeRawPointer {
    @inline(__always) func be16(_ offset: Int) -> UInt16 {
        loadUnaligned(fromByteOffset: offset, as: UInt16.self).bigEndian
    }
    @inline(__always) func be32(_ offset: Int) -> UInt32 {
        loadUnaligned(fromByteOffset: offset, as: UInt32.self).bigEndian
    }
    @inline(__always) func be64(_ offset: Int) -> UInt64 {
        loadUnaligned(fromByteOffset: offset, as: UInt64.self).bigEndian
    }
    @inline(__always) func le16(_ offset: Int) -> UInt16 {
        loadUnaligned(fromByteOffset: offset, as: UInt16.self).littleEndian
    }
    @inline(__always) func le32(_ offset: Int) -> UInt32 {
        loadUnaligned(fromByteOffset: offset, as: UInt32.self).littleEndian
    }
    @inline(__always) func le64(_ offset: Int) -> UInt64 {
        loadUnaligned(fromByteOffset: offset, as: UInt64.self).littleEndian
    }
}

extension [UInt8] {
    /// Little-endian fields; the caller has checked the bounds.
    func le16(_ at: Int) -> UInt16 { UInt16(self[at + 1]) << 8 | UInt16(self[at]) }
    func le32(_ at: Int) -> UInt32 { UInt32(le16(at + 2)) << 16 | UInt32(le16(at)) }
    func le64(_ at: Int) -> UInt64 { UInt64(le32(at + 4)) << 32 | UInt64(le32(at)) }
}

extension UnsafeMutableRawPointer {
    @inline(__always) func be64(_ offset: Int) -> UInt64 { UnsafeRawPointer(self).be64(offset) }
    @inline(__always) func be32(_ offset: Int) -> UInt32 { UnsafeRawPointer(self).be32(offset) }
    @inline(__always) func be16(_ offset: Int) -> UInt16 { UnsafeRawPointer(self).be16(offset) }
    @inline(__always) func putBE64(_ value: UInt64, _ offset: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt64.self)
    }
    @inline(__always) func putBE32(_ value: UInt32, _ offset: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt32.self)
    }
    @inline(__always) func putBE16(_ value: UInt16, _ offset: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt16.self)
    }
    @inline(__always) func le32(_ offset: Int) -> UInt32 { UnsafeRawPointer(self).le32(offset) }
    @inline(__always) func le64(_ offset: Int) -> UInt64 { UnsafeRawPointer(self).le64(offset) }
    @inline(__always) func putLE32(_ value: UInt32, _ offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self)
    }
    @inline(__always) func putLE64(_ value: UInt64, _ offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Zeroes the bytes from index `from` to the end.
    func zero(from: Int) {
        guard let baseAddress, from < count else { return }
        memset(baseAddress + from, 0, count - from)
    }

    /// The part [start, start + length).
    @inline(__always) func part(_ start: Int, _ length: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: self[start..<start + length])
    }
}

extension UnsafeRawBufferPointer {
    /// The part [start, start + length).
    @inline(__always) func part(_ start: Int, _ length: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self[start..<start + length])
    }

    /// Whether every byte is zero. The inner loop is written for the vectoriser.
    var isAllZero: Bool {
        guard let base = baseAddress else { return true }
        var index = 0
        let wide = count & ~63
        while index < wide {
            // SAFETY: index + 64 <= count.
            let lanes = base.loadUnaligned(fromByteOffset: index, as: SIMD8<UInt64>.self)
            if lanes != .zero { return false }
            index += 64
        }
        while index < count {
            if base.load(fromByteOffset: index, as: UInt8.self) != 0 { return false }
            index += 1
        }
        return true
    }
}

/// Heap memory with an owner: page aligned, zeroed, freed with the last reference.
///
/// Name the owner with a `let` before taking its pointers. Swift keeps a named object until the last use of memory that its
/// `deinit` could touch; a temporary, as in `f(HeapBuffer(n).readable)`, is gone before `f` runs.
final class HeapBuffer: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer

    init(_ count: Int, zeroed: Bool = true) {
        bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: max(count, 1), alignment: 4096)
        if zeroed { bytes.zero(from: 0) }
    }

    deinit { bytes.deallocate() }

    var readable: UnsafeRawBufferPointer { UnsafeRawBufferPointer(bytes) }
    // SAFETY: allocate(byteCount:) of at least one byte always has a base address.
    var base: UnsafeMutableRawPointer { bytes.baseAddress.unsafelyUnwrapped }
}

/// A few reusable buffers of one size, so that requests do not allocate.
final class BufferPool: @unchecked Sendable {
    private let byteCount: Int
    private let keep: Int
    private let lock = Lock()
    private var free: [HeapBuffer] = []

    init(byteCount: Int, keep: Int = 4) {
        self.byteCount = byteCount
        self.keep = keep
    }

    func take() -> HeapBuffer {
        lock.lock()
        let buffer = free.popLast()
        lock.unlock()
        return buffer ?? HeapBuffer(byteCount, zeroed: false)
    }

    func give(_ buffer: HeapBuffer) {
        lock.lock()
        if free.count < keep { free.append(buffer) }
        lock.unlock()
    }
}
