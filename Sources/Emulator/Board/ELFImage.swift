/// An ELF executable for x86 (System V ABI, chapter 4), as far as a boot loader reads it: where it is entered and what goes where.
///
/// | ELF32, ELF64 offset | field | program header offset | field |
/// | --- | --- | --- | --- |
/// | 0 | 7F `ELF`, class (1: 32, 2: 64), byte order (1: little) | 0 | type: 1 is to be loaded |
/// | 18 | entry | 4, 8 | offset in the file |
/// | 1C, 20 | offset of the program headers | 8, 10 | virtual address |
/// | 2A, 36 | bytes of a program header | C, 18 | physical address |
/// | 2C, 38 | number of program headers | 10, 20; 14, 28 | bytes in the file; in memory |
struct ELFImage {
    struct Segment {
        var offset: Int
        var address: UInt64
        var fileBytes: Int
        var memoryBytes: UInt64
    }

    static let magic: UInt32 = 0x464C_457F
    private static let loadable: UInt64 = 1
    private static let mostHeaders = 256

    /// Physical address.
    let entry: UInt32
    let segments: [Segment]

    /// - Returns: nil when the file is not ELF.
    /// - Throws: `badFile` when it is, but damaged, for another processor, or not for low memory.
    init?(_ file: HostFile) throws(MachineError) {
        let start = try file.read(64, at: 0)
        guard start.count == 64, ELFImage.number(start, 0, 4) == UInt64(Self.magic) else { return nil }
        func bad(_ reason: String) -> MachineError { .badFile(path: file.path, reason: reason) }
        let is64 = start[4] == 2
        guard start[4] == 1 || is64, start[5] == 1 else { throw bad("an ELF file, but not one for x86") }
        let wide = is64 ? 8 : 4
        let table = Int(clamping: ELFImage.number(start, is64 ? 0x20 : 0x1C, wide))
        let size = Int(ELFImage.number(start, is64 ? 0x36 : 0x2A, 2))
        let count = Int(ELFImage.number(start, is64 ? 0x38 : 0x2C, 2))
        guard count > 0, count <= Self.mostHeaders, size >= (is64 ? 56 : 32), table <= file.sizeBytes - count * size
        else { throw bad("damaged: its program headers lie outside of the file") }
        let headers = try file.read(count * size, at: table)
        var virtualEntry = ELFImage.number(start, 0x18, wide)
        var segments: [Segment] = []
        for index in 0..<count {
            func field(_ narrow: Int, _ wideOffset: Int) -> UInt64 {
                ELFImage.number(headers, index * size + (is64 ? wideOffset : narrow), wide)
            }
            guard ELFImage.number(headers, index * size, 4) == Self.loadable else { continue }
            let virtual = field(0x08, 0x10), physical = field(0x0C, 0x18)
            let fileBytes = field(0x10, 0x20), memoryBytes = field(0x14, 0x28), offset = field(0x04, 0x08)
            if memoryBytes == 0 { continue }
            let length = UInt64(file.sizeBytes)
            guard offset <= length, fileBytes <= length - offset, fileBytes <= memoryBytes else {
                throw bad("damaged: a segment lies outside of the file")
            }
            guard physical < 1 << 32, memoryBytes <= (1 << 32) - physical else {
                throw bad("a segment is meant for \(hex(physical, 1)), above 4 GiB")
            }
            if virtualEntry >= virtual, virtualEntry - virtual < memoryBytes, virtual != physical {
                virtualEntry = virtualEntry - virtual + physical
            }
            segments.append(
                Segment(
                    offset: Int(offset), address: physical, fileBytes: Int(fileBytes), memoryBytes: memoryBytes))
        }
        guard !segments.isEmpty, let entry = UInt32(exactly: virtualEntry) else {
            throw bad("nothing in it is to be loaded, or its entry is above 4 GiB")
        }
        self.entry = entry
        self.segments = segments
    }

    /// A little-endian number; the caller knows that it is there.
    static func number(_ bytes: [UInt8], _ offset: Int, _ size: Int) -> UInt64 {
        (0..<size).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
    }
}
