import Glibc
import VMProtocol

/// Serial port 0 on the process's own terminal. Ctrl-A begins a command, as in QEMU's `-nographic`,
/// whether a person types it or a script writes it into a pipe.
///
/// | keys | does |
/// | --- | --- |
/// | Ctrl-A x | quits |
/// | Ctrl-A s | asks the guest to power off |
/// | Ctrl-A r | resets |
/// | Ctrl-A Ctrl-A | sends Ctrl-A |
/// | Ctrl-A h, Ctrl-A ? | lists these |
final class StdioConsole {
    private static let escape: UInt8 = 1
    private static let help = """

        Ctrl-A x       quit
        Ctrl-A s       ask the guest to power off
        Ctrl-A r       reset
        Ctrl-A Ctrl-A  send Ctrl-A
        Ctrl-A h       this help

        """

    /// What a key pressed after Ctrl-A asks for.
    enum Command { case quit, powerDown, reset }

    private let loop: IOLoop
    private let hasRoom: () -> Bool
    private let input: ([UInt8]) -> Void
    private let command: (Command) -> Void
    private var terminal: TerminalMode?
    private var isEscaped = false
    private var isHeldBack = false

    /// - Parameter hasRoom: whether the guest takes more of what is typed; after a no, `takeInputAgain` is called.
    init(
        loop: IOLoop, hasRoom: @escaping () -> Bool, input: @escaping ([UInt8]) -> Void,
        command: @escaping (Command) -> Void
    ) {
        self.loop = loop
        self.hasRoom = hasRoom
        self.input = input
        self.command = command
        terminal = TerminalMode(raw: STDIN_FILENO)
        listen()
    }

    /// Leaves the terminal as it was found.
    func close() {
        isHeldBack = false
        loop.remove(.standardInput)
        terminal?.restore()
        terminal = nil
    }

    /// Writes what the guest said. A terminal that is stopped (Ctrl-S) or a full pipe makes the process wait here; the
    /// guest itself goes on until its buffers are full.
    func show(_ batch: ConsoleOutput.Batch) {
        Descriptor.standardOutput.writeAll(batch.bytes)
    }

    /// The guest has room again.
    func takeInputAgain() {
        guard isHeldBack else { return }
        isHeldBack = false
        listen()
    }

    private func listen() { loop.add(.standardInput) { [weak self] _, _ in self?.read() } }

    private func read() {
        guard hasRoom() else {
            isHeldBack = true
            return loop.remove(.standardInput)
        }
        switch Descriptor.standardInput.read(limit: 4096) {
        case .bytes(let bytes): take(bytes)
        case .wouldBlock: break
        case .endOfFile, .failed: loop.remove(.standardInput)
        }
    }

    private func take(_ bytes: [UInt8]) {
        var typed: [UInt8] = []
        for byte in bytes {
            if !isEscaped {
                if byte == Self.escape { isEscaped = true } else { typed.append(byte) }
                continue
            }
            isEscaped = false
            switch byte {
            case UInt8(ascii: "x"): command(.quit)
            case UInt8(ascii: "s"): command(.powerDown)
            case UInt8(ascii: "r"): command(.reset)
            case Self.escape: typed.append(Self.escape)
            case UInt8(ascii: "h"), UInt8(ascii: "?"): Descriptor.standardOutput.writeAll(Self.help.utf8)
            default: break
            }
        }
        if !typed.isEmpty { input(typed) }
    }
}
