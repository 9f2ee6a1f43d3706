import CZlib

/// gzip (RFC 1952): members one behind another, each a deflate stream with the CRC-32 and the length of its bytes.
///
///     0  2  1f 8b        2  1  method, 8 deflate     3  1  flags: 1 header CRC, 2 extra, 3 name, 4 comment
///     4  4  time         8  2  level and system      …  deflate stream      4  CRC-32      4  length modulo 2^32
///
/// The length of the disk is not in the file: the last field counts modulo 4 GiB and for the last member only. So
/// opening decodes the file once (300 to 400 MB/s of disk on one core) and keeps zlib's state, 40 KiB each, every
/// `spacing` bytes of disk. The spacing begins at 1 MiB and doubles whenever 512 places are exceeded, so the states take
/// at most 24 MiB and a random read decodes 1/256 of the disk at most. The same pass verifies every CRC.
final class GzipStream: CompressedStream, @unchecked Sendable {
    private static let maximumPlaces = 512
    private let storage: any Storage
    private var places: [GzipDecoder] = []
    private(set) var byteCount: UInt64 = 0
    private(set) var damage: ImageError?
    private var members = 0

    /// Measures the stream. With `toleratingDamage` the disk ends where the stream is damaged and `damage` says why.
    /// `report` is told how many bytes of the file have been decoded.
    init(
        _ storage: any Storage, toleratingDamage: Bool, report: (@Sendable (UInt64, UInt64) -> Void)? = nil
    ) throws(ImageError) {
        self.storage = storage
        let decoder = try GzipDecoder(storage)
        let piece = HeapBuffer(1 << 20, zeroed: false)
        var spacing = UInt64(piece.bytes.count)
        do throws(ImageError) {
            while true {
                if decoder.position % spacing == 0 {
                    if places.count == Self.maximumPlaces {
                        spacing *= 2
                        places = places.filter { $0.position % spacing == 0 }
                    }
                    if decoder.position % spacing == 0 { places.append(try decoder.copy()) }
                }
                if try decoder.decode(into: piece.bytes) < piece.bytes.count { break }
                try CompressedLimits.checkMeasured(decoder.position, format: "gz", path: storage.path)
                report?(decoder.fileOffset, storage.byteCount)
            }
        } catch {
            guard toleratingDamage, error.kind == .corrupt else { throw error }
            damage = error
        }
        byteCount = decoder.position
        members = decoder.members
    }

    var details: [InfoField] { [InfoField("members", .integer(Int64(members)))] }

    private func place(before offset: UInt64) -> Int? { places.lastIndex { $0.position <= offset } }
    func start(before offset: UInt64) -> UInt64 { place(before: offset).map { places[$0].position } ?? 0 }

    func decoder(before offset: UInt64) throws(ImageError) -> any StreamDecoder {
        guard let index = place(before: offset) else { return try GzipDecoder(storage) }
        return try places[index].copy()
    }
}

/// zlib's state at one place of a gzip file.
final class GzipDecoder: StreamDecoder {
    private let storage: any Storage
    private let stream: UnsafeMutablePointer<z_stream>
    private var input: StreamInput?
    /// Place in the file of the first byte that zlib has not consumed, where `input` is not open.
    private var resume: UInt64
    private(set) var position: UInt64
    private(set) var members = 1
    private var isAtEnd = false
    private var isBetweenMembers = false

    init(_ storage: any Storage) throws(ImageError) {
        self.storage = storage
        resume = 0
        position = 0
        // zlib's state points back to the stream, which must therefore not move.
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        // 16: a gzip header; 15: windows of up to 32 KiB.
        guard inflateInit2_(stream, 16 + 15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            throw ImageError(.io, "zlib could not be started", format: "gz", path: storage.path)
        }
    }

    private init(copying other: GzipDecoder) throws(ImageError) {
        storage = other.storage
        resume = other.fileOffset
        position = other.position
        members = other.members
        isAtEnd = other.isAtEnd
        isBetweenMembers = other.isBetweenMembers
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        guard inflateCopy(stream, other.stream) == Z_OK else {
            throw ImageError(.io, "zlib could not copy its state", format: "gz", path: storage.path)
        }
        stream.pointee.avail_in = 0
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    /// An independent decoder at the same place.
    func copy() throws(ImageError) -> GzipDecoder { try GzipDecoder(copying: self) }

    /// Place in the file of the next byte to be decoded.
    var fileOffset: UInt64 { input.map { $0.next - UInt64(stream.pointee.avail_in) } ?? resume }

    private func bad(_ message: String) -> ImageError {
        ImageError(
            .corrupt, "\(message), at byte \(fileOffset) of the gzip file (byte \(position) of the disk)", format: "gz",
            path: storage.path, offset: fileOffset)
    }

    /// More input; false at the end of the file.
    private func refill() throws(ImageError) -> Bool {
        let source = input ?? StreamInput(storage, at: resume)
        input = source
        let piece = try source.read()
        // SAFETY: zlib does not write to next_in, and `input` keeps the piece until the next call.
        stream.pointee.next_in = UnsafeMutablePointer(mutating: piece.bindMemory(to: UInt8.self).baseAddress)
        stream.pointee.avail_in = UInt32(piece.count)
        return piece.count > 0
    }

    func decode(into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) -> Int {
        var done = 0
        while done < buffer.count, !isAtEnd {
            if stream.pointee.avail_in == 0, try !refill() {
                guard isBetweenMembers else { throw bad("File truncated: the stream does not end") }
                isAtEnd = true
                break
            }
            if isBetweenMembers {
                try beginMember()
                continue
            }
            let room = min(buffer.count - done, 1 << 30)
            stream.pointee.next_out = buffer.part(done, room).bindMemory(to: UInt8.self).baseAddress
            stream.pointee.avail_out = UInt32(room)
            let code = inflate(stream, Z_NO_FLUSH)
            let produced = room - Int(stream.pointee.avail_out)
            done += produced
            position += UInt64(produced)
            switch code {
            case Z_OK, Z_BUF_ERROR: break
            case Z_STREAM_END: isBetweenMembers = true
            default:
                let reason = stream.pointee.msg.map { String(cString: $0) } ?? "error \(code)"
                throw bad("damaged gzip stream (\(reason))")
            }
        }
        return done
    }

    /// Behind a member comes another, zeros up to the end (tapes), or nothing.
    private func beginMember() throws(ImageError) {
        guard let next = stream.pointee.next_in else { return }
        if next.pointee == 0x1f {
            guard inflateReset(stream) == Z_OK else { throw bad("zlib could not be reset") }
            members += 1
            isBetweenMembers = false
            return
        }
        repeat {
            let rest = UnsafeRawBufferPointer(start: stream.pointee.next_in, count: Int(stream.pointee.avail_in))
            guard rest.isAllZero else { throw bad("bytes behind the end that are no gzip member") }
        } while try refill()
        isAtEnd = true
    }
}
