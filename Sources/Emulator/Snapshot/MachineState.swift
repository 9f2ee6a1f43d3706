import Glibc

/// Saving and restoring a whole machine. Disks are not in a state: whoever owns them sees to it that they are as they were.
extension Machine {
    /// Names of the memories in a state.
    private static let ram = "ram", displayMemory = "vga-memory"

    private var deviceList: DeviceList {
        let cpus = processors.cpus
        let several: [any BoardDevice] = cpus.count > 1 ? [processors] : []
        return DeviceList(devices: board.devices + cpus + several + [self], scheduler: board.scheduler)
    }

    private var machineDescription: MachineDescription {
        MachineDescription(board: board, features: cpu.features)
    }

    // MARK: Saving

    /// Writes the machine to a file, which is there as a whole or not at all.
    ///
    /// On the thread that runs the machine, or while nobody does; `requestSave` is for others.
    public func save(to path: String) throws(MachineError) {
        try SavedStateFile.write(to: path) { file throws(MachineError) in try save(to: file) }
    }

    /// Writes the machine into an empty file that is open; whoever opened it makes it durable.
    public func save(into descriptor: Int32) throws(MachineError) {
        try SavedStateFile.fill(descriptor) { file throws(MachineError) in try save(to: file) }
    }

    /// Reads all of a state and compares every checksum, also of what a restore does not read.
    public static func verifyState(at path: String) throws(MachineError) {
        do throws(MachineError) { try StateReader(SavedStateFile(reading: path)).verify() } catch {
            guard case .badState(let reason) = error else { throw error }
            throw .badFile(path: path, reason: "the saved state \(reason)")
        }
    }

    /// - Returns: bytes of the state.
    public func save(to sink: any StateSink) throws(MachineError) -> UInt64 {
        // Time stands still for the guest: it cannot see how long this takes.
        let wasPaused = clock.isPaused
        clock.pause()
        defer { if !wasPaused { clock.resume() } }
        let description = machineDescription.saved()
        let sections = [description] + savedSections()
        let header = StateFormat.Header(
            machineDigest: XXHash64.hash(description.bytes), savedAt: Int64(time(nil)), guestNanoseconds: clock.now)
        var writer = StateWriter(sink, header: header, sectionCount: sections.count + 4)
        for section in sections { try writer.add(section) }
        try writer.add(memory: Self.ram, board.memory.ram.bytes)
        try writer.add(memory: Self.displayMemory, board.vga.video.bytes)
        return try writer.finish()
    }

    func savedSections() -> [StateSection] { deviceList.saved(at: clock.now) }

    /// The guest's clock. On the thread that runs the machine.
    public var guestNanoseconds: UInt64 { clock.now }

    /// No state of this machine is larger.
    public var largestStateBytes: UInt64 {
        let memories = board.memory.ram.sizeBytes + board.vga.video.sizeBytes
        return memories + UInt64(StateFormat.maximumFieldBytes + 4 * StateFormat.blockBytes)
    }

    /// Runs `work` on the thread that runs the machine, between two instructions. From any thread.
    public func betweenInstructions(_ work: @escaping @Sendable (Machine) -> Void) { post(work) }

    // MARK: Restoring

    /// Goes on where a state was saved: devices, processor, clock and memory are the state's afterwards, or this machine's as they were
    /// when an error is thrown.
    ///
    /// On the thread that runs the machine, or before anybody does; `requestRestore` is for others.
    /// - Returns: when it was saved, seconds since 1970.
    @discardableResult
    public func restore(from path: String) throws(MachineError) -> Int64 {
        do throws(MachineError) { return try restore(from: SavedStateFile(reading: path)) } catch {
            guard case .badState(let reason) = error else { throw error }
            throw .badFile(path: path, reason: "the saved state \(reason)")
        }
    }

    @discardableResult
    public func restore(from source: any StateSource) throws(MachineError) -> Int64 {
        let reader = try StateReader(source)
        let sections = try checkedSections(reader)
        let ram = try reader.memory(Self.ram, sizeBytes: board.memory.ram.sizeBytes)
        let display = try reader.memory(Self.displayMemory, sizeBytes: board.vga.video.sizeBytes)

        let wasPaused = clock.isPaused
        clock.pause()
        defer { if !wasPaused { clock.resume() } }
        if let descriptor = reader.mappableDescriptor {
            try applyOrGoBack(sections, at: reader.header.guestNanoseconds) { () throws(MachineError) in
                try board.memory.ram.map(descriptor, at: ram.entry.offset)
                try board.vga.video.map(descriptor, at: display.entry.offset)
            }
            isMemoryMapped = true
        } else {
            // All that can be wrong with memory comes out before anything changes.
            let ram = try PreparedMemory(reader, ram.entry, digests: ram.digests)
            let display = try PreparedMemory(reader, display.entry, digests: display.digests)
            try applyOrGoBack(sections, at: reader.header.guestNanoseconds) { () throws(MachineError) in }
            try ram.move(over: board.memory.ram)
            try display.move(over: board.vga.video)
            isMemoryMapped = false
        }
        return reader.header.savedAt
    }

    /// Tells the guest that it was turned back or copied: a new VM generation ID, and the real-time clock shows what time it is.
    /// - Parameter savedAt: what `restore` returned.
    public func goOnAsAnother(savedAt: Int64) {
        let now = Int64(time(nil))
        board.goOnAsAnother(after: now.subtractingReportingOverflow(savedAt).overflow ? 0 : now - savedAt)
    }

    /// Restores devices and processor, then memory; what was this machine's own a moment ago comes back when a part does not fit.
    private func applyOrGoBack(
        _ sections: [StateSection], at time: UInt64, memory: () throws(MachineError) -> Void
    ) throws(MachineError) {
        let before = savedSections(), now = clock.now
        do throws(MachineError) {
            clock.set(time)
            board.scheduler.clockMoved()
            try deviceList.apply(sections, at: time)
            try memory()
        } catch {
            clock.set(now)
            board.scheduler.clockMoved()
            try deviceList.apply(before, at: now)
            throw error
        }
    }

    /// Verified sections: exactly those that this machine has, from a machine like this.
    private func checkedSections(_ reader: StateReader) throws(MachineError) -> [StateSection] {
        let sections = try reader.sections()
        var missing = Set(deviceList.names)
        guard let description = sections.first(where: { $0.name == MachineDescription.section }) else {
            throw .badState("has no section \(MachineDescription.section)")
        }
        try machineDescription.check(description)
        let others = sections.filter { $0.name != MachineDescription.section }
        for section in others where missing.remove(section.name) == nil {
            throw .badState("has a section \(section.name), which this machine has no use for")
        }
        if let first = missing.sorted().first { throw .badState("has no section \(first)") }
        return others
    }

    // MARK: From any thread

    /// Saves between two instructions, and says on the CPU thread how it went.
    public func requestSave(to path: String, _ done: @escaping @Sendable (MachineError?) -> Void) {
        post { machine in
            do throws(MachineError) {
                try machine.save(to: path)
                done(nil)
            } catch { done(error) }
        }
    }

    /// Restores between two instructions, and says on the CPU thread how it went.
    public func requestRestore(from path: String, _ done: @escaping @Sendable (MachineError?) -> Void) {
        post { machine in
            do throws(MachineError) {
                try machine.restore(from: path)
                done(nil)
            } catch { done(error) }
        }
    }
}

/// What the loop itself has to remember.
extension Machine: BoardDevice {
    var stateID: String { "run" }

    func reset() { resetPending = false }

    func exchange(_ c: StateCoder) { c.field("resetPending", &resetPending) }
}
