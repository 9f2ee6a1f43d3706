import Glibc
import Images
import VMProtocol

/// A packed lab as it is used: unpacked once into a folder of the state, under a name made from its digest.
public struct PackedLab: Sendable {
    /// The lab file in the folder.
    public var labFile: String
    /// What its variables mean where nobody sets them.
    public var variables: [String: String]

    /// How the name of a packed lab ends.
    public static let ending = ".labz"
    private static let pieceBytes = 1 << 20
    /// A lab file and all that it names; more files are no lab.
    private static let mostFiles = 100_000

    /// Unpacks it, unless that has been done before.
    public init(_ path: String, _ state: StateDirectory, _ interruption: StopSignal) throws(OrchestratorError) {
        guard Folder.exists(path) else { throw OrchestratorError(.host, "there is no file \(path)") }
        let packs = "\(state.home)/packs"
        if let error = Folder.make(packs) { throw OrchestratorError(error) }
        let digest = try state.digests.digest(of: path).sha256.prefix(16)
        let folder = "\(packs)/\(digest)"
        if !Folder.isFolder(folder) { try Self.unpack(path, to: folder, interruption) }
        let manifest = try Self.manifest(in: folder)
        labFile = "\(folder)/\(manifest.labFile)"
        variables = manifest.variables
    }

    private static func manifest(in folder: String) throws(OrchestratorError) -> PackManifest {
        let path = "\(folder)/\(PackManifest.fileName)"
        let bytes = try withHostErrors { () throws(HostError) in try StateFile.read(path) }
        guard let manifest = bytes.flatMap({ JSONCoding.decode(PackManifest.self, from: $0) }) else {
            throw OrchestratorError(.state, "\(path) cannot be read; remove \(folder), it is unpacked again then")
        }
        guard manifest.format == PackManifest.currentFormat, PackManifest.isInside(manifest.labFile) else {
            throw OrchestratorError(.state, "\(path) was made by a newer labctl; use that one")
        }
        return manifest
    }

    private static func unpack(
        _ path: String, to folder: String, _ interruption: StopSignal
    ) throws(OrchestratorError) {
        let work = "\(folder).\(getpid()).tmp"
        Folder.remove(work)
        if let error = Folder.make(work) { throw OrchestratorError(error) }
        defer { Folder.remove(work) }
        let archive = "\(work)/archive"
        do throws(ImageError) {
            try DiskImage.unpack(path, format: "zst", to: archive, isCancelled: { interruption.isRequested })
        } catch {
            if interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted; nothing was unpacked") }
            throw OrchestratorError(.host, "\(path) is no packed lab, or is damaged: \(error.sentence)")
        }
        let target = "\(work)/lab"
        if let error = Folder.make(target) { throw OrchestratorError(error) }
        try extract(archive, to: target, from: path)
        // Somebody else may have been faster.
        guard rename(target, folder) == 0 || Folder.isFolder(folder) else {
            throw OrchestratorError(HostError("make", folder))
        }
    }

    private static func extract(
        _ archive: String, to folder: String, from path: String
    ) throws(OrchestratorError) {
        func damaged(_ what: String) -> OrchestratorError {
            OrchestratorError(.host, "\(path) is no packed lab, or is damaged: \(what)")
        }
        let file = try withHostErrors { () throws(HostError) in try Descriptor.open(archive, O_RDONLY) }
        func take(_ count: Int) throws(OrchestratorError) -> [UInt8] {
            var bytes: [UInt8] = []
            while bytes.count < count {
                guard case .bytes(let piece) = file.read(limit: count - bytes.count) else {
                    throw damaged("it ends too early")
                }
                bytes += piece
            }
            return bytes
        }
        var digests: [String: String] = [:]
        while true {
            let block = try take(TarHeader.bytes)
            if block.allSatisfy({ $0 == 0 }) { break }
            guard let header = TarHeader(block), PackManifest.isInside(header.name), digests[header.name] == nil,
                digests.count < mostFiles
            else { throw damaged("an entry of it is none that labctl writes") }
            let target = "\(folder)/\(header.name)"
            if let slash = target.lastIndex(of: "/"), let error = Folder.make(String(target[..<slash])) {
                throw OrchestratorError(error)
            }
            let written = try withHostErrors { () throws(HostError) in
                // Golden from here on.
                try Descriptor.open(
                    target, O_WRONLY | O_CREAT | O_EXCL, mode: header.isExecutable ? 0o555 : 0o444)
            }
            let digest = SHA256Stream()
            var left = header.size
            while left > 0 {
                let bytes = try take(Int(min(UInt64(pieceBytes), left)))
                digest.update(bytes)
                guard written.writeAll(bytes) else { throw OrchestratorError(HostError("write", target)) }
                left -= UInt64(bytes.count)
            }
            _ = try take(TarHeader.padding(header.size))
            digests[header.name] = digest.finish()
        }
        let manifest = try manifest(in: folder)
        digests[PackManifest.fileName] = nil
        guard
            digests == Dictionary(manifest.files.map { ($0.name, $0.sha256) }, uniquingKeysWith: { first, _ in first })
        else { throw damaged("its files are not those that it lists") }
    }
}
