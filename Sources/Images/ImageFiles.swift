/// A host file that an open image consists of or reads from.
public struct ImageFile: Hashable, Sendable {
    /// The path that it was opened by.
    public let path: String
    /// Device and inode: what it is, whatever path leads there.
    public let identity: FileStorage.FileIdentity
    /// Whether it is open for writing.
    public let isWritable: Bool
    /// 0 for the files of the image itself, 1 for those of its backing file, and so on.
    public let layer: Int
}

extension DiskImage {
    /// Every file of an opened chain, top first: images, external data files, extents, archives. What an image was told
    /// to leave closed (`openBacking`, `metadataOnly`) is not among them.
    ///
    /// Who must know which files an image would be written to opens it read-only: those are the files of layer 0.
    public static func files(of top: any BlockDevice) -> [ImageFile] {
        var files: [ImageFile] = []
        var seen: Set<ImageFile> = []
        for (layer, device) in chain(of: top).enumerated() {
            for file in device.hostFiles {
                let entry = ImageFile(
                    path: file.path, identity: file.identity, isWritable: !file.isReadOnly, layer: layer)
                if seen.insert(entry).inserted { files.append(entry) }
            }
        }
        return files
    }

    /// What a path leads to; nil where there is nothing.
    public static func identity(of path: String) -> FileStorage.FileIdentity? { FileStorage.FileIdentity(of: path) }
}
