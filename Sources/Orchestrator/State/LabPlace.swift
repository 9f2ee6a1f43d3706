import LabSpec
import VMProtocol

/// A lab and the folder of its state, found by its file or by its name.
public struct LabPlace: Sendable {
    public var folder: LabFolder
    /// What the user should know: that file and state have parted.
    public var notice: String?
    /// Which of several copies of the lab it is.
    public var project: String?
    /// The description that the state keeps, where the lab was found without its file.
    public var kept: KeptLabFile?
}

extension StateDirectory {
    /// The state of the lab that a file describes. A lab whose file was renamed or moved, or whose `lab:` was renamed, is
    /// found again; another one is new.
    public func place(of lab: Lab, text: String, project: String? = nil) -> LabPlace {
        let own = folder(of: lab, project: project)
        if Folder.isFolder(own.path) { return LabPlace(folder: own, project: project) }
        let number = FileStamp.number(of: lab.path)
        var found: [(folder: LabFolder, notice: String?)] = []
        var strangers: [String] = []
        for folder in allLabs() {
            guard let record = folder.recordReading.known, record.project == project else { continue }
            if record.file == lab.path {
                // Another lab may lie under the old one's path; they share no VMs then.
                let names = Set(lab.instances().map(\.name))
                if folder.vmNames.contains(where: names.contains) {
                    // A lab that was found again under this path before keeps its folder's old name.
                    let isKnown = record.name == lab.name
                    found.append((folder, isKnown ? nil : "lab '\(record.name)' is called '\(lab.name)' now"))
                }
            } else if !Folder.exists(record.file) {
                let isSameFile = number != nil && record.fileNumber == number
                if folder.keptFile.known?.text == text || record.name == lab.name && isSameFile {
                    found.append((folder, "the lab file \(record.file) is \(lab.path) now"))
                } else if record.name == lab.name, folder.vmNames.contains(where: { folder.vm($0).isRunning }) {
                    strangers.append(
                        "VMs of another lab '\(record.name)' run, whose file \(record.file) is gone; "
                            + "'--lab \(folder.folderName)' means that one")
                }
            }
        }
        if found.count == 1 {
            return LabPlace(folder: found[0].folder, notice: found[0].notice, project: project)
        }
        return LabPlace(folder: own, notice: strangers.first, project: project)
    }

    /// The state of the lab with a name, or with a state folder of that name; the description is the one that was kept.
    /// - Throws: `.state` when there is none, or several.
    public func place(named name: String, project: String? = nil) throws(OrchestratorError) -> LabPlace {
        // Without a project, the folder's name means any.
        let all = allLabs().filter { project == nil || $0.recordReading.known?.project == project }
        var found = all.filter { $0.folderName == name }
        if found.isEmpty { found = all.filter { ($0.recordReading.known?.name ?? $0.nameInPath) == name } }
        // The copy without a name is the one that is meant where no other is named.
        let plain = found.filter { $0.recordReading.known?.project == nil }
        if plain.count == 1 { found = plain }
        guard found.count <= 1 else {
            let lines = found.map { "  \($0.folderName)  \($0.recordReading.known?.file ?? "")" }
            throw OrchestratorError(
                .state, "there are \(found.count) labs called '\(name)'; give one of\n" + lines.joined(separator: "\n"))
        }
        guard let folder = found.first else {
            let names = all.map { $0.recordReading.known?.name ?? $0.nameInPath }
            let near = Suggestion.nearest(to: name, among: names).map { "; did you mean '\($0)'?" } ?? ""
            throw OrchestratorError(
                .state, "no lab '\(name)' is known\(near.isEmpty ? ";" : near) 'labctl ls' lists labs")
        }
        return try keptPlace(folder)
    }

    /// The state of the lab that was brought up from a file that is gone; nil when there is none.
    /// - Parameter path: absolute.
    public func place(ofGone path: String, project: String? = nil) throws(OrchestratorError) -> LabPlace? {
        let found = allLabs().filter { lab in
            let record = lab.recordReading.known
            return record?.file == path && record?.project == project
        }
        guard found.count == 1 else { return nil }
        return try keptPlace(found[0])
    }

    /// The one lab that was brought up from a file in a folder and whose file is gone; nil when there is none.
    public func place(ofGoneIn folder: String, project: String? = nil) throws(OrchestratorError) -> LabPlace? {
        let prefix = folder == "/" ? "/" : folder + "/"
        let found = allLabs().filter { lab in
            guard let record = lab.recordReading.known, record.project == project else { return false }
            let file = record.file
            guard file.hasPrefix(prefix), !Folder.exists(file) else {
                return false
            }
            return !file.dropFirst(prefix.count).contains("/")
        }
        guard found.count == 1 else { return nil }
        return try keptPlace(found[0])
    }

    private func keptPlace(_ folder: LabFolder) throws(OrchestratorError) -> LabPlace {
        guard let kept = folder.keptFile.known else {
            let reason = folder.keptFile.fault?.sentence ?? "\(folder.keptFilePath) is not there"
            throw OrchestratorError(
                .state,
                "what this lab consists of is not known without its file: \(reason). With a lab file that names its VMs, "
                    + "'labctl up' writes it; its overlays are in \(folder.vmsFolder)")
        }
        let notice = kept.parting.map { "\($0); working with the lab as it was last brought up" }
        return LabPlace(
            folder: folder, notice: notice, project: folder.recordReading.known?.project, kept: kept)
    }
}

extension LabFolder {
    /// The last part of its path: unique among the labs of a user.
    public var folderName: String { path.split(separator: "/").last.map(String.init) ?? path }
}
