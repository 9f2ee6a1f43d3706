import Emulator
import Glibc
import Synchronization
import VMProtocol

/// A guest without a PC: it talks on the serial port and obeys a few typed lines. It stands in until the machine is
/// joined, so that everything around the machine can run.
final class ScriptedGuest: GuestMachine {
    private struct State {
        var end: MachineEnd?
        var isPaused = false
        var mustReset = false
        var input: [UInt8] = []
    }
    private let state = Mutex(State())
    private let output: ConsoleOutput
    private let disk: DiskAdapter?
    private let noReboot: Bool
    private let onReset: @Sendable () -> Void

    init(
        _ description: VMDescription, drives: [Drive], output: ConsoleOutput, onReset: @escaping @Sendable () -> Void
    ) throws(MachineError) {
        self.output = output
        self.onReset = onReset
        noReboot = description.noReboot
        disk = drives.first { $0.removable == nil }?.medium?.backend
    }

    private func say(_ text: String) { Array(text.utf8).withUnsafeBytes { output.append($0) } }

    func run() -> MachineEnd {
        var line: [UInt8] = []
        say("booting\r\n")
        usleep(200_000)
        say("login: ")
        while true {
            let (end, reset, input) = state.withLock { state in
                let result = (state.end, state.mustReset, state.isPaused ? [] : state.input)
                state.mustReset = false
                if !state.isPaused { state.input = [] }
                return result
            }
            if let end { return end }
            if reset {
                if noReboot { return .reset }
                onReset()
                say("\r\nbooting\r\nlogin: ")
            }
            for byte in input {
                if byte == 0x0A || byte == 0x0D {
                    obey(String(decoding: line, as: UTF8.self))
                    line = []
                } else {
                    line.append(byte)
                    say(String(decoding: [byte], as: UTF8.self))
                }
            }
            usleep(5000)
        }
    }

    private func obey(_ line: String) {
        say("\r\n")
        if line == "poweroff" { state.withLock { $0.end = .powerOff } }
        guard let disk, line == "read" || line.hasPrefix("write ") else { return say("# ") }
        let sector = UnsafeMutableRawBufferPointer.allocate(byteCount: 512, alignment: 16)
        defer { sector.deallocate() }
        sector.initializeMemory(as: UInt8.self, repeating: 0)
        if line == "read" {
            guard (try? disk.read(into: sector, at: 0)) != nil else { return say("error\r\n# ") }
            say("disk: " + String(decoding: sector.prefix { $0 != 0 }, as: UTF8.self) + "\r\n")
        } else {
            for (index, byte) in line.dropFirst(6).utf8.prefix(511).enumerated() { sector[index] = byte }
            if (try? disk.write(from: UnsafeRawBufferPointer(sector), at: 0)) == nil { say("error\r\n") }
        }
        say("# ")
    }

    func pressPowerButton() { state.withLock { $0.end = .powerOff } }
    func requestReset() { state.withLock { $0.mustReset = true } }
    func requestQuit() { state.withLock { $0.end = .quit } }
    func pause() { state.withLock { $0.isPaused = true } }
    func resume() { state.withLock { $0.isPaused = false } }
    func serialInput(_ bytes: [UInt8]) { state.withLock { $0.input += bytes } }
    func screenshot() -> ScreenImage? { nil }
    func pressKeys(_ names: [String], holdMilliseconds: Int) -> String? { nil }
    func changeMedium(_ drive: RemovableDrive, to medium: (any DiskBackend)?) {}
}
