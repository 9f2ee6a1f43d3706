/// One region of translated code, as logs and profilers are told of it.
struct TranslatedCode {
    /// Linear address of its first instruction.
    var linear: UInt64
    var isUser: Bool
    var instructions: Int
    /// Where the host runs it, and its bytes.
    var host: UInt64
    var bytes: UnsafeBufferPointer<UInt8>

    /// `-d out_asm`: the host's instructions.
    var listing: [String] {
        let disassembler = Disassembler(mode: Decoder.Mode(key: ModeKey.code64 | ModeKey.stack32 | ModeKey.flat))
        var lines = ["OUT: \(instructions) instructions at 0x\(hex(linear, 8)), \(bytes.count) bytes"]
        var offset = 0
        while offset < bytes.count {
            let rest = UnsafeBufferPointer(rebasing: bytes[offset...])
            let line = disassembler.line(rest, at: host &+ UInt64(offset))
            lines.append("0x\(hex(host &+ UInt64(offset), 8)):  \(line.text)")
            offset += line.length
        }
        return lines
    }

    /// A line of `perf`'s map of generated code: start, length and name, the first two as hexadecimal digits.
    var perfMapLine: String {
        "\(hex(host, 1)) \(hex(UInt64(bytes.count), 1)) guest_\(isUser ? "user" : "kernel")_\(hex(linear, 1))"
    }
}
