import Emulator
import Glibc
import Synchronization
import VMProtocol

/// The emulator's machine as the process knows a machine.
final class EmulatedPC: GuestMachine {
    let machine: Machine
    /// The CPU thread answers within microseconds; a machine that has ended does not.
    private static let answerLimitSeconds = 2
    /// A machine with gigabytes in use is saved to a slow disk.
    private static let restLimitSeconds = 600
    private static let discSlot = 2

    /// - Throws: `MachineError` for a description that the emulator cannot follow.
    init(
        _ description: VMDescription, drives: [Drive], output: ConsoleOutput, typed: TypedInput,
        onReset: @escaping @Sendable () -> Void
    ) throws(MachineError) {
        var config = PCConfig()
        config.memoryBytes = description.memoryBytes
        config.firmwarePath = description.bios
        config.bootOrder = description.boot
        config.bootOnce = description.bootOnce
        config.hasBootMenu = description.bootMenu ?? false
        config.debugExitPort = description.debugExitPort
        config.firmwareFiles = try (description.firmwareFiles ?? []).map(FirmwareContent.of)
        config.smbios = try (description.smbios ?? []).map(FirmwareContent.of)
        do {
            if let model = description.cpu { config.cpu = try CPUFeatures(model: model) }
        } catch {
            throw .badConfiguration("cpu \(description.cpu ?? ""): \(error.description)")
        }
        if let topology = description.topology {
            config.topology = CPUTopology(
                sockets: topology.sockets, coresPerSocket: topology.cores, threadsPerCore: topology.threads)
        }
        if let shift = description.instructionShift {
            config.instructionClock = .init(shift: shift, sleeps: !(description.skipsSleep ?? false))
        }
        config.clockSource = description.clock == .host ? .host : .guest
        config.clockSeconds = description.clockSeconds
        if description.clockIsLocal ?? false { config.clockSeconds = EmulatedPC.localSeconds() }
        config.drives = try EmulatedPC.slots(drives)
        config.serialPorts = [SerialOutput(output, typed)]
        if let kernel = description.kernel {
            config.linux = PCConfig.Linux(
                kernelPath: kernel, initrdPath: description.initrd, commandLine: description.append ?? "")
        }
        if description.floppy != nil {
            config.floppies = [drives.first { $0.name == Drive.floppyName }?.medium?.backend]
        }
        config.engine =
            switch description.accelerator {
            case .jit: .translator
            case .interp: .interpreter
            case .verify: .verify
            }
        var options = Machine.Options()
        options.exitOnReset = description.noReboot
        options.onReset = onReset
        let tracing = try MachineLog(description)
        options.trace = tracing.items
        options.log = { tracing.write($0) }
        if description.perfMap == true {
            let map = try Self.open("/tmp/perf-\(getpid()).map")
            options.perfMap = { map.writeAll(Array("\($0)\n".utf8)) }
        }
        machine = try Machine(config, options: options)
    }

    /// Begins as a saved machine: one that others may be, too. Before `run`.
    func goOn(from path: String) throws(MachineError) {
        machine.goOnAsAnother(savedAt: try machine.restore(from: path))
    }

    /// Seconds since 1970 as a clock on the wall shows them.
    private static func localSeconds() -> Int64 {
        var now = time(nil), local = tm()
        localtime_r(&now, &local)
        return Int64(now) + Int64(local.tm_gmtoff)
    }

    fileprivate static func open(_ path: String) throws(MachineError) -> Descriptor {
        do throws(HostError) {
            return try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
        } catch {
            throw .badFile(path: path, reason: error.description)
        }
    }

    /// hda, hdb, hdc, hdd.
    private static func slots(_ drives: [Drive]) throws(MachineError) -> [PCConfig.Drive?] {
        var slots: [PCConfig.Drive?] = [nil, nil, nil, nil]
        for drive in drives {
            if drive.removable == .cdrom {
                slots[discSlot] = .cdrom(drive.medium?.backend)
            } else if let index = Drive.diskNames.firstIndex(of: drive.name), let backend = drive.medium?.backend {
                slots[index] = .disk(backend)
            }
        }
        return slots
    }

    func run() -> MachineEnd {
        switch machine.run() {
        case .powerOff: .powerOff
        case .reset: .reset
        case .quit: .quit
        // QEMU's isa-debug-exit ends the process with twice the value plus one.
        case .debugExit(let status): .debugExit(Int32(truncatingIfNeeded: status << 1 | 1) & 0xFF)
        case .failed(let reason): .failed(reason)
        }
    }

    func pressPowerButton() { machine.pressPowerButton() }
    func requestReset() { machine.requestReset() }
    func requestQuit() { machine.requestQuit() }
    func pause() { machine.pause() }
    func resume() { machine.resume() }
    func serialInput(_ bytes: [UInt8]) { machine.serialInput(port: 0, bytes: bytes) }

    func pressKeys(_ names: [String], holdMilliseconds: Int) -> String? {
        if let unknown = names.first(where: { !Machine.knowsKey($0) }) { return unknown }
        machine.pressKeys(names, holdMilliseconds: holdMilliseconds)
        return nil
    }

    func changeMedium(_ drive: RemovableDrive, to medium: (any DiskBackend)?) {
        switch drive {
        case .cdrom: machine.changeDisc(slot: Self.discSlot, to: medium)
        }
    }

    func rest(nanoseconds: UInt64) {
        machine.betweenInstructions { _ in
            var time = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
            nanosleep(&time, nil)
        }
    }

    func atRest(_ work: @escaping @Sendable (Machine) -> String?) -> String? {
        let answer = Handover<String>()
        machine.betweenInstructions { answer.put(work($0) ?? "") }
        guard let text = answer.take(withinSeconds: Self.restLimitSeconds) else {
            return "the machine has ended, or its disks have not answered for \(Self.restLimitSeconds) s"
        }
        return text.isEmpty ? nil : text
    }

    func screenshot() -> ScreenImage? {
        let picture = Handover<ScreenImage>()
        machine.takeScreenshot { picture.put($0) }
        return picture.take(withinSeconds: Self.answerLimitSeconds)
    }

    var processors: [ProcessorPlace] { machine.processorPlaces }

    func injectNMI() { machine.injectNMI() }

    func registers(of processor: Int) -> String? {
        let text = Handover<String>()
        machine.queryRegisters(of: processor) { text.put($0) }
        return text.take(withinSeconds: Self.answerLimitSeconds)
    }

    func translatorCounters() -> TranslatorCounters? {
        let counters = Handover<TranslatorCounters?>()
        machine.queryTranslator { counters.put($0) }
        return counters.take(withinSeconds: Self.answerLimitSeconds) ?? nil
    }

    func screenText() -> ScreenText? {
        let contents = Handover<ScreenContents>()
        machine.takeScreenContents { contents.put($0) }
        return contents.take(withinSeconds: Self.answerLimitSeconds)?.text()
    }
}

/// Serial port 0 of the PC, joined to the console.
private final class SerialOutput: SerialBackend {
    private let output: ConsoleOutput
    private let typed: TypedInput
    init(_ output: ConsoleOutput, _ typed: TypedInput) {
        self.output = output
        self.typed = typed
    }

    func transmit(_ byte: UInt8) { withUnsafeBytes(of: byte) { output.append($0) } }
    func inputTaken(_ count: Int) { typed.taken(count) }
}

/// A value that one thread waits for and another brings.
private final class Handover<Value: Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)
    private let pipe = try? Descriptor.pipe()

    func put(_ new: Value) {
        value.withLock { $0 = new }
        _ = pipe?.writing.write([1])
    }

    /// - Returns: nil when nothing came in time.
    func take(withinSeconds seconds: Int) -> Value? {
        guard let pipe else { return nil }
        var entry = pollfd(fd: pipe.reading.raw, events: Int16(POLLIN), revents: 0)
        _ = poll(&entry, 1, Int32(seconds * 1000))
        return value.withLock { $0 }
    }
}

/// `-d` and `-D`: what the machine logs, to a file or the process's stderr.
private final class MachineLog: Sendable {
    let items: TraceItems
    private let file: Descriptor?
    /// Lines that a guest may cause on stderr, where `vm.log` would grow with them.
    private let linesLeft: Mutex<Int>
    private static let lineLimit = 1000

    init(_ description: VMDescription) throws(MachineError) {
        var items: TraceItems = []
        for name in description.debugItems {
            guard let row = TraceItems.names.first(where: { $0.name == name }) else {
                let known = TraceItems.names.map(\.name).joined(separator: ", ")
                throw .badConfiguration("-d \(name): there is \(known)")
            }
            items.insert(row.item)
        }
        self.items = items
        file = try description.debugFile.map { path throws(MachineError) in try EmulatedPC.open(path) }
        linesLeft = Mutex(items.isEmpty ? Self.lineLimit : Int.max)
    }

    func write(_ line: String) {
        if let file {
            file.writeAll(Array("\(line)\n".utf8))
            return
        }
        let left = linesLeft.withLock { left in
            left -= 1
            return left
        }
        if left >= 0 { ProcessLog.say(line) }
        if left == 0 { ProcessLog.say("no more lines of the machine's log are shown") }
    }
}
