import Orchestrator
import VMProtocol

/// One line per change of state, for logs and scripts: words, or JSON with stable fields.
struct LineProgress: ProgressDisplay {
    let isJSON: Bool

    func show(_ event: ProgressEvent) {
        guard isJSON else {
            if let line = ProgressWords.line(for: event) { StandardError.line(line) }
            return
        }
        StandardError.line(String(decoding: JSONCoding.encode(ProgressRecord(event)), as: UTF8.self))
    }

    func finish() {}
}

/// A progress event as JSON.
struct ProgressRecord: Encodable {
    /// Seconds since 1970.
    var time = WallClock.now
    /// `image`, `vm` or `warning`.
    var kind: String
    var name: String?
    var state: String?
    var detail: String?
    var doneBytes: UInt64?
    var totalBytes: UInt64?
    var seconds: Double?

    init(_ event: ProgressEvent) {
        switch event {
        case .warning(let text):
            kind = "warning"
            detail = text
        case .image(let name, let progress):
            kind = "image"
            self.name = name
            switch progress {
            case .verifying(let done, let total): (state, doneBytes, totalBytes) = ("verifying", done, total)
            case .making(let done, let total): (state, doneBytes, totalBytes) = ("making", done, total)
            case .downloading(let done, let total): (state, doneBytes, totalBytes) = ("downloading", done, total)
            case .building(let step): (state, detail) = ("building", step)
            case .ready: state = "ready"
            case .failed(let reason): (state, detail) = ("failed", reason)
            }
        case .vm(let name, let progress):
            kind = "vm"
            self.name = name
            (state, detail) = ProgressWords.state(of: progress)
            if case .ready(let time) = progress { seconds = time }
        }
    }
}

/// Progress in words.
enum ProgressWords {
    /// The line for an event; nil for steps that only a bar shows.
    static func line(for event: ProgressEvent) -> String? {
        switch event {
        case .warning(let text): return "warning: \(text)"
        case .image(let name, let progress):
            switch progress {
            case .verifying(let done, let total):
                return done * 10 / max(total, 1) == 0 ? "image \(name): verifying" : nil
            case .making(let done, _): return done == 0 ? "image \(name): making" : nil
            case .downloading(let done, _): return done == 0 ? "image \(name): downloading" : nil
            case .building(let step): return "image \(name): building, \(step)"
            case .ready: return "image \(name): ready"
            case .failed(let reason): return "image \(name): failed: \(reason)"
            }
        case .vm(let name, let progress):
            let (state, detail) = state(of: progress)
            if case .ready(let seconds) = progress { return "\(name): ready after \(Humanized.seconds(seconds))" }
            // What went wrong is told at the end, once.
            if case .failed = progress { return "\(name): failed" }
            return "\(name): \(state)" + (detail.map { " \($0)" } ?? "")
        }
    }

    /// The stable word for a state, and more about it.
    static func state(of progress: VMProgress) -> (word: String, detail: String?) {
        switch progress {
        case .waiting(let names): ("waiting", "for \(names.joined(separator: ", "))")
        case .starting: ("starting", nil)
        case .booting: ("booting", nil)
        case .provisioning(let step): ("provisioning", step)
        case .ready: ("ready", nil)
        case .running: ("running", nil)
        case .unchanged: ("unchanged", nil)
        case .stopping: ("stopping", nil)
        case .stopped(let forced): ("stopped", forced ? "by force" : nil)
        case .reset: ("reset", nil)
        case .removed: ("removed", nil)
        case .failed(let reason): ("failed", reason)
        case .skipped(let reason): ("skipped", reason)
        }
    }
}
