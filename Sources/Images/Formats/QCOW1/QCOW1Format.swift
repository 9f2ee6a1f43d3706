/// The first qcow format (QEMU block/qcow.c). Big-endian.
///
///     offset size
///          0    4  magic "QFI\xfb"      4   4  version 1
///          8    8  offset of the backing file name     16   4  its length
///         20    4  time stamp          24   8  size of the disk
///         32    1  cluster_bits, 9…16  33   1  l2_bits, 6…13   34  2  padding
///         36    4  encryption: 0 none, 1 AES                   40  8  offset of the L1 table
///
/// L1 and L2 entries are 64-bit host offsets, 0 for nothing there. An L2 entry with bit 63 is a compressed cluster: its
/// length in bytes lies in cluster_bits bits below bit 63, its offset in the rest. Streams are raw deflate.
public struct QCOW1Format: ImageFormat {
    public init() {}
    public var name: String { "qcow" }
    public var capabilities: FormatCapabilities { [.read, .write, .create, .backing, .compress, .encryption] }
    public var options: [CreateOption] {
        [
            CreateOption("size", .size, "Virtual disk size"),
            CreateOption("backing_file", .string, "File name of a base image"),
            CreateOption("backing_fmt", .string, "Format of the backing image"),
            CreateOption(
                "encryption", .bool, "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"),
            CreateOption("encrypt.format", .string, "Encrypt the image, format choices: 'aes'"),
            CreateOption("encrypt.key-secret", .string, "ID of the secret that provides the AES encryption key"),
        ]
    }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        guard head.count >= 48, let base = head.baseAddress else { return 0 }
        return base.be32(0) == QCOW2Header.magic && base.be32(4) == 1 ? 100 : 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        let head = try storage.readBytes(at: 0, count: 48)
        func bad(_ kind: ImageError.Kind = .corrupt, _ message: String, _ offset: UInt64) -> ImageError {
            ImageError(kind, message, format: name, path: storage.path, offset: offset)
        }
        guard head.be32(0) == QCOW2Header.magic else { throw bad(.corrupt, "Image not in qcow format", 0) }
        guard head.be32(4) == 1 else {
            throw bad(.unsupported, "qcow (v\(head.be32(4))) does not support qcow version \(head.be32(4))", 4)
        }
        let size = head.be64(24), clusterBits = Int(head[32]), l2Bits = Int(head[33])
        guard size > 1 else { throw bad(.corrupt, "Image size is too small (must be at least 2 bytes)", 24) }
        guard (9...16).contains(clusterBits) else {
            throw bad(.corrupt, "Cluster size must be between 512 and 64k, not 2^\(clusterBits)", 32)
        }
        guard (6...13).contains(l2Bits) else {
            throw bad(.corrupt, "L2 table size must be between 512 and 64k, not 2^\(l2Bits) entries", 33)
        }
        let shift = UInt64(clusterBits + l2Bits)
        guard size <= UInt64(Int64.max) - (1 << shift) else {
            throw bad(.corrupt, "Image too large: \(size) bytes", 24)
        }
        let l1Count = (size + (1 << shift) - 1) >> shift
        guard l1Count * 8 <= 1 << 28 else {
            throw bad(.corrupt, "Image too large: an L1 table of \(l1Count) entries", 24)
        }
        let l1Offset = head.be64(40)
        guard l1Offset <= storage.byteCount, storage.byteCount - l1Offset >= l1Count * 8 else {
            throw bad(.corrupt, "L1 table of \(l1Count) entries at \(l1Offset.hex) lies beyond the file", 40)
        }
        var backing: String?
        if head.be64(8) != 0 {
            let length = head.be32(16)
            guard length <= 1023, head.be64(8) <= storage.byteCount else {
                throw bad(.corrupt, "Backing file name too long", 16)
            }
            if length > 0 {
                backing = String(decoding: try storage.readBytes(at: head.be64(8), count: Int(length)), as: UTF8.self)
            }
        }
        var cipher: SectorCipher?
        switch head.be32(36) {
        case 0: break
        case 1:
            if let id = options.keySecret ?? (options.secrets.count == 1 ? options.secrets.keys.first : nil),
                let password = options.secrets[id]
            {
                cipher = try SectorCipher.legacy(password: password)
            } else if !options.forCheck {
                throw bad(.permission, "Parameter 'encrypt.key-secret' is required for cipher", 36)
            }
        case let method: throw bad(.unsupported, "invalid encryption method \(method) in qcow header", 36)
        }
        let l1 = try EntryTable(storage, at: l1Offset, count: Int(l1Count), width: 8, bigEndian: true)
        return QCOW1Image(
            storage, size: (size + 511) & ~511, clusterBits: clusterBits, l2Bits: l2Bits, l1: l1, backingFile: backing,
            cipher: cipher, isEncrypted: head.be32(36) == 1)
    }

    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        let options = OptionReader(request.options)
        let encrypts = try options.bool("encryption") ?? false || options.text("encrypt.format") == "aes"
        guard options.text("encrypt.format").map({ $0 == "aes" }) ?? true else {
            throw ImageError(
                .invalidArgument, "Unknown encryption format '\(options.text("encrypt.format") ?? "")'", format: name)
        }
        if encrypts, request.secrets.isEmpty {
            throw ImageError(.invalidArgument, "Parameter 'encrypt.key-secret' is required for cipher", format: name)
        }
        let backing = Array((request.backing?.file ?? "").utf8)
        guard backing.count <= 1023 else {
            throw ImageError(.invalidArgument, "Backing file name too long", format: name)
        }
        // With a backing file clusters are as small as sectors, so that little is copied.
        let (clusterBits, l2Bits) = backing.isEmpty ? (12, 9) : (9, 12)
        let size = (request.size + 511) & ~511
        let l1Offset = (48 + backing.count + 7) & ~7
        let shift = UInt64(clusterBits + l2Bits)
        let l1Bytes = Int((size + (1 << shift) - 1) >> shift) * 8
        var out: [UInt8] = []
        out.putBE(QCOW2Header.magic)
        out.putBE(UInt32(1))
        out.putBE(UInt64(backing.isEmpty ? 0 : 48))
        out.putBE(UInt32(backing.count))
        out.putBE(UInt32(0))
        out.putBE(size)
        out += [UInt8(clusterBits), UInt8(l2Bits), 0, 0]
        out.putBE(UInt32(encrypts ? 1 : 0))
        out.putBE(UInt64(l1Offset))
        out += backing
        try storage.write(out, at: 0)
        try storage.resize(to: (UInt64(l1Offset + l1Bytes) + 511) & ~511)
    }

    public func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64 { (requested + 511) & ~511 }
}
