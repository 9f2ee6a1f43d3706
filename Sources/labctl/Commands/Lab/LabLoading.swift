import ArgumentParser
import Foundation
import LabSpec
import Orchestrator

/// A lab that a verb works with, and where its state is.
struct LoadedPlace {
    var lab: Lab
    var place: LabPlace
    /// The lab file, to be kept.
    var kept: KeptLabFile?
}

extension LabArguments {
    /// Finds the lab: by its file, by `--lab`, or, where the file is gone, by what the state keeps of it. Diagnostics go to
    /// standard error, errors end the program with exit code 4.
    ///
    /// - Parameter checksFiles: whether images and kernels have to exist. Verbs that start nothing pass false.
    func find(in state: StateDirectory, checksFiles: Bool, _ interruption: StopSignal) throws -> LoadedPlace {
        if let file = files.first, file.lowercased().hasSuffix(PackedLab.ending) {
            let packed = try PackedLab(file, state, interruption)
            return try load(path: packed.labFile, state, checksFiles, packed.variables)
        }
        let project = selection.effectiveProject
        if let labName = selection.labName {
            return try load(state.place(named: labName, project: project), checksFiles)
        }
        guard let path = try existingFile(in: state, checksFiles) else {
            let folder = Folder.real(".") ?? "/"
            let gone = files.first.map { Folder.absolute($0) }
            let place =
                if let gone {
                    try state.place(ofGone: gone, project: project)
                } else {
                    try state.place(ofGoneIn: folder, project: project)
                }
            // Without a trace of it, the message is about the file.
            guard let place else { return try load(path: try labFilePath(), state, checksFiles) }
            return try load(place, checksFiles)
        }
        return try load(path: path, state, checksFiles)
    }

    /// The lab file, where there is one.
    private func existingFile(in state: StateDirectory, _ checksFiles: Bool) throws -> String? {
        if let file = files.first { return Folder.exists(file) ? file : nil }
        let names = (try? FileManager.default.contentsOfDirectory(atPath: ".")) ?? []
        guard names.contains(where: { $0 == "lab.yaml" || $0.hasSuffix(".lab.yaml") && !$0.hasPrefix(".") }) else {
            return nil
        }
        return try labFilePath()
    }

    /// - Parameter defaults: what variables mean where nobody sets them.
    private func load(
        path: String, _ state: StateDirectory, _ checksFiles: Bool, _ defaults: [String: String] = [:]
    ) throws -> LoadedPlace {
        var variables = variables
        variables.files.merge(defaults) { given, _ in given }
        let loaded = LabFile.load(
            path: path, variables: variables, checksFiles: checksFiles, checksSupport: checksFiles)
        show(loaded)
        guard let lab = loaded.lab else {
            if let known = try? state.place(
                ofGone: Folder.real(path) ?? path, project: selection.effectiveProject), known.kept != nil
            {
                StandardError.line(
                    "'--lab \(known.folder.folderName)' works with the lab as it was last brought up")
            }
            throw ExitCode.labFileInvalid
        }
        return LoadedPlace(
            lab: lab,
            place: state.place(of: lab, text: loaded.source.text, project: selection.effectiveProject),
            kept: KeptLabFile(loaded))
    }

    private func load(_ place: LabPlace, _ checksFiles: Bool) throws -> LoadedPlace {
        guard let kept = place.kept else { throw ExitCode.labFileInvalid }
        let loaded = kept.load(checksFiles: checksFiles)
        show(loaded)
        guard let lab = loaded.lab else { throw ExitCode.labFileInvalid }
        return LoadedPlace(lab: lab, place: place, kept: nil)
    }

    /// Prints what is wrong with a lab file.
    func show(_ loaded: LoadedLab) {
        guard !loaded.diagnostics.isEmpty else { return }
        var errors = StandardError()
        print(loaded.rendered(as: .pretty, usesColor: color.isOn(for: STDERR_FILENO)), to: &errors)
    }
}
