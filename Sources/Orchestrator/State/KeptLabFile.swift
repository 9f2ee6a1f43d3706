import LabSpec
import VMProtocol

/// The lab file that a lab was last brought up with, and what its variables meant: enough to read it again when the file is
/// gone, renamed or broken. `lab-file.json` in the lab's folder.
public struct KeptLabFile: Codable, Sendable, Equatable {
    /// Real path of the lab file.
    public var path: String
    public var text: String
    /// Values of the variables that the text uses.
    public var variables: [String: String]
    /// Texts of the rosters that it names, by absolute path; nil: none.
    public var rosters: [String: String]?

    /// - Returns: nil for a lab file that is not valid.
    public init?(_ loaded: LoadedLab) {
        guard let lab = loaded.lab else { return nil }
        path = lab.path
        text = loaded.source.text
        variables = loaded.variables
        rosters = loaded.rosters.isEmpty ? nil : loaded.rosters
    }

    /// Reads it again.
    /// - Parameter checksFiles: whether images and kernels have to exist.
    public func load(checksFiles: Bool) -> LoadedLab {
        LabFile.load(
            text: text, fileName: path, realPath: path, variables: LabVariables(environment: variables),
            rosters: rosters ?? [:], checksFiles: checksFiles, checksSupport: checksFiles)
    }

    /// In what way the file on the disk is another one by now; nil when it is not.
    var parting: String? {
        guard let bytes = (try? StateFile.read(path)) ?? nil else { return "\(path) is gone" }
        return SourceText(fileName: path, text: String(decoding: bytes, as: UTF8.self)).text == text
            ? nil : "\(path) has changed since the lab was brought up"
    }
}

extension LabFolder {
    var keptFilePath: String { "\(path)/lab-file.json" }

    /// The lab file as it was when the lab was last brought up.
    public var keptFile: RecordReading<KeptLabFile> { RecordFile.read(KeptLabFile.self, from: keptFilePath) }

    func write(_ kept: KeptLabFile) throws(OrchestratorError) {
        try withHostErrors { () throws(HostError) in try RecordFile.write(kept, to: keptFilePath) }
    }
}
