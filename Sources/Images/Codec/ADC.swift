/// Apple Data Compression, the LZ77 of old disk images. Each piece begins with a control byte:
///
///     1nnnnnnn                     n + 1 bytes as they are
///     00nnnndd dddddddd            n + 3 bytes from d + 1 bytes back
///     01nnnnnn dddddddd dddddddd   n + 4 bytes from d + 1 bytes back
enum ADC {
    /// Decompresses exactly `output.count` bytes; false when the stream is damaged or too short.
    static func decompress(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        var at = 0
        var done = 0
        while done < output.count {
            guard at < input.count else { return false }
            let control = Int(input[at])
            if control & 0x80 != 0 {
                let count = control & 0x7f + 1
                guard at + 1 + count <= input.count, done + count <= output.count else { return false }
                output.part(done, count).copyMemory(from: input.part(at + 1, count))
                at += 1 + count
                done += count
                continue
            }
            let isLong = control & 0x40 != 0
            guard at + (isLong ? 3 : 2) <= input.count else { return false }
            let count = isLong ? control & 0x3f + 4 : control >> 2 & 0xf + 3
            let distance =
                1 + (isLong ? Int(input[at + 1]) << 8 | Int(input[at + 2]) : (control & 3) << 8 | Int(input[at + 1]))
            guard distance <= done, done + count <= output.count else { return false }
            // The source may run into what is being written.
            for step in 0..<count { output[done + step] = output[done + step - distance] }
            at += isLong ? 3 : 2
            done += count
        }
        return true
    }
}
