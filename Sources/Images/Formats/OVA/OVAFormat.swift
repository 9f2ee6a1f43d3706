import COpenSSL

/// Virtual appliances (DMTF DSP0243, "Distribution as a single file"): a tar archive of an OVF descriptor, perhaps a
/// manifest of digests, and disks. The disk is read where it lies in the archive; nothing is unpacked.
///
/// Of several disks the first of the descriptor is read; `appliance.ova#disk2.vmdk` or `appliance.ova#2` name another.
public struct OVAFormat: ImageFormat {
    private static let descriptorBytes: UInt64 = 4 << 20
    /// What a disk is called where the descriptor does not say.
    private static let diskSuffixes = ["vmdk", "vhd", "vhdx", "vdi", "qcow2", "img", "raw"]

    public init() {}
    public var name: String { "ova" }
    public var capabilities: FormatCapabilities { [.read, .check] }

    public func probe(head: UnsafeRawBufferPointer, fileSize: UInt64, path: String) -> Int {
        guard TarArchive.hasValidSum(head) else { return 0 }
        // The descriptor comes first, unless a long name does.
        if TarArchive.name(head).lowercased().hasSuffix(".ovf") { return 95 }
        return FilePath.suffix(of: path) == "ova" ? 90 : 0
    }

    public func open(storage: any Storage, options: OpenOptions) throws(ImageError) -> any BlockDevice {
        func bad(_ kind: ImageError.Kind, _ message: String) -> ImageError {
            ImageError(kind, message, format: name, path: storage.path)
        }
        let archive = try TarArchive(storage)
        guard let descriptor = archive.members.first(where: { FilePath.suffix(of: $0.name) == "ovf" }) else {
            throw bad(.corrupt, "the archive has no member whose name ends with .ovf")
        }
        guard let parsed = OVFDescriptor(try archive.bytes(of: descriptor, atMost: Self.descriptorBytes)) else {
            throw bad(.corrupt, "'\(descriptor.name)' is not an OVF descriptor")
        }
        var disks = parsed.disks
        if disks.isEmpty {
            disks = archive.members.filter { Self.diskSuffixes.contains(FilePath.suffix(of: $0.name)) }.map {
                OVFDescriptor.Disk(file: $0.name, isChunked: false)
            }
        }
        guard !disks.isEmpty else { throw bad(.invalidArgument, "the appliance has no disk") }
        let names = disks.map(\.file)
        var chosen = disks[0]
        if let wanted = options.member {
            let index = names.firstIndex(of: wanted) ?? Int(wanted).map { $0 - 1 } ?? -1
            guard disks.indices.contains(index) else {
                throw bad(.notFound, "the appliance has no disk '\(wanted)', only \(names.joined(separator: ", "))")
            }
            chosen = disks[index]
        }
        guard !chosen.isChunked else {
            throw bad(
                .unsupported, "the disk '\(chosen.file)' is cut in chunks, which is not supported; unpack it first")
        }
        guard ["identity", "gzip"].contains(chosen.compression) else {
            throw bad(
                .unsupported,
                "the disk '\(chosen.file)' is compressed with '\(chosen.compression)', only gzip is supported; unpack it "
                    + "first")
        }
        guard let member = archive.member(chosen.file) else {
            throw bad(.corrupt, "the descriptor names the disk '\(chosen.file)', which is not in the archive")
        }
        let inner = try openMember(member, archive, storage, options)
        guard chosen.compression != "gzip" || inner.formatName == "gz" else {
            throw bad(
                .corrupt,
                "the descriptor says that the disk '\(chosen.file)' is gzip-compressed, but it is \(inner.formatName)")
        }
        return OVAImage(storage, archive: archive, disk: inner, member: member.name, names: names)
    }

    private func openMember(
        _ member: TarArchive.Member, _ archive: TarArchive, _ storage: any Storage, _ options: OpenOptions
    ) throws(ImageError) -> any BlockDevice {
        @Sendable func window(_ member: TarArchive.Member) -> StorageWindow {
            StorageWindow(
                storage, start: member.start, byteCount: member.byteCount, path: "\(storage.path)#\(member.name)"
            ) { (name) throws(ImageError) in
                // Paths of members begin with that of the archive.
                let name = name.split(separator: "#").last.map(String.init) ?? name
                guard let other = archive.member(name) else {
                    throw ImageError(
                        .notFound, "'\(name)' is not in the archive", format: "ova", path: storage.path)
                }
                return window(other)
            }
        }
        return try options.openInner(
            window(member), called: "the disk '\(member.name)'", in: name, looksAtEnd: true)
    }
}

/// The disk of an open appliance.
final class OVAImage: ContainedDisk {
    let storage: any Storage
    let archive: TarArchive
    let disk: any BlockDevice
    private let member: String
    private let names: [String]

    init(_ storage: any Storage, archive: TarArchive, disk: any BlockDevice, member: String, names: [String]) {
        self.storage = storage
        self.archive = archive
        self.disk = disk
        self.member = member
        self.names = names
    }

    /// The lines of the manifest; none where the archive has no manifest.
    func manifest() throws(ImageError) -> [(file: String, algorithm: String, digest: String)] {
        guard let manifest = archive.members.first(where: { FilePath.suffix(of: $0.name) == "mf" }) else { return [] }
        return OVFDescriptor.manifest(try archive.bytes(of: manifest, atMost: 1 << 20))
    }

    var formatName: String { "ova" }
    var formatDetails: FormatDetails? {
        FormatDetails(
            type: "ova",
            fields: [
                InfoField("disk", .string(member)), InfoField("disk-format", .string(disk.formatName)),
                InfoField("disks", .array(names.map { .string($0) })),
            ])
    }

    /// Checks the disk inside; with `verifyData` also the digests of the manifest.
    func check(repair: RepairMode, verifyData: Bool) throws(ImageError) -> CheckResult {
        var result = CheckResult()
        if let disk = disk as? any CheckableImage {
            result = try disk.check(repair: .none, verifyData: verifyData)
        }
        guard verifyData else { return result }
        for line in try manifest() {
            let type: OpaquePointer? =
                switch line.algorithm {
                case "SHA1": EVP_sha1()
                case "SHA256": EVP_sha256()
                case "SHA384": EVP_sha384()
                case "SHA512": EVP_sha512()
                default: nil
                }
            guard let type, let member = archive.member(line.file) else {
                result.checkErrors += 1
                result.note("ERROR: the manifest's line for '\(line.file)' (\(line.algorithm)) cannot be verified")
                continue
            }
            let digest = try DiskImage.digest(type, size: member.byteCount) { (buffer, offset) throws(ImageError) in
                try self.storage.read(into: buffer, at: member.start + offset)
            }
            if digest != line.digest {
                result.corruptions += 1
                result.note(
                    "ERROR: '\(line.file)' has the \(line.algorithm) digest \(digest), the manifest says \(line.digest)"
                )
            }
        }
        return result
    }
}
