import Glibc
import LabSpec

/// Which files the images of a lab may name: backing files, data files, extents.
///
/// Labs and images come from others. An image that names a file of this host would show it to a VM, so it may name only
/// what lies in the lab file's folder, in a folder of a file under `images`, or is itself such a file. A home folder, and
/// what is above it, is no such folder: a lab file in it must not open all of it.
struct ImageFolders: Sendable {
    /// Folders, symbolic links followed; what lies below counts.
    let folders: [String]
    /// Files under `images`, and files that VMs use by their path.
    let files: Set<String>

    /// - Parameter home: the user's home folders; by default what `HOME` and the password file say.
    init(_ lab: Lab, homes: [String] = ImageFolders.homes()) {
        var named: [String] = [ImageFolders.parent(of: lab.path)]
        var files: Set<String> = []
        for image in lab.images {
            guard case .file(let source) = image.source else { continue }
            files.insert(source.path.absolute)
            named.append(ImageFolders.parent(of: source.path.absolute))
        }
        for case .path(let path) in lab.imageReferences(of: lab.instances()) { files.insert(path.absolute) }
        self.files = files
        var folders: [String] = []
        for folder in named.compactMap(Folder.real) where !folders.contains(folder) {
            let prefix = folder == "/" ? "/" : folder + "/"
            if homes.contains(where: { $0 == folder || $0.hasPrefix(prefix) }) { continue }
            folders.append(folder)
        }
        self.folders = folders
    }

    /// Home folders of the user, symbolic links followed.
    static func homes() -> [String] {
        var homes = [StateDirectory.environment("HOME") ?? ""]
        if let entry = getpwuid(getuid()), let home = entry.pointee.pw_dir { homes.append(String(cString: home)) }
        return homes.filter { $0.hasPrefix("/") }.compactMap(Folder.real)
    }

    private static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
