/// A file that is never written: every change throws the one error `refusal`.
protocol UnwritableStorage: Storage {
    var refusal: ImageError { get }
}

extension UnwritableStorage {
    var isReadOnly: Bool { true }
    func write(from buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) { throw refusal }
    func resize(to byteCount: UInt64) throws(ImageError) { throw refusal }
    func zero(at offset: UInt64, count: UInt64, unmap: Bool) throws(ImageError) { throw refusal }
    func punch(at offset: UInt64, count: UInt64) {}
    func allocate(at offset: UInt64, count: UInt64) throws(ImageError) { throw refusal }
    func sync() throws(ImageError) {}
}
