/// A file that holds a disk as one compressed stream: its length, and places from which it can be decoded.
protocol CompressedStream: AnyObject, Sendable {
    /// Bytes of the disk.
    var byteCount: UInt64 { get }
    /// Where `decoder(before:)` would begin for the disk's byte `offset`.
    func start(before offset: UInt64) -> UInt64
    /// A decoder that stands at `start(before: offset)`.
    func decoder(before offset: UInt64) throws(ImageError) -> any StreamDecoder
    /// What is wrong behind the last good byte, found while the stream was measured; nil for a sound one.
    var damage: ImageError? { get }
    /// Fields of `info`.
    var details: [InfoField] { get }
}

/// Gives the bytes of a stream in order. Not thread-safe.
protocol StreamDecoder: AnyObject {
    /// Place in the disk of the next byte.
    var position: UInt64 { get }
    /// Decodes into `buffer` until it is full or the stream ends; returns how many bytes.
    func decode(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int
}

/// Limits of compressed raw files, whatever their headers say.
enum CompressedLimits {
    /// Largest disk, 16 TiB: decoding a longer stream would take days, and only a bomb asks for it.
    static let diskBytes: UInt64 = 1 << 44
    /// Largest disk of a stream that has to be decoded to know its size, 256 GiB: minutes of work for opening it.
    static let measuredBytes: UInt64 = 1 << 38
    /// Most memory that one decoder may ask for. `xz -9` needs 65 MiB, `zstd --ultra -22` 128 MiB.
    static let decoderBytes: UInt64 = 160 << 20
    /// Memory of places to decode from.
    static let indexBytes: UInt64 = 32 << 20
    /// Compressed bytes read at once.
    static let inputBytes = 256 << 10
}

extension CompressedLimits {
    /// Refuses to decode on only to learn how long a disk is.
    static func checkMeasured(_ position: UInt64, format: String, path: String) throws(ImageError) {
        guard position > measuredBytes else { return }
        throw ImageError(
            .unsupported,
            "the \(format) stream does not record its length and gives more than \(measuredBytes) bytes; unpack it, or "
                + "compress it so that the length is recorded (xz, or zstd of a file)", format: format, path: path)
    }
}

/// The compressed side of a decoder: reads the file in pieces.
final class StreamInput {
    let storage: any Storage
    private let buffer = HeapBuffer(CompressedLimits.inputBytes, zeroed: false)
    /// Place in the file behind the bytes at hand.
    private(set) var next: UInt64
    private let end: UInt64

    init(_ storage: any Storage, at offset: UInt64, end: UInt64? = nil) {
        self.storage = storage
        next = offset
        self.end = end ?? storage.byteCount
    }

    /// The next piece, empty at the end of the file. Valid until the next call.
    func read() throws(ImageError) -> UnsafeRawBufferPointer {
        let count = Int(min(UInt64(CompressedLimits.inputBytes), end - min(next, end)))
        try storage.read(into: buffer.bytes.part(0, count), at: next)
        next += UInt64(count)
        return buffer.readable.part(0, count)
    }
}
