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
            ImageBitmap.self, ImageAmend.self, ImageBench.self, ImageFormats.self,
        ])
}

/// Started through a link named `qemu-img`, the program is `labctl image`.
enum QEMUImgLink {
    static let name = "qemu-img"

    static var isActive: Bool { basename(CommandLine.arguments.first ?? "") == name }

    /// Runs `labctl image` with qemu-img's exit codes; never returns.
    static func run() -> Never {
        var arguments = Array(CommandLine.arguments.dropFirst())
        if arguments.first == "--version" || arguments.first == "-V" {
            print("qemu-img version 7.2 (labctl)")
            exit(0)
        }
        if arguments.isEmpty { arguments = ["--help"] }
        let verbs = ImageCommand.configuration.subcommands.compactMap { $0.configuration.commandName }
        if let verb = arguments.first, !verb.hasPrefix("-"), !verbs.contains(verb), verb != "help" {
            ImageOutput.error("Command not found: \(verb)\nTry 'qemu-img --help' for more information")
            exit(1)
        }
        do {
            var command = try ImageCommand.parseAsRoot(arguments)
            try command.run()
            exit(0)
        } catch {
            let code = ImageCommand.exitCode(for: error).rawValue
            let text = ImageCommand.fullMessage(for: error)
            if code == 0 {
                print(text)
                exit(0)
            }
            if !text.isEmpty {
                let line = text.split(separator: "\n").first.map(String.init) ?? text
                ImageOutput.error(Self.wording(line) + "\nTry 'qemu-img --help' for more information")
            }
            // Usage errors have code 64 in labctl, 1 in qemu-img.
            exit(code == ExitCode.validationFailure.rawValue ? 1 : code)
        }
    }

    /// The parser's complaints in qemu-img's words.
    private static func wording(_ line: String) -> String {
        var text = line.replacing("Error: ", with: "").replacing("Unknown option", with: "unrecognized option")
        if text.hasPrefix("Unexpected argument '"), text.hasSuffix("'") {
            text = "Unexpected argument: " + text.dropFirst(21).dropLast()
        }
        return text
    }

    private static func basename(_ path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? path
    }
}

/// Writing to the terminal the way qemu-img does.
enum ImageOutput {
    /// What messages begin with.
    static var program: String { QEMUImgLink.isActive ? QEMUImgLink.name : "labctl image" }

    static func error(_ message: String) { toStandardError("\(program): \(message)\n") }

    static func toStandardError(_ text: String) {
        fflush(nil)
        // Messages quote names from images, and end lines themselves.
        let bytes = Array(printable(text, keepsLines: true).utf8)
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

/// Options that most verbs share.
struct ImageSourceOptions: ParsableArguments {
    @Option(name: .customLong("object"), help: "An object such as secret,id=sec0,data=… (may be repeated).")
    var objects: [String] = []

    @Flag(name: .customLong("image-opts"), help: "File names are option strings such as driver=qcow2,file.filename=….")
    var imageOpts = false

    /// Secrets by id.
    func secrets() throws -> [String: [UInt8]] {
        var secrets: [String: [UInt8]] = [:]
        for object in objects {
            let parsed = try SecretObject(parsing: object)
            secrets[parsed.id] = parsed.data
        }
        return secrets
    }

    /// Opens an image, or prints why not.
    func open(
        _ name: String, format: String?, readOnly: Bool, forceShare: Bool = false, openBacking: Bool = true,
        forCheck: Bool = false, secrets: [String: [UInt8]]? = nil
    ) throws -> any BlockDevice {
        var options = OpenOptions(
            format: format, readOnly: readOnly, lock: forceShare ? .forceShare : .normal, openBacking: openBacking,
            forCheck: forCheck)
        options.secrets = try secrets ?? self.secrets()
        var path = name
        if imageOpts {
            let parsed = try ImageOptionString(parsing: name)
            path = parsed.path
            options.format = parsed.driver ?? options.format
            options.keySecret = parsed.keySecret
        }
        do {
            return try DiskImage.open(path, options: options)
        } catch {
            throw fail("Could not open '\(name)': \(error.message)")
        }
    }
}

/// `--object secret,id=…,data=…|file=…[,format=base64]`.
struct SecretObject {
    var id: String
    var data: [UInt8]

    init(parsing text: String) throws {
        let fields = KeyValueList.parse(text)
        guard fields.first?.key == "secret" || fields.first(where: { $0.key == "qom-type" })?.value == "secret" else {
            throw fail("invalid object type: \(fields.first?.key ?? "")")
        }
        func value(_ key: String) -> String? { fields.last { $0.key == key }?.value }
        guard let id = value("id") else { throw fail("Parameter 'id' is missing") }
        self.id = id
        if let text = value("data") {
            data = [UInt8](text.utf8)
        } else if let file = value("file") {
            guard let stream = fopen(file, "r") else { throw fail("Failed to open file “\(file)”") }
            defer { fclose(stream) }
            var content = [UInt8](repeating: 0, count: 65536)
            let count = fread(&content, 1, content.count, stream)
            data = Array(content.prefix(count))
        } else {
            throw fail("Either 'file' or 'data' must be provided, but not both")
        }
        if value("format") == "base64" {
            guard let decoded = Base64.decode(data) else { throw fail("Base64 data is not valid") }
            data = decoded
        }
    }
}

/// Base 64 (RFC 4648), as secrets may be given in.
enum Base64 {
    static func decode(_ text: [UInt8]) -> [UInt8]? {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var out: [UInt8] = []
        var bits = 0
        var value = 0
        for character in text where character != UInt8(ascii: "\n") && character != UInt8(ascii: "=") {
            guard let digit = alphabet.firstIndex(of: character) else { return nil }
            value = (value << 6 | digit) & 0xffffff
            bits += 6
            if bits >= 8 {
                bits -= 8
                out.append(UInt8(value >> bits & 0xff))
            }
        }
        return out
    }
}

/// `key=value,key=value` lists; a doubled comma stands for one.
enum KeyValueList {
    static func parse(_ text: String) -> [(key: String, value: String)] {
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
        return items.filter { !$0.isEmpty }.map { item in
            guard let equals = item.firstIndex(of: "=") else { return (item, "on") }
            return (String(item[..<equals]), String(item[item.index(after: equals)...]))
        }
    }
}

/// An image named by options: `driver=qcow2,file.driver=file,file.filename=/path`.
struct ImageOptionString {
    var path: String
    var driver: String?
    var keySecret: String?

    init(parsing text: String) throws {
        let fields = KeyValueList.parse(text)
        func value(_ key: String) -> String? { fields.last { $0.key == key }?.value }
        guard let path = value("file.filename") ?? value("filename") else {
            throw fail("A block device must be specified for \"file\"")
        }
        self.path = path
        driver = value("driver")
        if driver == "file" { driver = "raw" }
        keySecret = value("encrypt.key-secret") ?? value("key-secret")
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
