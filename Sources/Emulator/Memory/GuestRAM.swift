import Glibc

/// The guest's RAM: one private anonymous mapping, touched lazily, so that a VM costs what its guest uses.
struct GuestRAM: ~Copyable {
    let base: UnsafeMutableRawPointer
    let sizeBytes: UInt64

    /// - Parameter sizeBytes: a multiple of 4096.
    /// - Throws: `MachineError.outOfMemory` when the host refuses the mapping.
    init(sizeBytes: UInt64) throws(MachineError) {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let mapped = mmap(nil, Int(sizeBytes), PROT_READ | PROT_WRITE, flags, -1, 0), mapped != MAP_FAILED
        else { throw .outOfMemory(requestedBytes: sizeBytes) }
        base = mapped
        self.sizeBytes = sizeBytes
    }

    deinit {
        // SAFETY: base and size are what mmap returned; nothing outlives the owner.
        munmap(base, Int(sizeBytes))
    }
}
