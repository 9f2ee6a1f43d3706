import VMProtocol

/// What labctl knows of a lab between verbs: `lab.json`.
public struct LabRecord: Codable, Sendable, Equatable {
    public var name: String
    /// Real path of the lab file.
    public var file: String
    /// Which of several copies of the lab it is; nil for the one without a name.
    public var project: String?
    /// What tells a lab file that was renamed or moved.
    public var fileNumber: VMDescription.FileNumber?
    /// Seconds since 1970.
    public var createdAt: Double
    /// Images that this lab had made, by file name in the cache: what `prune` must keep.
    public var builtImages: [String]

    public init(
        name: String, file: String, project: String? = nil, createdAt: Double, builtImages: [String] = []
    ) {
        self.name = name
        self.file = file
        self.project = project
        self.createdAt = createdAt
        self.builtImages = builtImages
    }
}

/// What labctl knows of a VM between verbs: `vm.json`, written before the VM starts.
public struct VMRecord: Codable, Sendable, Equatable {
    /// An overlay and the golden image below it, as it was when the overlay was made.
    public struct Overlay: Codable, Sendable, Equatable {
        /// The image that the overlay names as its backing file.
        public var basePath: String
        public var baseFormat: String
        /// Every file of the golden image, the base first.
        public var golden: [GoldenFile]

        public init(basePath: String, baseFormat: String, golden: [GoldenFile]) {
            self.basePath = basePath
            self.baseFormat = baseFormat
            self.golden = golden
        }
    }

    /// The latest start.
    public struct Run: Codable, Sendable, Equatable {
        public var description: VMDescription
        /// Digest of everything that asks for a restart when it changes.
        public var definition: String
        /// Seconds since 1970.
        public var startedAt: Double
        /// Where this run's output begins in `console.log`.
        public var consoleStart: UInt64
        /// Seconds since 1970; nil until the VM was seen ready.
        public var readyAt: Double?
        /// Process id; for people, never used to decide anything.
        public var processID: Int32?
        /// Somebody asked this run to end.
        public var stopRequested: Bool

        public init(description: VMDescription, definition: String, startedAt: Double, consoleStart: UInt64) {
            self.description = description
            self.definition = definition
            self.startedAt = startedAt
            self.consoleStart = consoleStart
            stopRequested = false
        }
    }

    /// By slot name (`hda`).
    public var overlays: [String: Overlay]
    public var run: Run?
    /// What tells cloud-init that it runs for the first time: another one for fresh overlays.
    public var instanceID: String?
    /// When the steps of `provision` were through, seconds since 1970; nil for overlays that they were not done on.
    public var provisionedAt: Double?

    public init(overlays: [String: Overlay] = [:], run: Run? = nil) {
        self.overlays = overlays
        self.run = run
    }
}

extension LabFolder {
    /// The lab's record as it is on the disk.
    public var recordReading: RecordReading<LabRecord> { RecordFile.read(LabRecord.self, from: recordPath) }

    func write(_ record: LabRecord) throws(OrchestratorError) {
        try withHostErrors { () throws(HostError) in try RecordFile.write(record, to: recordPath) }
    }
}

extension VMFolder {
    /// The VM's record as it is on the disk.
    public var recordReading: RecordReading<VMRecord> { RecordFile.read(VMRecord.self, from: recordPath) }

    /// The latest start as far as it is known; for showing things and finding sockets.
    public var knownRun: VMRecord.Run? { recordReading.known?.run }

    func write(_ record: VMRecord) throws(OrchestratorError) {
        try withHostErrors { () throws(HostError) in try RecordFile.write(record, to: recordPath) }
    }

    /// How the latest run ended by its own account; nil when it did not get to say.
    public func readExitRecord() -> ExitRecord? {
        let bytes = try? StateFile.read(file(.exitRecord))
        if let bytes, let record = JSONCoding.decode(ExitRecord.self, from: bytes) { return record }
        // On a full disk it is said here.
        return VMCondition.read(in: path)?.exit
    }
}
