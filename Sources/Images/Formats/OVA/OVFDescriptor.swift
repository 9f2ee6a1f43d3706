/// The parts of an OVF descriptor (DMTF DSP0243 2.1) that lead to disks, and of its manifest.
///
///     <References><File ovf:id="f" ovf:href="disk.vmdk" ovf:compression="gzip" ovf:chunkSize="…"/></References>
///     <DiskSection><Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="10" ovf:format="…#streamOptimized"/></DiskSection>
///
/// Manifest: lines `SHA256(disk.vmdk)= 0123…`.
struct OVFDescriptor {
    struct Disk: Sendable {
        /// Name of the archive's member.
        var file: String
        /// How the member is compressed as a whole: "identity", or a MIME coding such as "gzip".
        var compression = "identity"
        /// Whether the member is cut in pieces, as the descriptor may ask for.
        var isChunked: Bool
    }

    /// Disks that have a file, in the descriptor's order; empty ones have none.
    var disks: [Disk]

    init?(_ bytes: [UInt8]) {
        guard let tree = XMLTree.parse(bytes), tree.name == "Envelope" else { return nil }
        var files: [String: XMLTree] = [:]
        for file in tree.child("References")?.all("File") ?? [] {
            if let id = file.attributes["id"] { files[id] = file }
        }
        let entries = tree.children.filter { $0.name == "DiskSection" }.flatMap { $0.all("Disk") }
        disks = entries.compactMap { entry in
            guard let file = entry.attributes["fileRef"].flatMap({ files[$0] }), let href = file.attributes["href"]
            else { return nil }
            let compression = file.attributes["compression"] ?? ""
            return Disk(
                file: href, compression: compression.isEmpty ? "identity" : compression,
                isChunked: file.attributes["chunkSize"] != nil)
        }
    }

    /// File names with the digests that the manifest gives: algorithm and lower-case hexadecimal.
    static func manifest(_ bytes: [UInt8]) -> [(file: String, algorithm: String, digest: String)] {
        String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).compactMap { line in
            guard let open = line.firstIndex(of: "("), let equals = line.lastIndex(of: "="),
                let close = line[..<equals].lastIndex(of: ")"), open < close
            else { return nil }
            return (
                String(line[line.index(after: open)..<close]),
                line[..<open].filter { $0 != " " && $0 != "-" }.uppercased(),
                line[line.index(after: equals)...].filter { $0 != " " }.lowercased()
            )
        }
    }
}
