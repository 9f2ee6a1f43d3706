import CLinux
import Glibc

/// The running program's own symbol table, mapped so that a signal handler can look addresses up.
///
/// ELF64 (System V gABI, "Object Files"):
///
/// | header offset | size | field | section offset | size | field |
/// | --- | --- | --- | --- | --- | --- |
/// | 10 | 2 | type: 2 fixed place, 3 any place | 04 | 4 | type: 2 symbols |
/// | 20 | 8 | program headers' offset | 18 | 8 | file offset |
/// | 28 | 8 | section headers' offset | 20 | 8 | bytes |
/// | 3A, 3C | 2, 2 | section header's bytes, their count | 28 | 4 | section of the names |
///
/// Symbol of 24 bytes: 0 name (4), 4 type in bits 3–0, 2 a function; 8 address, 16 size.
struct SymbolTable {
    private let file: UnsafeRawBufferPointer
    private var symbols = 0..<0
    private var names = 0..<0
    /// What the loader added to the file's addresses.
    private let bias: UInt

    /// Nil when the program cannot be read or is stripped.
    init?() {
        let descriptor = open("/proc/self/exe", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        let size = lseek(descriptor, 0, SEEK_END)
        guard size > 64, let base = mmap(nil, Int(size), PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED
        else { return nil }
        let file = UnsafeRawBufferPointer(start: base, count: Int(size))
        self.file = file
        func field<T: FixedWidthInteger>(_ offset: Int, _ type: T.Type) -> T? {
            guard offset >= 0, offset <= file.count - MemoryLayout<T>.size else { return nil }
            return file.loadUnaligned(fromByteOffset: offset, as: type)
        }
        func section(_ at: Int) -> Range<Int>? {
            guard let offset = field(at + 0x18, UInt64.self), let bytes = field(at + 0x20, UInt64.self),
                offset <= UInt64(file.count), bytes <= UInt64(file.count) - offset
            else { return nil }
            return Int(offset)..<Int(offset + bytes)
        }
        // AT_PHDR is 3: where the program headers are now.
        let isMovable = field(0x10, UInt16.self) == 3
        bias = isMovable ? UInt(getauxval(3)) &- UInt(field(0x20, UInt64.self) ?? 0) : 0
        let start = Int(clamping: field(0x28, UInt64.self) ?? 0)
        let each = Int(field(0x3A, UInt16.self) ?? 0), count = Int(field(0x3C, UInt16.self) ?? 0)
        guard start < file.count, each >= 64 else { return nil }
        for index in 0..<count where field(start + index * each + 4, UInt32.self) == 2 {
            let link = Int(field(start + index * each + 0x28, UInt32.self) ?? 0)
            guard link < count, let found = section(start + index * each), let text = section(start + link * each)
            else { return nil }
            (symbols, names) = (found, text)
        }
        if symbols.isEmpty { return nil }
    }

    /// The function that an address lies in, and how far into it. Async-signal-safe.
    func nearest(to address: UInt) -> (name: UnsafeRawBufferPointer, offset: UInt)? {
        let wanted = UInt64(address &- bias)
        var at = symbols.lowerBound
        while at + 24 <= symbols.upperBound {
            let value = file.loadUnaligned(fromByteOffset: at + 8, as: UInt64.self)
            let size = file.loadUnaligned(fromByteOffset: at + 16, as: UInt64.self)
            if file[at + 4] & 15 == 2, wanted &- value < max(size, 1) {
                let start = names.lowerBound + Int(file.loadUnaligned(fromByteOffset: at, as: UInt32.self))
                var end = start
                while end < names.upperBound, file[end] != 0 { end += 1 }
                guard start < end else { return nil }
                return (UnsafeRawBufferPointer(rebasing: file[start..<end]), UInt(wanted &- value))
            }
            at += 24
        }
        return nil
    }
}
