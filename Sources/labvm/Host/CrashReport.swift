import CLinux
import Glibc

/// Says of a fault of our own that it is one: signal, thread and backtrace go to stderr, which is `vm.log`, and a record to
/// `exit.json`, so that nobody takes it for a host that went down.
///
/// All of it runs inside a signal handler: no allocation, no lock, only memory that was there before and `write`. Frames are
/// found by frame pointers, which Swift keeps; names come from the program's own symbol table, still mangled
/// (`swift demangle` reads them).
enum CrashReport {
    private static let signals: [(number: Int32, name: StaticString)] = [
        (SIGILL, "SIGILL"), (SIGTRAP, "SIGTRAP"), (SIGSEGV, "SIGSEGV"), (SIGBUS, "SIGBUS"), (SIGFPE, "SIGFPE"),
        (SIGABRT, "SIGABRT"),
    ]
    private static let mostFrames = 40
    private static let stackBytes = 64 << 10
    private static let bufferBytes = 16 << 10

    /// Everything that the handler needs, made by `install`.
    private struct Room {
        var buffer: UnsafeMutableRawBufferPointer
        var symbols: SymbolTable?
        /// Where a frame's address is tried before it is read: `write` fails for memory that is not there.
        var probe: (reading: Int32, writing: Int32)
        /// Descriptor of `exit.json`, -1 for none.
        var exitRecord: Int32 = -1
    }

    // SAFETY: written by `install` and `record(on:)` while there is one thread, read by handlers after that.
    nonisolated(unsafe) private static var room: UnsafeMutablePointer<Room>?

    /// Catches faults from now on. Called once, on the main thread, before there are others.
    static func install() {
        var ends: [Int32] = [-1, -1]
        pipe(&ends)
        for end in ends { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
        let made = UnsafeMutablePointer<Room>.allocate(capacity: 1)
        made.initialize(
            to: Room(
                buffer: .allocate(byteCount: bufferBytes, alignment: 16), symbols: SymbolTable(),
                probe: (ends[0], ends[1])))
        room = made
        useOwnStack()
        for (number, _) in signals {
            var action = sigaction()
            action.__sigaction_handler.sa_sigaction = { number, _, context in CrashReport.handle(number, context) }
            // Once: what returns from the handler faults again and ends the process with its own signal.
            action.sa_flags = SA_SIGINFO | SA_ONSTACK | Int32(bitPattern: UInt32(SA_RESETHAND))
            sigaction(number, &action, nil)
        }
    }

    /// Gives the calling thread a stack for handlers, so that one that has used up its own can be told of.
    static func useOwnStack() {
        var stack = stack_t()
        stack.ss_sp = .allocate(byteCount: stackBytes, alignment: 16)
        stack.ss_size = stackBytes
        sigaltstack(&stack, nil)
    }

    /// Where the record of a crash goes.
    static func record(on descriptor: Int32) { room?.pointee.exitRecord = descriptor }

    // MARK: Inside the handler

    private static func handle(_ number: Int32, _ context: UnsafeMutableRawPointer?) {
        guard let room, let context else { return }
        // SAFETY: the kernel hands a ucontext_t to SA_SIGINFO handlers.
        let registers = context.assumingMemoryBound(to: ucontext_t.self).pointee.uc_mcontext.gregs
        // <sys/ucontext.h>: REG_RBP is 10, REG_RIP 16.
        let frame = UInt(bitPattern: Int(registers.10)), place = UInt(bitPattern: Int(registers.16))
        var text = SignalSafeText(room.pointee.buffer)
        let name = signals.first { $0.number == number }?.name ?? "a signal"
        text.append("labvm: crashed: ")
        text.append(name)
        text.append(" in thread ")
        text.appendThreadName()
        text.append("; this is a fault of labctl. Backtrace:\n")
        appendFrames(&text, place, frame, room.pointee)
        text.write(to: STDERR_FILENO)
        guard room.pointee.exitRecord >= 0 else { return }
        var record = SignalSafeText(room.pointee.buffer)
        record.append("{\"endedAt\":")
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        record.append(decimal: UInt(max(0, now.tv_sec)))
        record.append(".")
        var divisor = 100_000_000
        while divisor >= 1000 {
            record.append(decimal: UInt(now.tv_nsec / divisor % 10))
            divisor /= 10
        }
        record.append(",\"message\":\"labvm crashed (")
        record.append(name)
        record.append("); its backtrace is in vm.log\",\"reason\":\"crashed\"}\n")
        record.write(to: room.pointee.exitRecord)
    }

    private static func appendFrames(_ text: inout SignalSafeText, _ place: UInt, _ frame: UInt, _ room: Room) {
        var place = place, frame = frame
        for index in 0..<mostFrames {
            text.append("  #")
            text.append(decimal: UInt(index))
            text.append(" 0x")
            text.append(hexadecimal: place)
            if let (name, offset) = room.symbols?.nearest(to: place) {
                text.append(" ")
                text.append(name)
                text.append(" + ")
                text.append(decimal: offset)
            }
            text.append("\n")
            // Frame: the caller's frame pointer, then the return address.
            guard frame != 0, frame & 7 == 0, let (next, back) = readFrame(frame, room.probe), next > frame, back != 0
            else { return }
            (frame, place) = (next, back &- 1)
        }
    }

    private static func readFrame(_ address: UInt, _ probe: (reading: Int32, writing: Int32)) -> (UInt, UInt)? {
        var words: (UInt, UInt) = (0, 0)
        // A system call is asked to read the memory: where there is none it fails instead of faulting again.
        guard let pointer = UnsafeRawPointer(bitPattern: address), write(probe.writing, pointer, 16) == 16 else {
            return nil
        }
        return read(probe.reading, &words, 16) == 16 ? words : nil
    }
}

/// Text in memory that is there already, for signal handlers.
struct SignalSafeText {
    private let buffer: UnsafeMutableRawBufferPointer
    private var count = 0

    init(_ buffer: UnsafeMutableRawBufferPointer) { self.buffer = buffer }

    mutating func append(_ text: StaticString) {
        append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        let room = min(bytes.count, buffer.count - count)
        guard room > 0, let from = bytes.baseAddress, let to = buffer.baseAddress else { return }
        // SAFETY: `room` bytes are left in the buffer and there in the source.
        memcpy(to + count, from, room)
        count += room
    }

    mutating func append(decimal value: UInt) {
        var divisor: UInt = 1
        while value / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            append(digit: value / divisor % 10)
            divisor /= 10
        }
    }

    mutating func append(hexadecimal value: UInt) {
        var shift = UInt(60)
        while shift > 0, value >> shift == 0 { shift -= 4 }
        while true {
            append(digit: value >> shift & 15)
            if shift == 0 { return }
            shift -= 4
        }
    }

    private mutating func append(digit: UInt) {
        guard count < buffer.count else { return }
        buffer[count] = UInt8(truncatingIfNeeded: digit < 10 ? 48 + digit : 87 + digit)
        count += 1
    }

    mutating func appendThreadName() {
        var name: (UInt64, UInt64) = (0, 0)
        withUnsafeMutableBytes(of: &name) { bytes in
            _ = linux_thread_name(bytes.baseAddress?.assumingMemoryBound(to: CChar.self))
            var length = 0
            while length < 15, bytes[length] != 0 { length += 1 }
            append(UnsafeRawBufferPointer(rebasing: bytes[..<length]))
        }
    }

    func write(to descriptor: Int32) { _ = Glibc.write(descriptor, buffer.baseAddress, count) }
}
