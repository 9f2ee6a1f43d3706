import Emulator
import Glibc
import Images
import VMProtocol

/// What can be done to the machine while it runs; the one place behind QMP, the human monitor, signals and Ctrl-A.
/// Used on the I/O thread only.
final class MachineControl {
    /// QEMU's words for the state of a machine.
    enum Status: String {
        case running, paused
        /// The guest is held: the host cannot write what it wrote.
        case ioError = "io-error"
        /// The guest powered off and the process stays (`-no-shutdown`).
        case shutdown
    }

    let name: String
    let machine: any GuestMachine
    private(set) var status: Status = .running
    private(set) var drives: [Drive]
    /// Whether somebody asked the process to end.
    private(set) var isQuitting = false
    /// Files that clients handed over.
    let files = HandedFiles()
    /// The descriptor that came with the command that is being run.
    var offered: Descriptor?
    var sandbox = SandboxState()
    /// Keys that one chord may have.
    private static let mostKeys = 16
    /// Tells QMP clients and the event log.
    var announce: (_ event: String, _ data: [String: JSONValue]) -> Void = { _, _ in }
    /// Asks for what failed to be tried again.
    var onRetry: () -> Void = {}
    /// Called once when the process shall end.
    var onQuit: () -> Void = {}
    /// What `snapshot-save` and its like have done.
    let jobs = JobList()
    /// The snapshot that labctl is making.
    private var checkpoint: Checkpoint?

    init(name: String, machine: any GuestMachine, drives: [Drive]) {
        self.name = name
        self.machine = machine
        self.drives = drives
    }

    func pause() {
        guard status == .running else { return }
        machine.pause()
        status = .paused
        announce("STOP", [:])
    }

    func resume() throws(QMPError) {
        guard status != .shutdown else { throw .generic("Resetting the Virtual Machine is required") }
        guard checkpoint == nil else { throw .generic("a snapshot is being made; it goes on by itself then") }
        if status == .ioError { return onRetry() }
        guard status == .paused else { return }
        machine.resume()
        status = .running
        announce("RESUME", [:])
    }

    /// The guest is held, or goes on.
    func held(_ trouble: GuestHold.Trouble?) {
        guard let trouble else {
            guard status == .ioError else { return }
            status = .running
            return announce("RESUME", [:])
        }
        guard status == .running else { return }
        status = .ioError
        if let drive = trouble.drive {
            announce(
                "BLOCK_IO_ERROR",
                [
                    "device": .string(drive), "node-name": .string(drive), "operation": "write", "action": "stop",
                    "nospace": .bool(trouble.isFull), "reason": .string(trouble.sentence),
                ])
        }
        announce("STOP", [:])
    }

    func reset() {
        machine.requestReset()
        if status == .shutdown { status = .paused }
    }

    func powerDown() {
        machine.pressPowerButton()
        announce("POWERDOWN", [:])
    }

    func quit() {
        guard !isQuitting else { return }
        isQuitting = true
        announce("SHUTDOWN", ["guest": false, "reason": "host-qmp-quit"])
        onQuit()
    }

    /// The guest powered off and the process is to stay.
    func guestShutDown() { status = .shutdown }

    /// Presses keys together; names as QEMU has them.
    func press(_ names: [String], holdMilliseconds: Int64) throws(QMPError) {
        guard !names.isEmpty else { throw .generic("no keys are given") }
        guard names.count <= Self.mostKeys else {
            throw .generic("at most \(Self.mostKeys) keys can be pressed together")
        }
        let hold = Int(min(max(holdMilliseconds, 1), 10_000))
        if let unknown = machine.pressKeys(names, holdMilliseconds: hold) {
            throw .generic("unknown key: '\(unknown)'")
        }
    }

    /// Which processor `info registers` shows, and the others that speak of one.
    var selectedProcessor = 0

    /// - Throws: for a number that no processor has.
    func selectProcessor(_ number: Int64) throws(QMPError) {
        guard machine.processors.indices.contains(Int(clamping: number)) else {
            throw .generic("there is no CPU \(number): they are numbered 0 to \(machine.processors.count - 1)")
        }
        selectedProcessor = Int(number)
    }

    /// Registers of some processors, or of the one that is selected.
    func registers(of processors: [Int]?) throws(QMPError) -> String {
        var text = ""
        for index in processors ?? [selectedProcessor] {
            guard let registers = machine.registers(of: index) else { throw .generic("the machine does not answer") }
            text += "\nCPU#\(index)\n" + registers
        }
        return text
    }

    /// What the translator did, by name.
    var translatorRows: [(name: String, value: UInt64)] { machine.translatorCounters()?.rows ?? [] }

    /// Writes the screen to a file, whole or not at all.
    func screendump(to path: String, format: String) throws(QMPError) {
        guard let image = machine.screenshot() else { throw .generic("there is no console to take a screendump from") }
        let bytes: [UInt8]
        switch format {
        case "ppm": bytes = image.ppm
        case "png": bytes = image.png
        default: throw .generic("Invalid parameter '\(format)': screendump writes ppm and png")
        }
        if let file = try files.descriptor(named: path) {
            guard ftruncate(file.raw, 0) == 0, lseek(file.raw, 0, SEEK_SET) == 0, file.writeAll(bytes) else {
                throw .generic(HostError("write", path).description)
            }
            return
        }
        do throws(HostError) {
            try StateFile.replace(path, with: bytes)
        } catch {
            throw .generic(HandedFiles.advice(error.description, path, isSandboxed: !sandbox.isOff))
        }
    }

    /// The answer to `x-query-screen-text`.
    func screenText() throws(QMPError) -> JSONValue {
        guard let text = machine.screenText() else { throw .generic("there is no console to read") }
        return ["graphics": .bool(text.isGraphics), "rows": .array(text.rows.map { .string($0) })]
    }

    /// Puts a disc into a drive.
    func insert(path: String, format: String?, into name: String) throws(QMPError) {
        let (index, removable) = try removableDrive(name)
        let isHanded = try files.descriptor(named: path) != nil
        do throws(ImageError) {
            drives[index].medium = try Medium.open(path: path, format: format, readOnly: true)
        } catch {
            throw .generic(HandedFiles.advice(error.description, path, isSandboxed: !isHanded && !sandbox.isOff))
        }
        machine.changeMedium(removable, to: drives[index].medium?.backend)
        announceTray(index, isOpen: false)
    }

    /// Takes the disc out.
    func eject(_ name: String) throws(QMPError) {
        let (index, removable) = try removableDrive(name)
        drives[index].medium = nil
        machine.changeMedium(removable, to: nil)
        announceTray(index, isOpen: true)
    }

    // MARK: Snapshots

    /// Keeps the whole VM under a name.
    func saveSnapshot(_ name: String) throws(QMPError) {
        let snapshots = try VMSnapshots(drives)
        try require(machine.atRest { snapshots.save($0, as: name) })
    }

    /// Makes the VM the one that was kept; it runs on if it ran, and stands if it stood.
    func loadSnapshot(_ name: String) throws(QMPError) {
        guard status != .shutdown else { throw .generic("Resetting the Virtual Machine is required") }
        let snapshots = try VMSnapshots(drives)
        try require(machine.atRest { snapshots.load($0, name) })
    }

    func deleteSnapshot(_ name: String) throws(QMPError) {
        let snapshots = try VMSnapshots(drives)
        try require(machine.atRest { _ in snapshots.delete(name) })
    }

    /// What `snapshot-save`, `snapshot-load` and `snapshot-delete` do.
    enum SnapshotJob: String {
        case save = "snapshot-save", load = "snapshot-load", delete = "snapshot-delete"
    }

    /// Does the work of a snapshot job on the disks that it names.
    func run(_ kind: SnapshotJob, _ tag: String, carrier: String?, devices: [String], as id: String) throws(QMPError) {
        try jobs.run(id, type: kind.rawValue, announce: announce) { () throws(QMPError) in
            if kind == .load, status == .shutdown { throw .generic("Resetting the Virtual Machine is required") }
            let snapshots: VMSnapshots
            if let carrier {
                snapshots = try VMSnapshots(drives, carrier: carrier, devices: devices)
            } else {
                snapshots = try VMSnapshots(drives)
            }
            try require(
                machine.atRest { machine in
                    switch kind {
                    case .save: snapshots.save(machine, as: tag)
                    case .load: snapshots.load(machine, tag)
                    case .delete: snapshots.delete(tag)
                    }
                })
        }
    }

    var snapshots: [SnapshotInfo] {
        get throws(QMPError) { try VMSnapshots(drives).list }
    }

    // MARK: Snapshots of labctl

    /// Stops the guest until `endCheckpoint`. When this returns it stands still.
    func beginCheckpoint() throws(QMPError) {
        guard checkpoint == nil else { throw .generic("a snapshot is being made already") }
        guard status == .running || status == .paused else {
            throw .generic("a guest that is held (\(status.rawValue)) cannot be kept")
        }
        let isRunning = status == .running
        pause()
        checkpoint = Checkpoint(goesOn: isRunning)
        do throws(QMPError) {
            try require(machine.atRest { _ in nil })
        } catch {
            try endCheckpoint(keeping: [])
            throw error
        }
    }

    /// Writes the machine into a file and puts fresh overlays on its disks; all of it or nothing.
    func saveCheckpoint(state: String, disks: [Checkpoint.Files]) throws(QMPError) {
        guard let checkpoint else { throw .generic("x-snapshot-begin has to come first") }
        guard let file = try files.descriptor(named: state) else { throw .generic("'\(state)' was not handed over") }
        let raw = file.raw
        try require(
            machine.atRest { machine in
                do throws(MachineError) { try machine.save(into: raw) } catch { return error.description }
                return nil
            })
        try checkpoint.freeze(disks, of: drives)
    }

    /// Lets the guest go on. Does nothing where no snapshot is under way.
    /// - Parameter slots: disks whose fresh overlays stay; all others write to the images from before again.
    func endCheckpoint(keeping slots: [VMDescription.Disk.Slot]) throws(QMPError) {
        guard let checkpoint else { return }
        checkpoint.finish(keeping: Set(slots))
        self.checkpoint = nil
        if checkpoint.goesOn { try resume() }
    }

    private func require(_ failure: String?) throws(QMPError) {
        if let failure { throw .generic(failure) }
    }

    private func announceTray(_ index: Int, isOpen: Bool) {
        announce(
            "DEVICE_TRAY_MOVED",
            ["device": .string(drives[index].name), "id": .string(drives[index].name), "tray-open": .bool(isOpen)])
    }

    private func removableDrive(_ name: String) throws(QMPError) -> (Int, RemovableDrive) {
        guard let index = drives.firstIndex(where: { $0.name == name }) else {
            throw QMPError(kind: .deviceNotFound, text: "Device '\(name)' not found")
        }
        guard let removable = drives[index].removable else { throw .generic("Device '\(name)' is not removable") }
        return (index, removable)
    }
}
