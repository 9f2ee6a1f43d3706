import Seeded

@testable import Emulator

/// A disk whose devices are held to their promise: nothing outside the disk is written or discarded. Now and then it fails,
/// as a host does.
final class FuzzDisk: DiskBackend, @unchecked Sendable {
    // Unchecked: used on the test's thread only.
    private var bytes: [UInt8]
    private var random: SeededRandom
    let isReadOnly: Bool
    var sizeBytes: UInt64 { UInt64(bytes.count) }

    init(sizeBytes: Int, isReadOnly: Bool = false, seed: UInt64) {
        bytes = [UInt8](repeating: 0x5A, count: sizeBytes)
        random = SeededRandom(seed)
        self.isReadOnly = isReadOnly
    }

    private func maybeFail() throws(DiskBackendError) { if random.oneIn(50) { throw DiskBackendError("bad luck") } }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        try maybeFail()
        let start = Int(min(offset, sizeBytes)), count = min(buffer.count, bytes.count - start)
        bytes.withUnsafeBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<start + count])) }
        buffer[count...].initializeMemory(as: UInt8.self, repeating: 0)
    }

    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        precondition(!isReadOnly && offset <= sizeBytes && UInt64(buffer.count) <= sizeBytes - offset, "write outside")
        try maybeFail()
        bytes.withUnsafeMutableBytes {
            UnsafeMutableRawBufferPointer(rebasing: $0[Int(offset)...]).copyMemory(from: buffer)
        }
    }

    func flush() throws(DiskBackendError) { try maybeFail() }

    func discard(at offset: UInt64, length: UInt64) throws(DiskBackendError) {
        precondition(!isReadOnly && offset <= sizeBytes && length <= sizeBytes - offset, "discard outside")
        try maybeFail()
    }

    /// Another disk of the same make.
    func copy() -> FuzzDisk {
        let twin = FuzzDisk(sizeBytes: 0, isReadOnly: isReadOnly, seed: 0)
        twin.agree(with: self)
        return twin
    }

    /// From here on answers and fails as the other does.
    func agree(with other: FuzzDisk) {
        bytes = other.bytes
        random = other.random
    }
}
