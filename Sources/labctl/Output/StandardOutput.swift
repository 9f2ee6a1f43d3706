// The C library's `stdout` is a variable that nobody changes.
@preconcurrency import Glibc

/// Standard output for data. A full disk or a closed pipe is an error of the program, never silence.
enum StandardOutput {
    /// Writes bytes behind everything that was printed.
    static func write(_ bytes: [UInt8]) {
        _ = bytes.withUnsafeBytes { fwrite($0.baseAddress, 1, $0.count, stdout) }
    }

    /// Shows what was written so far.
    static func flush() { fflush(stdout) }

    /// Hands over what is buffered.
    /// - Returns: why it could not be done; nil when all that was ever written has arrived.
    static func finish() -> String? {
        errno = 0
        let isFlushed = fflush(stdout) == 0
        let code = errno
        guard !isFlushed || ferror(stdout) != 0 else { return nil }
        // Whoever closed the pipe has read enough: no sentence, but no success either.
        return code == EPIPE ? "" : "cannot write standard output: \(String(cString: strerror(code == 0 ? EIO : code)))"
    }
}
