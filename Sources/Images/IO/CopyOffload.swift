import CLinux
import Glibc

/// Disk bytes that lie in a host file just as the guest sees them.
public struct HostRange: Sendable {
    public var storage: any Storage
    /// Bytes from the beginning of the file.
    public var offset: UInt64
    public var count: UInt64

    /// The part of `count` bytes that begins `start` bytes into the range.
    func part(_ start: UInt64, _ count: UInt64) -> HostRange {
        HostRange(storage: storage, offset: offset + start, count: count)
    }
}

extension Storage {
    /// Copies bytes of another file to `offset`. Between two host files the kernel does it: file systems with shared
    /// blocks (btrfs, XFS, …) then write no data at all, network file systems copy on the server (copy_file_range(2)).
    func copy(_ range: HostRange, to offset: UInt64) throws(ImageError) {
        var done: UInt64 = 0
        // Unaligned bytes cannot be shared, and what the kernel then does is slower than reading and writing.
        let isAligned = (range.offset | offset) % FileStorage.sharingUnit == 0
        if isAligned, let target = self as? FileStorage, let source = range.storage as? FileStorage {
            done = target.copyInKernel(source, from: range.offset, to: offset, count: range.count)
        }
        guard done < range.count else { return }
        let buffer = HeapBuffer(Int(min(range.count - done, UInt64(FileStorage.pieceBytes))), zeroed: false)
        while done < range.count {
            let part = buffer.bytes.part(0, Int(min(UInt64(buffer.bytes.count), range.count - done)))
            try range.storage.read(into: part, at: range.offset + done)
            try write(from: UnsafeRawBufferPointer(part), at: offset + done)
            done += UInt64(part.count)
        }
    }

    /// Whether this file can share disk blocks with `source`: tried out on a file without a name beside this one.
    func canShareBlocks(with source: any Storage) -> Bool {
        guard let source = source as? FileStorage, self is FileStorage else { return false }
        let folder = FilePath.folder(of: path)
        let scratch = open(folder.isEmpty ? "." : folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600)
        guard scratch >= 0 else { return false }
        defer { Glibc.close(scratch) }
        return source.sharesBlocks(with: scratch)
    }
}

extension FileStorage {
    /// The unit that block sharing works in on every file system that has it.
    static let sharingUnit: UInt64 = 4096

    /// Copies in the kernel; returns how many bytes it could do, 0 where it cannot at all.
    fileprivate func copyInKernel(_ source: FileStorage, from start: UInt64, to offset: UInt64, count: UInt64) -> UInt64
    {
        var done: UInt64 = 0
        // What the kernel does not copy is written.
        while done < count, HostFaults.failure(.write, path) == nil {
            var from = off_t(start + done), to = off_t(offset + done)
            let copied = copy_file_range(
                source.descriptor, &from, descriptor, &to, Int(min(count - done, 1 << 30)), 0)
            if copied < 0, errno == EINTR { continue }
            // 0: the end of the source file, behind which its bytes read as zeros.
            if copied <= 0 { break }
            done += UInt64(copied)
            didWrite(Int(copied), upTo: offset + done)
        }
        return done
    }

    fileprivate func sharesBlocks(with scratch: Int32) -> Bool {
        byteCount >= Self.sharingUnit && linux_share_range(scratch, 0, descriptor, 0, Self.sharingUnit) == 0
    }
}
