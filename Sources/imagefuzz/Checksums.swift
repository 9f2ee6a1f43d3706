import Images

/// Puts checksums right after a mutation, so that damage gets past them.
enum Checksums {
    static func fix(_ file: inout SparseFile, format: String) {
        switch format {
        case "vhdx": fixVHDX(&file)
        case "vpc": fixVHD(&file)
        default: break
        }
    }

    /// Headers, region tables and log entries of [MS-VHDX].
    private static func fixVHDX(_ file: inout SparseFile) {
        for offset in [64 << 10, 128 << 10] { seal(&file, offset, 4096) }
        for offset in [192 << 10, 256 << 10] { seal(&file, offset, 65536) }
        for offset in [64 << 10, 128 << 10] {
            let start = Int(clamping: file.number(at: offset + 72, width: 8, bigEndian: false))
            let length = Int(file.number(at: offset + 68, width: 4, bigEndian: false))
            guard start < file.size, length <= 4 << 20 else { continue }
            for entry in stride(from: start, to: min(file.size, start + length), by: 4096)
            where file.pages[entry / SparseFile.pageBytes] != nil && file.bytes(entry, 4) == Array("loge".utf8) {
                let bytes = Int(file.number(at: entry + 8, width: 4, bigEndian: false))
                if bytes >= 64, bytes <= 1 << 20 { seal(&file, entry, bytes) }
            }
        }
    }

    private static func seal(_ file: inout SparseFile, _ offset: Int, _ count: Int) {
        var bytes = file.bytes(offset, count)
        CRC32C.seal(&bytes, at: 4)
        file.put(Array(bytes[4..<8]), at: offset + 4)
    }

    /// The footer at the end, its copy at the beginning, and the dynamic header behind that.
    private static func fixVHD(_ file: inout SparseFile) {
        func seal(_ offset: Int, _ count: Int, field: Int) {
            guard offset >= 0 else { return }
            var bytes = file.bytes(offset, count)
            VHDFooter.seal(&bytes, at: field)
            file.put(Array(bytes[field..<field + 4]), at: offset + field)
        }
        for offset in [0, file.size - 512] where offset >= 0 && file.bytes(offset, 8) == Array("conectix".utf8) {
            seal(offset, 512, field: 64)
            let header = Int(clamping: file.number(at: offset + 16, width: 8, bigEndian: true))
            if header < file.size { seal(header, 1024, field: 36) }
        }
    }
}
