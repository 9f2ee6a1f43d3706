import CLinux
import Glibc

/// Guest memory as a state keeps it: which pages hold something, and how a machine gets them back.
enum MemoryPages {
    /// The digest of 2 MiB of zeros, which need not be read.
    static let zeroBlockDigest = XXHash64.hash([UInt8](repeating: 0, count: StateFormat.blockBytes))

    /// Whether all bytes are zero. The buffer is a whole number of words.
    static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress else { return true }
        var at = 0
        // SAFETY: pages are aligned and a multiple of 64 bytes long, and `at` stays below the length.
        while at < bytes.count {
            var all: UInt64 = 0
            for word in 0..<8 { all |= (base + at).load(fromByteOffset: word * 8, as: UInt64.self) }
            if all != 0 { return false }
            at += 64
        }
        return true
    }
}

extension GuestRAM {
    /// All of it.
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: Int(sizeBytes)) }

    /// Puts a private mapping of a file in the place of what is there: pages are read when they are used, those never written are
    /// shared by all who map the file.
    func map(_ descriptor: Int32, at offset: UInt64) throws(MachineError) {
        let flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE
        // SAFETY: the range is this mapping's own, and stays mapped: the address does not change for those who know it.
        guard mmap(base, Int(sizeBytes), PROT_READ | PROT_WRITE, flags, descriptor, off_t(offset)) != MAP_FAILED else {
            throw .badState("cannot be mapped: \(String(cString: strerror(errno)))")
        }
    }
}

/// A memory that was read from a state and verified, before it takes the place of a machine's.
final class PreparedMemory {
    private var base: UnsafeMutableRawPointer?
    private let byteCount: Int

    init(_ reader: StateReader, _ entry: StateFormat.Entry, digests: [UInt64]) throws(MachineError) {
        byteCount = Int(entry.length)
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let fresh = mmap(nil, byteCount, PROT_READ | PROT_WRITE, flags, -1, 0), fresh != MAP_FAILED else {
            throw .outOfMemory(requestedBytes: entry.length)
        }
        base = fresh
        for (index, digest) in digests.enumerated() where digest != MemoryPages.zeroBlockDigest {
            let start = index * StateFormat.blockBytes
            // SAFETY: blocks lie inside the mapping, which is as long as the memory, as the digests' number was checked.
            let part = UnsafeMutableRawBufferPointer(
                start: fresh + start, count: min(StateFormat.blockBytes, byteCount - start))
            try reader.read(entry, into: part, from: start)
            guard XXHash64.hash(UnsafeRawBufferPointer(part)) == digest else {
                throw .badState("is damaged: memory \(entry.name) differs in the 2 MiB at \(start)")
            }
        }
    }

    // SAFETY: what mmap returned, unless it has moved.
    deinit { if let base { munmap(base, byteCount) } }

    /// Puts it where `memory` is, whose address stays. Once.
    func move(over memory: borrowing GuestRAM) throws(MachineError) {
        // SAFETY: both ranges are mappings of one size, which was checked; the old pages go.
        guard let from = base, linux_move_mapping(from, byteCount, memory.base) == 0 else {
            throw .badState("cannot be put in place: \(String(cString: strerror(errno)))")
        }
        base = nil
    }
}
