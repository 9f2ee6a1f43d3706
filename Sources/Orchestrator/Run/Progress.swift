/// What a verb tells while it works. Orders come in the order of things; every event may come from any thread.
public enum ProgressEvent: Sendable, Equatable {
    case image(name: String, ImageProgress)
    case vm(name: String, VMProgress)
    /// A sentence for the user.
    case warning(String)
}

/// How far an image is.
public enum ImageProgress: Sendable, Equatable {
    /// Its digest is computed; bytes.
    case verifying(done: UInt64, total: UInt64)
    /// It is made; bytes.
    case making(done: UInt64, total: UInt64)
    /// It is downloaded; bytes, 0 in all where the server does not say it.
    case downloading(done: UInt64, total: UInt64)
    /// A VM makes it; the step in words.
    case building(step: String)
    case ready
    case failed(String)
}

/// How far a VM is.
public enum VMProgress: Sendable, Equatable {
    /// Others must be ready first.
    case waiting(on: [String])
    /// Overlays are made, the process starts.
    case starting
    /// The guest runs, its `ready` text has not come.
    case booting
    /// It is ready, and its steps of `provision` are done; the one that is.
    case provisioning(step: String)
    /// Up: `ready` was seen, or the VM has none and runs.
    case ready(seconds: Double)
    /// The guest runs and nobody waits for more.
    case running
    /// Was up already.
    case unchanged
    /// Asked to power off.
    case stopping
    case stopped(forced: Bool)
    /// Its overlays are fresh.
    case reset
    case removed
    case failed(String)
    /// Not started, as a VM that it depends on did not come up.
    case skipped(String)
}

/// Where progress goes.
public typealias ProgressSink = @Sendable (ProgressEvent) -> Void
