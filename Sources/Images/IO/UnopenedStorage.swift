/// A file that an image names and that nobody has asked for: `info` and `check` look at the image alone.
final class UnopenedStorage: UnwritableStorage, @unchecked Sendable {
    let path: String
    init(path: String) { self.path = path }

    var byteCount: UInt64 { 0 }
    var allocatedBytes: UInt64? { nil }
    var refusal: ImageError {
        ImageError(.invalidArgument, "'\(path)' was not opened with the image that names it", path: path)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) { throw refusal }
    func dataRun(at offset: UInt64, limit: UInt64) -> (isData: Bool, length: UInt64) { (true, limit) }
    func close() {}
    func openSibling(_ path: String, create: Bool) throws(ImageError) -> any Storage { throw refusal }
}
