import Glibc
import Images
import LabSpec
import VMProtocol

/// Brings a file from its address into the cache: resumed where it was cut off, verified, unpacked.
struct Download {
    let store: ImageStore
    /// The image's name, for messages.
    let label: String
    let address: ImageAddress
    let sha256: String
    let format: DiskFormat

    /// How often a transfer that breaks off is taken up again.
    private static let attempts = 5

    private var folder: String { store.state.downloadsFolder }
    /// What has come so far. The name is the digest's: whatever address it comes from, it is the same file.
    private var partPath: String { "\(folder)/\(sha256).part" }

    /// Writes the image to a new file.
    func write(to target: String) throws(OrchestratorError) {
        if let local = address.localPath {
            let found = try verifiedDigest(of: local, remembered: true)
            guard found == sha256 else { throw mismatch(found, what: local) }
            try unpack(local, to: target, mayMove: false)
        } else {
            if let error = Folder.make(folder) { throw OrchestratorError(error) }
            // Several images, or several labctl, may come from one file.
            let lock = try store.waitForLock("\(partPath).lock", label: label)
            defer { withExtendedLifetime(lock) { _ = unlink("\(partPath).lock") } }
            try fetch()
            try unpack(partPath, to: target, mayMove: true)
            unlink(partPath)
        }
        try check(target)
    }

    // MARK: Fetching

    private func fetch() throws(OrchestratorError) {
        // A download that was killed after its last byte is whole.
        if Curl.sizeBytes(partPath) > 0, try verifiedDigest(of: partPath, remembered: false) == sha256 { return }
        // What is there may be damaged: then it is thrown away once.
        let hadPart = Curl.sizeBytes(partPath) > 0
        var lastComplaint = ""
        store.progress(.image(name: label, .downloading(done: 0, total: 0)))
        for attempt in 0..<Self.attempts {
            if attempt > 0 { try pause(seconds: attempt) }
            let curl = Curl(address: address, path: partPath, interruption: store.interruption)
            do throws(Curl.Failure) {
                try curl.run { done, total in
                    guard done > 0 else { return }
                    store.progress(.image(name: label, .downloading(done: done, total: total)))
                }
            } catch {
                switch error {
                case .interrupted:
                    throw OrchestratorError(
                        .interrupted, "interrupted while image '\(label)' was downloaded; the next time goes on with it"
                    )
                case .failed(let reason):
                    throw OrchestratorError(
                        .image, "image '\(label)': \(address.text) cannot be downloaded: \(reason)")
                case .notResumable:
                    unlink(partPath)
                    lastComplaint = "the server cannot go on with a download"
                case .broken(let reason): lastComplaint = reason
                }
                continue
            }
            let found = try verifiedDigest(of: partPath, remembered: false)
            if found == sha256 { return }
            unlink(partPath)
            guard hadPart, attempt == 0 else { throw mismatch(found, what: address.text) }
        }
        throw OrchestratorError(
            .image,
            "image '\(label)': \(address.text) broke off \(Self.attempts) times: \(lastComplaint); the next time goes on "
                + "with what has come")
    }

    private func pause(seconds: Int) throws(OrchestratorError) {
        _ = store.interruption.wait(for: [], milliseconds: Int32(seconds * 1000))
        if store.interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
    }

    private func mismatch(_ found: String, what: String) -> OrchestratorError {
        OrchestratorError(
            .image,
            "image '\(label)': \(what) has SHA-256 \(found), the lab file asks for \(sha256); if the publisher has a new "
                + "version, write its digest")
    }

    private func verifiedDigest(of path: String, remembered: Bool) throws(OrchestratorError) -> String {
        if remembered { return try store.digest(of: path, label: label).sha256 }
        let total = Curl.sizeBytes(path)
        let digest = try withHostErrors { () throws(HostError) in
            try SHA256Digest.ofFile(path) { done in
                if done % (32 << 20) == 0 {
                    store.progress(.image(name: label, .verifying(done: done, total: total)))
                }
                return !store.interruption.isRequested
            }
        }
        guard let digest else { throw OrchestratorError(.interrupted, "interrupted while \(path) was verified") }
        return digest
    }

    // MARK: Unpacking

    private func unpack(_ path: String, to target: String, mayMove: Bool) throws(OrchestratorError) {
        guard address.packing == .none else {
            let (progress, interruption) = (store.progress, store.interruption)
            do throws(ImageError) {
                try DiskImage.unpack(
                    path, format: address.packing.rawValue, to: target,
                    progress: { progress(.image(name: label, .making(done: $0, total: $1))) },
                    isCancelled: { interruption.isRequested })
            } catch {
                if interruption.isRequested {
                    throw OrchestratorError(.interrupted, "interrupted while image '\(label)' was unpacked")
                }
                throw OrchestratorError(.image, "image '\(label)' cannot be unpacked: \(error.sentence)")
            }
            return
        }
        if mayMove, HostCall.rename(path, to: target) { return }
        try copy(path, to: target)
    }

    private func copy(_ path: String, to target: String) throws(OrchestratorError) {
        let total = Curl.sizeBytes(path)
        let isDone = try withHostErrors { () throws(HostError) in
            let source = try Descriptor.open(path, O_RDONLY)
            let file = try Descriptor.open(target, O_WRONLY | O_CREAT | O_EXCL)
            var done: UInt64 = 0
            while !store.interruption.isRequested {
                switch source.read(limit: 1 << 20) {
                case .bytes(let bytes):
                    guard file.writeAll(bytes) else { throw HostError("write", target) }
                    done += UInt64(bytes.count)
                    store.progress(.image(name: label, .making(done: done, total: total)))
                case .endOfFile: return true
                case .wouldBlock: continue
                case .failed(let code): throw HostError("read", path, code: code)
                }
            }
            return false
        }
        guard isDone else { throw OrchestratorError(.interrupted, "interrupted while image '\(label)' was copied") }
    }

    /// A download is what it says to be, and stands alone: it names no other file of this host.
    private func check(_ path: String) throws(OrchestratorError) {
        guard format != .raw else { return }
        var options = OpenOptions(format: format.rawValue)
        options.confinedTo = []
        do throws(ImageError) {
            let image = try DiskImage.open(path, options: options)
            let count = DiskImage.files(of: image).count
            for layer in DiskImage.chain(of: image) { try layer.close() }
            guard count == 1 else {
                throw ImageError(.permission, "it consists of \(count) files, and a download is one", path: path)
            }
        } catch {
            throw OrchestratorError(
                .image, "image '\(label)': what \(address.text) gives cannot be used: \(error.message)")
        }
    }
}
