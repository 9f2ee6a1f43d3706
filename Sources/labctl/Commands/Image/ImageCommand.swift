import ArgumentParser
import Glibc
import Images

/// `labctl image …`: the verbs of qemu-img with its flags, output and exit codes.
struct ImageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image", abstract: "Creates, converts and examines disk images (the verbs of qemu-img).",
        subcommands: [
            ImageCreate.self, ImageConvert.self, ImageInfo.self, ImageCheck.self, ImageMap.self, ImageSnapshot.self,
            ImageCommit.self, ImageRebase.self, ImageResize.self, ImageCompare.self, ImageMeasure.self, ImageDD.self,
            ImageBitmap.self, ImageAmend.self, ImageBench.self, ImageISO.self, ImageFormats.self,
        ])
}

/// Writing to the terminal the way qemu-img does.
enum ImageOutput {
    /// What messages begin with.
    static var program: String { QEMUImgLink.isActive ? QEMUImgLink.name : "labctl image" }

    static func warn(_ message: String) { toStandardError("\(program): warning: \(message)\n") }

    static func error(_ message: String) { toStandardError("\(program): \(message)\n") }

    /// Messages quote names from images, and end lines themselves.
    static func toStandardError(_ text: String) { writeToStandardError(printable(text, keepsLines: true)) }

    /// Text of our own, with what moves the cursor.
    static func writeToStandardError(_ text: String) {
        fflush(nil)
        let bytes = Array(text.utf8)
        var done = 0
        while done < bytes.count {
            let count = bytes[done...].withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
            if count <= 0 { return }
            done += count
        }
    }

    /// Names from images made harmless for the terminal: control characters, and those that turn the writing direction
    /// or end lines, become question marks.
    static func printable(_ text: String, keepsLines: Bool = false) -> String {
        func isHarmful(_ scalar: Unicode.Scalar) -> Bool {
            switch scalar.value {
            case 0x0a: !keepsLines
            case 0..<0x20, 0x7f..<0xa0, 0x200e...0x200f, 0x2028...0x202e, 0x2066...0x2069: true
            default: false
            }
        }
        guard text.unicodeScalars.contains(where: isHarmful) else { return text }
        return String(String.UnicodeScalarView(text.unicodeScalars.map { isHarmful($0) ? "?" : $0 }))
    }
}

/// The end of a verb that failed: the message has been printed.
func fail(_ message: String, code: Int32 = 1) -> ExitCode {
    ImageOutput.error(message)
    return ExitCode(code)
}

/// The end of a verb whose arguments make no sense.
func failUsage(_ message: String) -> ExitCode {
    fail("\(message)\nTry '\(ImageOutput.program) --help' for more information")
}

/// The end of a verb that failed on an image: the message names the file, `file` where the error does not know it.
func fail(_ error: ImageError, on file: String) -> ExitCode { fail(error.naming(file)) }

/// The only operand of a verb that takes one image.
func onlyImage(_ filenames: [String]) throws -> String {
    guard filenames.count == 1 else { throw failUsage("Expecting one image file name") }
    return filenames[0]
}

/// Options that most verbs share.
struct ImageSourceOptions: ParsableArguments {
    @Option(
        name: .customLong("object"),
        help: ArgumentHelp("An object such as secret,id=sec0,data=… (may be repeated).", valueName: "OBJECT"))
    var objects: [String] = []

    @Flag(name: .customLong("image-opts"), help: "File names are option strings such as driver=qcow2,file.filename=….")
    var imageOpts = false

    /// Secrets by id.
    func secrets() throws -> [String: [UInt8]] { try SecretObject.all(objects) }

    /// What an option string says; nil where names are paths.
    func parsed(_ name: String) throws -> ImageName? {
        imageOpts ? try ImageOptionString(parsing: name).name : nil
    }

    /// Opens an image, or prints why not.
    func open(
        _ name: String, format: String?, readOnly: Bool, forceShare: Bool = false, openBacking: Bool = true,
        forCheck: Bool = false, secrets: [String: [UInt8]]? = nil, cache: CacheMode = .writeback,
        backingLock: LockMode? = nil, metadataOnly: Bool = false
    ) throws -> any BlockDevice {
        var options = OpenOptions(
            format: format, readOnly: readOnly, lock: forceShare ? .forceShare : .normal, openBacking: openBacking,
            unsafeCache: cache == .unsafe, forCheck: forCheck)
        options.secrets = try secrets ?? self.secrets()
        options.backingLock = backingLock
        options.metadataOnly = metadataOnly
        let notice = MeasuringNotice(name)
        options.measuring = { notice.update($0, of: $1) }
        defer { notice.finish() }
        if imageOpts, format != nil { throw fail("--image-opts and --format are mutually exclusive") }
        let parsed = try self.parsed(name)
        if let given = parsed {
            if given.isReadOnly, !readOnly { throw fail("Could not open '\(name)': Block node is read-only") }
            if !metadataOnly, let id = given.keySecrets.first(where: { options.secrets[$0] == nil }) {
                throw fail("Could not open '\(name)': No secret with id '\(id)'")
            }
        }
        if let format = options.format, FormatRegistry.format(named: format) == nil {
            throw fail("Could not open '\(name)': Unknown driver '\(format)'")
        }
        if forceShare, !readOnly {
            throw fail("Could not open '\(name)': force-share=on can only be used with read-only images")
        }
        do throws(ImageError) {
            let device: any BlockDevice
            if let parsed {
                device = try DiskImage.open(parsed, options: options)
            } else {
                device = try DiskImage.open(name, options: options)
            }
            let wasProbed = format == nil && parsed?.format == nil
            if wasProbed, device.formatName == "raw" {
                if !readOnly { Self.warnAboutProbedRaw(device.path) }
                if DiskImage.looksLikeFixedVHD(device) { ImageOutput.warn(Self.fixedVHDHint(device.path)) }
            }
            return device
        } catch {
            // The name that was given stands before the message; a file further down has to be named too.
            let isAbout = error.path == nil || error.path == (parsed?.path ?? name)
            throw fail("Could not open '\(name)': \(isAbout ? error.message : error.naming(name))")
        }
    }

    static func fixedVHDHint(_ path: String) -> String {
        "'\(path)' ends in the footer of a fixed VHD, which is read as a part of the raw disk; -f vpc opens it as a VHD, "
            + "-f raw says that it is raw"
    }

    /// A guest can write any format's header into its raw disk; whoever does not name the format hears of it.
    private static func warnAboutProbedRaw(_ path: String) {
        ImageOutput.toStandardError(
            """
            WARNING: Image format was not specified for '\(path)' and probing guessed raw.
                     Automatically detecting the format is dangerous for raw images, write operations on block 0 \
            will be restricted.
                     Specify the 'raw' format explicitly to remove the restrictions.

            """)
    }
}

/// Cache modes of `-t` and `-T`. Data is on stable storage when a verb ends, whatever the mode, except with `unsafe`.
enum CacheMode: String {
    case none, off, writeback, unsafe, directsync, writethrough

    /// `-t`: of the image that is written.
    static func target(_ text: String?) throws -> CacheMode {
        guard let text else { return .writeback }
        guard let mode = CacheMode(rawValue: text) else { throw fail("Invalid cache option: \(text)") }
        return mode
    }

    /// `-T`: of the images that are read.
    static func source(_ text: String?) throws {
        guard let text else { return }
        guard CacheMode(rawValue: text) != nil else { throw fail("Invalid source cache option: \(text)") }
    }
}

/// `key=value,key=value` lists; a doubled comma stands for one.
enum KeyValueList {
    /// The members of a list as they stand.
    static func items(_ text: String) -> [String] {
        var items: [String] = [""]
        var previousWasComma = false
        for character in text {
            if character == "," {
                if previousWasComma { items[items.count - 1].append(",") }
                previousWasComma.toggle()
                continue
            }
            if previousWasComma {
                items.append("")
                previousWasComma = false
            }
            items[items.count - 1].append(character)
        }
        return items.filter { !$0.isEmpty }
    }

    /// Keys and values; a key alone means `on`, and with `no` before it `off`.
    static func parse(_ text: String) -> [(key: String, value: String)] {
        items(text).map { item in
            guard let equals = item.firstIndex(of: "=") else {
                return item.hasPrefix("no") ? (String(item.dropFirst(2)), "off") : (item, "on")
            }
            return (String(item[..<equals]), String(item[item.index(after: equals)...]))
        }
    }
}

/// `--output=human|json`.
enum OutputFormat {
    static func isJSON(_ text: String?) throws -> Bool {
        switch text {
        case nil, "human": return false
        case "json": return true
        default: throw fail("--output must be used with human or json as argument.")
        }
    }
}
