import Glibc

/// A small image file as its 4 KiB pages that are not zero, so that formats that spread a few tables over megabytes can
/// be written again for every iteration at little cost.
struct SparseFile {
    static let pageBytes = 4096
    private(set) var pages: [Int: [UInt8]] = [:]
    /// Length of the file; pages past it are not written.
    var size: Int

    init(reading path: String) throws(FuzzFailure) {
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FuzzFailure("cannot open \(path)") }
        defer { close(descriptor) }
        size = Int(lseek(descriptor, 0, SEEK_END))
        var number = 0
        while number * Self.pageBytes < size {
            var page = [UInt8](repeating: 0, count: Self.pageBytes)
            // SAFETY: the array holds pageBytes bytes for the length of the call.
            let got = page.withUnsafeMutableBytes {
                pread(descriptor, $0.baseAddress, Self.pageBytes, off_t(number * Self.pageBytes))
            }
            guard got >= 0 else { throw FuzzFailure("cannot read \(path)") }
            if page.contains(where: { $0 != 0 }) { pages[number] = page }
            number += 1
        }
    }

    func write(to path: String) throws(FuzzFailure) {
        let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw FuzzFailure("cannot create \(path)") }
        defer { close(descriptor) }
        guard ftruncate(descriptor, off_t(size)) == 0 else { throw FuzzFailure("cannot size \(path)") }
        for (number, page) in pages where number * Self.pageBytes < size {
            let count = min(Self.pageBytes, size - number * Self.pageBytes)
            // SAFETY: the array holds at least count bytes for the length of the call.
            let put = page.withUnsafeBytes {
                pwrite(descriptor, $0.baseAddress, count, off_t(number * Self.pageBytes))
            }
            guard put == count else { throw FuzzFailure("cannot write \(path)") }
        }
    }

    subscript(offset: Int) -> UInt8 {
        get { pages[offset / Self.pageBytes]?[offset % Self.pageBytes] ?? 0 }
        set {
            guard offset >= 0, offset < size else { return }
            pages[offset / Self.pageBytes, default: [UInt8](repeating: 0, count: Self.pageBytes)][
                offset % Self.pageBytes] = newValue
        }
    }

    /// Bytes [offset, offset + count), zeros past the end.
    func bytes(_ offset: Int, _ count: Int) -> [UInt8] { (offset..<offset + count).map { self[$0] } }

    mutating func put(_ bytes: [UInt8], at offset: Int) {
        for (index, byte) in bytes.enumerated() { self[offset + index] = byte }
    }

    func page(_ number: Int) -> [UInt8] { pages[number] ?? [UInt8](repeating: 0, count: Self.pageBytes) }

    mutating func setPage(_ number: Int, _ bytes: [UInt8]) {
        if number * Self.pageBytes < size { pages[number] = bytes }
    }

    func number(at offset: Int, width: Int, bigEndian: Bool) -> UInt64 {
        var value: UInt64 = 0
        for index in 0..<width {
            value = value << 8 | UInt64(self[offset + (bigEndian ? index : width - 1 - index)])
        }
        return value
    }

    mutating func put(_ value: UInt64, at offset: Int, width: Int, bigEndian: Bool) {
        for index in 0..<width {
            let shift = UInt64(8 * (bigEndian ? width - 1 - index : index))
            self[offset + index] = UInt8(truncatingIfNeeded: value >> shift)
        }
    }

    /// Numbers of the pages that are not merely one word over and over (guest data of the seeds), in file order.
    var metadataPages: [Int] {
        pages.keys.filter { number in
            guard let page = pages[number] else { return false }
            return (8..<Self.pageBytes).contains { page[$0] != page[$0 - 8] }
        }.sorted()
    }
}

/// Why the fuzzer itself cannot go on.
struct FuzzFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
