/// A whole disk under LUKS version 1: header, key material, then the encrypted disk.
public struct LUKSFormat: ImageFormat {
    public init() {}
    public var name: String { "luks" }
    public var capabilities: FormatCapabilities { [.read, .write, .create, .encryption, .resize] }
    public var options: [CreateOption] {
        [
            CreateOption("size", .size, "Virtual disk size"),
            CreateOption("key-secret", .string, "ID of the secret that provides the keyslot passphrase"),
        ] + LUKSParameters.options.map { CreateOption($0.name, $0.kind, $0.help) } + [
            CreateOption("preallocation", .string, "Preallocation mode (allowed values: off, falloc, full)")
        ]
    }

    public var amendOptions: [CreateOption] {
        LUKSAmendment.options.map { CreateOption($0.name, $0.kind, $0.help) }
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
        // A disk that begins on its own header would overwrite it.
        guard options.readOnly || options.forCheck || header.payloadOffset >= UInt64(LUKSHeader.headerBytes) else {
            throw ImageError(
                .corrupt, "the LUKS payload at \(header.payloadOffset) lies on the header; it cannot be written",
                format: name, path: storage.path, offset: 104)
        }
        var cipher: SectorCipher?
        if options.metadataOnly {
            cipher = nil
        } else if let passphrase = options.passphrase() {
            cipher = try header.unlock(passphrase, storage, at: 0)
        } else if !options.forCheck {
            throw ImageError(
                .permission, "Parameter 'key-secret' is required for cipher", format: name, path: storage.path)
        }
        return LUKSImage(storage, header: header, cipher: cipher, passphrase: options.passphrase())
    }

    public func create(in storage: any Storage, request: CreateRequest) throws(ImageError) {
        let options = OptionReader(request.options)
        if let text = options.text("preallocation"), Preallocation(rawValue: text) == nil {
            throw ImageError(.invalidArgument, "invalid parameter value: \(text)", format: name)
        }
        let mode = try Preallocation.parse(options.text("preallocation"), allowed: Preallocation.allCases)
        let passphrase = try request.secret(options.text("key-secret"), option: "key-secret")
        let area = try LUKSHeader.create(passphrase, LUKSParameters(options))
        try storage.write(area, at: 0)
        let end = UInt64(area.count) + ((request.size + 511) & ~511)
        try storage.resize(to: end)
        try Preallocation.fill(storage, from: UInt64(area.count), to: end, mode: mode)
    }

    public func roundedSize(_ requested: UInt64, options: CreateRequest) -> UInt64 { (requested + 511) & ~511 }
}

extension CreateRequest {
    /// The secret that an option names.
    func secret(_ id: String?, option: String) throws(ImageError) -> [UInt8] {
        guard let id else { throw ImageError(.invalidArgument, "Parameter '\(option)' is required for cipher") }
        guard let secret = secrets[id] else { throw ImageError(.invalidArgument, "No secret with id '\(id)'") }
        return secret
    }
}

/// An open LUKS disk.
final class LUKSImage: BlockMappedImage, OptionAmendable, @unchecked Sendable {
    private let payload: UInt64
    private let cipher: SectorCipher?
    private let header: LUKSHeader
    private let passphrase: [UInt8]?

    init(_ storage: any Storage, header: LUKSHeader, cipher: SectorCipher?, passphrase: [UInt8]?) {
        let payload = header.payloadOffset
        self.header = header
        self.payload = payload
        self.cipher = cipher
        self.passphrase = passphrase
        super.init(storage: storage, formatName: "luks", size: (storage.byteCount - payload) & ~511, blockBytes: 65536)
    }

    override var clusterSize: Int? { nil }
    override var transformsData: Bool { true }
    override var summary: ImageSummary {
        var summary = super.summary
        summary.isEncrypted = true
        return summary
    }

    override var formatDetails: FormatDetails? { FormatDetails(type: "luks", fields: header.info) }

    func amend(_ request: AmendRequest) throws(ImageError) {
        try LUKSHeader.amend(storage, at: 0, LUKSAmendment(request), current: passphrase)
    }

    /// What is new decrypts to noise, as everything that was never written does.
    override func resize(to newSize: UInt64, preallocation: Preallocation) throws(ImageError) {
        try checkWritable()
        let (old, new) = (storage.byteCount, payload + (newSize + 511) & ~511)
        try storage.resize(to: new)
        diskSize = new - payload
        if new > old { try Preallocation.fill(storage, from: old, to: new, mode: preallocation) }
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
