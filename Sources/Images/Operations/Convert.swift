import Glibc

/// What a power failure may take with it.
public enum Durability: Sendable {
    /// Nothing: the result is synced before it gets its name.
    case always
    /// A new file may be lost with the host's page cache, as with `cp`; an old file is only replaced by a synced one.
    case whenReplacing
    /// Nothing is waited for.
    case never
}

/// Copies disks into a new image of any format.
public struct ConvertRequest: Sendable {
    /// Opened sources, concatenated.
    public var sources: [any BlockDevice]
    public var targetPath: String
    public var targetFormat: String
    /// `-o` options of the target.
    public var options: [String: String] = [:]
    public var secrets: [String: [UInt8]] = [:]
    /// Told of what could not be done for the target's file and does not matter to the image.
    public var warn: (@Sendable (String) -> Void)?
    /// Backing file that the target records (`-B`); then only the sources' top layers are copied.
    public var backing: BackingReference?
    /// `-c`: store clusters compressed.
    public var isCompressed = false
    /// `-S`: runs of this many zero bytes become holes; 0 writes every byte.
    public var sparseBytes = 4096
    /// What an existing target is opened by, where that says more than a path.
    public var targetName: ImageName?
    /// `-n`: write into an existing image.
    public var usesExistingTarget = false
    /// `--target-is-zero`: the existing target reads as zeros.
    public var targetIsZero = false
    /// `-W`: clusters may be written in any order.
    public var outOfOrder = false
    /// `-m`: upper bound of parallel work.
    public var workers = 8
    /// `--salvage`: unreadable parts become zeros.
    public var salvage = false
    /// Called with offset, length and reason of each such part, from any thread, one at a time.
    public var didLose: (@Sendable (UInt64, UInt64, ImageError) -> Void)?
    /// `-C`: data is not looked at but copied by the host, without reading it where both files can share blocks.
    public var copyOffload = false
    /// `--bitmaps`: names of the source's persistent bitmaps that the target gets.
    public var bitmaps: [String]?
    /// What is said to have failed when the target cannot be made; nil: converting to its format.
    public var purpose: String?
    /// `-r`: bytes per second, 0 for no limit.
    public var rateLimit: UInt64 = 0
    /// Whether the result is on stable storage before it gets its name.
    public var durability = Durability.always
    /// Called with bytes done and total, from any thread, one at a time.
    public var progress: (@Sendable (UInt64, UInt64) -> Void)?
    /// Asked between pieces of work.
    public var isCancelled: (@Sendable () -> Bool)?

    public init(sources: [any BlockDevice], targetPath: String, targetFormat: String) {
        self.sources = sources
        self.targetPath = targetPath
        self.targetFormat = targetFormat
    }
}

extension DiskImage {
    /// Converts. A new target is written beside its place, synced and renamed: on failure nothing is left behind and an
    /// old file of that name stays as it was.
    public static func convert(_ request: ConvertRequest) throws(ImageError) {
        let driver = try FormatRegistry.require(request.targetFormat)
        if request.isCompressed, !driver.capabilities.contains(.compress) {
            throw ImageError(.unsupported, "Compression not supported for this file format", format: driver.name)
        }
        let source = ConcatenatedDevices(request.sources)
        if request.usesExistingTarget {
            let target: any BlockDevice
            do throws(ImageError) {
                var options = OpenOptions(format: request.targetFormat, readOnly: false, openBacking: true)
                options.secrets = request.secrets
                options.unsafeCache = request.durability == .never
                if let name = request.targetName {
                    if name.format != nil { options.format = nil }
                    target = try open(name, options: options)
                } else {
                    target = try open(request.targetPath, options: options)
                }
            } catch {
                throw ImageError(
                    error.kind, "Could not open '\(request.targetPath)': \(error.message)", path: request.targetPath,
                    code: error.code)
            }
            guard target.size >= source.size else {
                throw ImageError(.invalidArgument, "output file is smaller than input file", path: target.path)
            }
            do throws(ImageError) {
                try ConvertCopier(source, target, request, isFresh: request.targetIsZero).run()
                if let names = request.bitmaps {
                    try copyBitmaps(names, from: request.sources[0], to: target)
                }
            } catch {
                try? target.close()
                throw error
            }
            return try target.close()
        }
        var creation = CreateRequest(
            path: try localPath(request.targetPath), size: source.size, backing: request.backing,
            options: request.options)
        creation.secrets = request.secrets
        creation.warn = request.warn
        let place: ResultFile
        do throws(ImageError) {
            place = try ResultFile(creation, hasCompanions: driver.hasCompanionFiles(creation))
        } catch {
            throw creationFailure(error, request, driver)
        }
        let syncs = request.durability == .always || (request.durability == .whenReplacing && place.replaces)
        creation.finalPath = creation.path
        creation.path = place.workPath
        do throws(ImageError) {
            do throws(ImageError) {
                try create(creation, format: driver.name, unsafeCache: true)
            } catch {
                throw creationFailure(error, request, driver, workPath: creation.path)
            }
            var options = OpenOptions(format: driver.name, readOnly: false, lock: .none, unsafeCache: true)
            options.syncsAtEnd = syncs
            options.secrets = request.secrets
            options.keySecret = request.options["encrypt.key-secret"] ?? request.options["key-secret"]
            options.openBacking = request.backing != nil
            let target: any BlockDevice
            do throws(ImageError) {
                target = try open(creation.path, options: options)
            } catch {
                throw ImageError(
                    error.kind, "Could not open '\(request.targetPath)': \(error.message)", path: request.targetPath,
                    code: error.code)
            }
            let isFresh = request.backing == nil && driver.newImagesReadAsZeros
            do throws(ImageError) {
                try ConvertCopier(source, target, request, isFresh: isFresh).run()
                if let names = request.bitmaps {
                    try copyBitmaps(names, from: request.sources[0], to: target)
                }
            } catch {
                try? target.close()
                throw error
            }
            try target.close()
            try place.commit(syncing: syncs)
        } catch {
            place.abandon()
            throw ImageError(
                error.kind, place.underFinalNames(error.naming(request.targetPath)), format: error.format,
                path: error.path.map(place.underFinalNames), offset: error.offset, code: error.code)
        }
    }

    /// The error of a target that could not be made, under the name that the caller knows.
    private static func creationFailure(
        _ error: ImageError, _ request: ConvertRequest, _ driver: any ImageFormat, workPath: String? = nil
    ) -> ImageError {
        let path = request.targetPath
        let shown = workPath.map { error.message.replacing($0, with: path) } ?? error.message
        let purpose = request.purpose ?? "error while converting \(driver.name)"
        return ImageError(
            error.kind, "\(path): \(purpose): \(shown)", format: driver.name, path: path, code: error.code)
    }
}
