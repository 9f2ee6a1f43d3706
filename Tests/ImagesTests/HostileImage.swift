@testable import Images

/// A good small image with fields overwritten: what a stranger might send.
struct HostileImage: Sendable {
    /// One overwritten number.
    struct Edit: Sendable {
        var offset: Int
        var width: Int
        var value: UInt64
    }

    /// What must fail.
    enum Stage: Sendable { case open, read, check }

    var name: String
    var format: String
    var options: [String: String] = [:]
    var edits: [Edit]
    var stage = Stage.open
    /// What the error must say: the field or the value.
    var says: String

    static let size: UInt64 = 4 << 20
    private static let bigEndian: Set<String> = ["qcow2", "qcow", "vpc", "cow", "cloop", "luks"]

    init(
        _ format: String, _ name: String, _ edits: [(Int, Int, UInt64)], options: [String: String] = [:],
        fails stage: Stage = .open, saying says: String
    ) {
        self.format = format
        self.name = name
        self.options = options
        self.edits = edits.map { Edit(offset: $0.0, width: $0.1, value: $0.2) }
        self.stage = stage
        self.says = says
    }

    /// A good image of the format with some data at its beginning.
    static func good(_ format: String, options: [String: String]) throws -> [UInt8] {
        let driver = try FormatRegistry.require(format)
        let storage = MemoryStorage()
        var request = CreateRequest(path: "memory", size: size, options: options)
        request.secrets = ["key": Array("secret".utf8)]
        try driver.create(in: storage, request: request)
        let device = try driver.open(storage: storage, options: openOptions(readOnly: false))
        let block = [UInt8](repeating: 0x61, count: 65536)
        if device.needsCompressedWrites {
            let out = HeapBuffer(2 << 16)
            let count = try block.withUnsafeBytes { try device.compress(cluster: $0, into: out.bytes) }
            try device.writeCompressed(out.readable.part(0, count ?? 0), at: 0)
        } else {
            try device.put(block, at: 0)
        }
        try device.close()
        return storage.bytes
    }

    static func openOptions(readOnly: Bool) -> OpenOptions {
        var options = OpenOptions(readOnly: readOnly, openBacking: false)
        options.secrets = ["key": Array("secret".utf8)]
        options.keySecret = "key"
        return options
    }

    /// The damaged file, checksums made right.
    func bytes() throws -> [UInt8] {
        var bytes = try Self.good(format, options: options)
        for edit in edits {
            let offset = edit.offset < 0 ? bytes.count + edit.offset : edit.offset
            for index in 0..<edit.width {
                let shift = UInt64(8 * (Self.bigEndian.contains(format) ? edit.width - 1 - index : index))
                bytes[offset + index] = UInt8(truncatingIfNeeded: edit.value >> shift)
            }
        }
        switch format {
        case "vpc":
            for (start, count, field) in [(0, 512, 64), (512, 1024, 36), (bytes.count - 512, 512, 64)] {
                var part = Array(bytes[start..<start + count])
                VHDFooter.seal(&part, at: field)
                bytes.overwrite(start, with: part)
            }
        case "vhdx":
            for (start, count) in [(64 << 10, 4096), (128 << 10, 4096), (192 << 10, 65536), (256 << 10, 65536)] {
                var part = Array(bytes[start..<start + count])
                CRC32C.seal(&part, at: 4)
                bytes.overwrite(start, with: part)
            }
        default: break
        }
        return bytes
    }

    /// The error that the stage ends in, nil where everything succeeds.
    func error() throws -> ImageError? {
        let driver = try FormatRegistry.require(format)
        let storage = MemoryStorage(content: try bytes(), readOnly: true)
        do throws(ImageError) {
            let device = try driver.open(storage: storage, options: Self.openOptions(readOnly: true))
            switch stage {
            case .open: return nil
            case .read:
                let buffer = HeapBuffer(Int(Self.size))
                try device.read(into: buffer.bytes, at: 0)
            case .check:
                let result = try DiskImage.check(device, repair: .none, verifyData: true)
                guard result.corruptions > 0 else { return nil }
                return ImageError(
                    .corrupt, result.findings.joined(separator: "\n"), format: format, path: "", offset: 0)
            }
        } catch {
            return error
        }
        return nil
    }
}
