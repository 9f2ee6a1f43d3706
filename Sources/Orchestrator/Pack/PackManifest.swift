/// What is in a packed lab: the last file of its archive, `manifest.json`.
struct PackManifest: Codable, Sendable, Equatable {
    struct File: Codable, Sendable, Equatable {
        /// Path below the lab's folder.
        var name: String
        var sha256: String
    }

    static let fileName = "manifest.json"
    static let currentFormat = 1

    var format = currentFormat
    /// The lab's name.
    var lab: String
    /// The lab file's path below its folder.
    var labFile: String
    /// What the lab file's variables meant to whoever packed it, for those who do not set them.
    var variables: [String: String]
    var files: [File]

    /// Whether a path stays inside of the folder that it is unpacked to.
    static func isInside(_ name: String) -> Bool {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        return !name.isEmpty && parts.allSatisfy { !["", ".", ".."].contains($0) } && !name.utf8.contains(0)
    }
}
