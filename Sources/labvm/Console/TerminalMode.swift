import Glibc

/// The terminal of `labctl run -nographic`: raw while the guest has it, as it was before on every way out.
final class TerminalMode {
    private var original = termios()
    private let descriptor: Int32

    /// Switches to raw input: keys arrive one by one and Ctrl-C belongs to the guest.
    /// - Returns: nil when the descriptor is no terminal.
    init?(raw descriptor: Int32) {
        self.descriptor = descriptor
        guard isatty(descriptor) == 1, tcgetattr(descriptor, &original) == 0 else { return nil }
        var raw = original
        cfmakeraw(&raw)
        // Output processing stays: our own messages end in a plain newline.
        raw.c_oflag |= tcflag_t(OPOST)
        guard tcsetattr(descriptor, TCSANOW, &raw) == 0 else { return nil }
    }

    /// Puts the terminal back.
    func restore() { tcsetattr(descriptor, TCSANOW, &original) }

    deinit { restore() }
}
