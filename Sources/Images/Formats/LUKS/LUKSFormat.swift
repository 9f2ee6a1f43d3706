/// A whole disk under LUKS version 1: header, key material, then the encrypted disk.
public struct LUKSFormat: ImageFormat {
    public init() {}
    public var name: String { "luks" }
    public var capabilities: FormatCapabilities { [.read, .write, .create, .encryption] }
    public var options: [CreateOption] {
        [
            CreateOption("size", .size, "Virtual disk size"),
            CreateOption("key-secret", .string, "ID of the secret that provides the keyslot encryption key"),
            CreateOption("iter-time", .number, "Time to spend in PBKDF in milliseconds"),
        ]
    }

    /// Ciphertext that was never written decrypts to noise.
    public var newImagesReadAsZeros: Bool { false }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        head.count >= 592 && LUKSHeader.magic.elementsEqual(head.prefix(6)) ? 100 : 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        let header = try LUKSHeader(storage, at: 0)
        guard header.payloadOffset <= storage.byteCount else {
            throw ImageError(
                .corrupt, "the LUKS payload lies beyond the file", format: name, path: storage.path, offset: 104)
        }
        var cipher: SectorCipher?
        if let passphrase = options.passphrase() {
            cipher = try header.unlock(passphrase, storage, at: 0)
        } else if !options.forCheck {
            throw ImageError(
                .permission, "Parameter 'key-secret' is required for cipher", format: name, path: storage.path)
        }
        return LUKSImage(storage, payload: header.payloadOffset, cipher: cipher)
    }

    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        let options = OptionReader(request.options)
        guard let id = options.text("key-secret"), let passphrase = request.secrets[id] else {
            throw ImageError(.invalidArgument, "Parameter 'key-secret' is required for cipher", format: name)
        }
        let (area, _) = try LUKSHeader.create(passphrase, milliseconds: options.number("iter-time") ?? 2000)
        try storage.write(area, at: 0)
        try storage.resize(to: UInt64(area.count) + ((request.size + 511) & ~511))
    }

    public func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64 { (requested + 511) & ~511 }
}

/// An open LUKS disk.
final class LUKSImage: BlockMappedImage, @unchecked Sendable {
    private let payload: UInt64
    private let cipher: SectorCipher?

    init(_ storage: any Storage, payload: UInt64, cipher: SectorCipher?) {
        self.payload = payload
        self.cipher = cipher
        super.init(storage: storage, formatName: "luks", size: (storage.byteCount - payload) & ~511, blockBytes: 65536)
    }

    override var clusterSize: Int? { nil }
    override var transformsData: Bool { true }
    override var summary: ImageSummary {
        var summary = super.summary
        summary.isEncrypted = true
        return summary
    }

    override func locate(_ offset: UInt64, limit: UInt64) throws(ImageError) -> BlockRun {
        BlockRun(kind: .data, length: limit, host: payload + offset)
    }

    override func readHost(into buffer: UnsafeMutableRawBufferPointer, host: UInt64, at offset: UInt64)
        throws(ImageError)
    {
        try EncryptedSectors(storage, cipher).read(into: buffer, host: host, vector: offset)
    }

    override func writeHost(from buffer: UnsafeRawBufferPointer, host: UInt64, at offset: UInt64) throws(ImageError) {
        try EncryptedSectors(storage, cipher).write(from: buffer, host: host, vector: offset)
    }
}

/// Reading and writing encrypted sectors, also parts of them. `vector` is the offset whose sector number is the
/// initialisation vector; it lies as far into its sector as `host` does.
struct EncryptedSectors {
    private let storage: any Storage
    private let cipher: SectorCipher?

    init(_ storage: any Storage, _ cipher: SectorCipher?) {
        self.storage = storage
        self.cipher = cipher
    }

    private func unlocked() throws(ImageError) -> SectorCipher {
        guard let cipher else {
            throw ImageError(.permission, "the image is encrypted and no secret was given", path: storage.path)
        }
        return cipher
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, host: UInt64, vector: UInt64) throws(ImageError) {
        let cipher = try unlocked()
        let lead = Int(host & 511)
        let whole = HeapBuffer((lead + buffer.count + 511) & ~511, zeroed: false)
        try storage.read(into: whole.bytes, at: host - UInt64(lead))
        try cipher.transform(
            whole.readable, into: whole.bytes, firstSector: (vector - UInt64(lead)) / 512, encrypt: false)
        buffer.copyMemory(from: whole.readable.part(lead, buffer.count))
    }

    func write(from buffer: UnsafeRawBufferPointer, host: UInt64, vector: UInt64) throws(ImageError) {
        let cipher = try unlocked()
        let lead = Int(host & 511)
        let first = (vector - UInt64(lead)) / 512
        let whole = HeapBuffer((lead + buffer.count + 511) & ~511)
        if lead != 0 || (lead + buffer.count) % 512 != 0 {
            try storage.read(into: whole.bytes, at: host - UInt64(lead))
            try cipher.transform(whole.readable, into: whole.bytes, firstSector: first, encrypt: false)
        }
        whole.bytes.part(lead, buffer.count).copyMemory(from: buffer)
        try cipher.transform(whole.readable, into: whole.bytes, firstSector: first, encrypt: true)
        try storage.write(from: whole.readable, at: host - UInt64(lead))
    }
}
