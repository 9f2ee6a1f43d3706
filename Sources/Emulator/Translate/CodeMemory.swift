import CLinux
import Glibc

/// Memory for generated code: one memfd mapped twice, once to write and once to execute, so that no page is ever both at
/// one place. Filled from the bottom, touched as it is filled, emptied as a whole.
///
/// Both mappings exist before a sandbox closes; nothing is mapped or protected anew later.
struct CodeMemory: ~Copyable {
    static let defaultBytes = 64 << 20

    let writable: UnsafeMutablePointer<UInt8>
    /// Address of the first byte where it executes.
    let executable: UInt64
    let byteCount: Int
    /// What runs lies in the first half, what seldom does in the second.
    var halfBytes: Int { byteCount / 2 }

    /// Nil where the host forbids executable memory.
    init?(byteCount: Int = CodeMemory.defaultBytes) {
        let descriptor = memfd_create("labctl-code", 1)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        guard ftruncate(descriptor, byteCount) == 0 else { return nil }
        let write = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
        guard let write, write != MAP_FAILED else { return nil }
        let execute = mmap(nil, byteCount, PROT_READ | PROT_EXEC, MAP_SHARED, descriptor, 0)
        guard let execute, execute != MAP_FAILED else {
            munmap(write, byteCount)
            return nil
        }
        writable = write.assumingMemoryBound(to: UInt8.self)
        executable = UInt64(UInt(bitPattern: execute))
        self.byteCount = byteCount
    }

    deinit {
        munmap(writable, byteCount)
        munmap(UnsafeMutableRawPointer(bitPattern: UInt(executable)), byteCount)
    }
}
