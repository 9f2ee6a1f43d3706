import COpenSSL
import Glibc

extension DiskImage {
    /// Makes an empty image of `size` bytes. `path` is emptied if it exists; a file in use is refused.
    public static func create(
        _ path: String, format: String, size: UInt64, options: [String: String] = [:]
    ) throws(ImageError) {
        try create(CreateRequest(path: path, size: size, options: options), format: format)
    }

    /// Makes an image as `request` says. On failure a file that was not there before is removed again.
    public static func create(
        _ request: CreateRequest, format: String, unsafeCache: Bool = false
    ) throws(ImageError) {
        let driver = try FormatRegistry.require(format)
        var request = request
        var attributes = try FileAttributes(taking: &request.options)
        attributes.warn = request.warn
        try checkOptions(request.options, driver)
        request.path = try localPath(request.path)
        let existed = access(request.path, F_OK) == 0
        let place = try FilePath.followingLinks(request.path)
        let storage = try FileStorage.create(request.path, unsafeCache: unsafeCache, attributes: attributes)
        defer { storage.close() }
        do throws(ImageError) {
            try driver.create(in: storage, request: request)
        } catch {
            if !existed { unlink(place) }
            throw error
        }
    }

    /// Makes an empty overlay as large as its backing file. `backing` is recorded as given: relative to the overlay's
    /// folder. The backing file is opened to learn its size, never changed.
    public static func createOverlay(
        _ path: String, backing: String, backingFormat: String, format: String = "qcow2", size: UInt64? = nil
    ) throws(ImageError) {
        var request = CreateRequest(
            path: path, size: 0, backing: BackingReference(file: backing, format: backingFormat))
        if let size {
            request.size = size
        } else {
            let below = try open(
                FilePath.resolve(backing, from: path), options: OpenOptions(format: backingFormat, openBacking: false))
            request.size = below.size
            try below.close()
        }
        try create(request, format: format)
    }

    /// Refuses options that the format does not have.
    static func checkOptions(_ options: [String: String], _ driver: any ImageFormat) throws(ImageError) {
        for name in options.keys.sorted() where !driver.options.contains(where: { $0.name == name }) {
            throw ImageError(.invalidArgument, "Invalid parameter '\(name)'", format: driver.name)
        }
    }

    /// The SHA-256 of a file's bytes (not of the disk inside), in lower-case hexadecimal. Holes are hashed as zeros
    /// without being read.
    public static func sha256(ofFile path: String) throws(ImageError) -> String {
        let storage = try FileStorage.open(path, readOnly: true, lock: .none)
        defer { storage.close() }
        let end = storage.byteCount
        return try digest(EVP_sha256(), size: end) { (buffer, offset) throws(ImageError) in
            try storage.read(into: buffer, at: offset)
        }
    }

    /// The SHA-256 of the disk's content as the guest sees it.
    public static func sha256(of device: any BlockDevice) throws(ImageError) -> String {
        try digest(EVP_sha256(), size: device.size) { (buffer, offset) throws(ImageError) in
            try device.read(into: buffer, at: offset)
        }
    }

    /// The digest of what `read` gives, in lower-case hexadecimal; `type` is one of libcrypto's digests.
    static func digest(
        _ type: OpaquePointer, size: UInt64, read: (UnsafeMutableRawBufferPointer, UInt64) throws(ImageError) -> Void
    ) throws(ImageError) -> String {
        guard let context = EVP_MD_CTX_new() else { throw ImageError(.io, "libcrypto gave no digest context") }
        defer { EVP_MD_CTX_free(context) }
        EVP_DigestInit_ex(context, type, nil)
        let buffer = HeapBuffer(1 << 20, zeroed: false)
        var position: UInt64 = 0
        while position < size {
            let count = Int(min(UInt64(buffer.bytes.count), size - position))
            try read(buffer.bytes.part(0, count), position)
            EVP_DigestUpdate(context, buffer.base, count)
            position += UInt64(count)
        }
        var digest = [UInt8](repeating: 0, count: Int(EVP_MD_get_size(type)))
        EVP_DigestFinal_ex(context, &digest, nil)
        let hex = Array("0123456789abcdef")
        return String(digest.flatMap { [hex[Int($0 >> 4)], hex[Int($0 & 15)]] })
    }
}
