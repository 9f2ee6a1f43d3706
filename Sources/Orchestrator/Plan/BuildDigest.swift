import LabSpec

/// What of a recipe decides the content of the image that it makes. Time limits do not, and pictures of the screen do not.
extension BuildRecipe {
    /// Text that differs for recipes whose images may differ.
    var digestText: String {
        var lines = ["build 1", "memory \(memory.bytes)", "boot \(boot.map(\.rawValue).joined())"]
        switch start {
        case .image: lines.append("from")
        case .emptyDisk(let size): lines.append("disk \(size.bytes)")
        }
        if cdrom != nil { lines.append("cdrom") }
        if compress { lines.append("compress") }
        if let kernel {
            lines.append("kernel \(kernel.initrd == nil ? "" : "initrd ")\(BuildRecipe.counted(kernel.append))")
        }
        return (lines + steps.compactMap(\.digestText)).map { $0 + "\n" }.joined()
    }

    /// Text whose end cannot be mistaken, whatever is in it.
    fileprivate static func counted(_ text: String) -> String { "\(text.utf8.count):\(text)" }
}

extension LabStep {
    fileprivate var digestText: String? {
        switch action {
        case .wait(let pattern): "wait \(BuildRecipe.counted(pattern.description))"
        case .screen(let pattern): "screen \(BuildRecipe.counted(pattern.description))"
        case .send(let text): "send \(BuildRecipe.counted(text))"
        case .keys(let chords): "keys \(chords.map(\.text).joined(separator: " "))"
        case .run(let command): "run \(BuildRecipe.counted(command))"
        case .copy(let copy):
            // The content has a digest of its own; the name counts where the target is a folder.
            "copy \(BuildRecipe.counted(copy.target))"
        case .sleep(let duration): "sleep \(duration.milliseconds)"
        case .eject(let slot): "eject \(slot.rawValue)"
        case .screenshot: nil
        }
    }
}

extension CopyStep {
    /// Where the file or folder gets in the guest.
    var target: String {
        guard to.hasSuffix("/") else { return to }
        return to + (from.absolute.split(separator: "/").last.map(String.init) ?? "")
    }
}

extension LabStep.Action {
    /// The step in words, for progress and messages.
    var words: String {
        switch self {
        case .wait(let pattern): "wait: \(pattern)"
        case .screen(let pattern): "screen: \(pattern)"
        case .send(let text): "send: \(LabStep.Action.clipped(text))"
        case .keys(let chords): "keys: \(chords.map(\.text).joined(separator: ", "))"
        case .run(let command): "run: \(LabStep.Action.clipped(command))"
        case .copy(let copy): "copy: \(copy.from.written) to \(copy.target)"
        case .sleep(let duration): "sleep: \(duration)"
        case .eject(let slot): "eject: \(slot.rawValue)"
        case .screenshot(let path): "screenshot: \(path.written)"
        }
    }

    private static func clipped(_ text: String) -> String {
        let line = text.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
        return line.count > 60 ? line.prefix(57) + "…" : line.count < text.count - 1 ? line + " …" : line
    }
}
