import ArgumentParser
import Glibc
import Images
import Orchestrator

/// `--object secret,id=…,data=…|file=…[,format=raw|base64][,keyid=…,iv=…]`.
///
/// With `keyid` the data is encrypted with AES-256-CBC under another secret and padded as PKCS #7 says; `iv` is the
/// initialisation vector in base 64.
struct SecretObject {
    var id: String
    var data: [UInt8]

    /// Every secret of a command line by its id, in the order given: one may be the key of a later one.
    static func all(_ objects: [String]) throws -> [String: [UInt8]] {
        var secrets: [String: [UInt8]] = [:]
        for object in objects {
            let secret = try SecretObject(parsing: object, known: secrets)
            guard secrets[secret.id] == nil else {
                throw fail("attempt to add duplicate property '\(secret.id)' to object (type 'container')")
            }
            secrets[secret.id] = secret.data
        }
        return secrets
    }

    private init(parsing text: String, known: [String: [UInt8]]) throws {
        var values = try Self.fields(text)
        guard let type = values.removeValue(forKey: "qom-type") else { throw fail("Parameter 'qom-type' is missing") }
        guard type == "secret" else { throw fail("Parameter 'qom-type' does not accept value '\(type)'") }
        guard let id = values.removeValue(forKey: "id") else { throw fail("Parameter 'id' is missing") }
        guard let first = id.utf8.first, first.isLetter,
            id.utf8.allSatisfy({ $0.isLetter || (48...57).contains($0) || "-._".utf8.contains($0) })
        else {
            ImageOutput.error("Parameter 'id' expects an identifier")
            ImageOutput.toStandardError(
                "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.\n")
            throw ExitCode(1)
        }
        self.id = id
        let allowed = ["data", "file", "format", "keyid", "iv"]
        if let other = values.keys.sorted().first(where: { !allowed.contains($0) }) {
            throw fail("Parameter '\(other)' is unexpected")
        }
        let format = values["format"] ?? "raw"
        guard format == "raw" || format == "base64" else {
            throw fail("Parameter 'format' does not accept value '\(format)'")
        }
        data = try Self.content(values)
        if let key = values["keyid"] {
            data = try Self.decrypt(data, isBase64: format == "base64", key: key, vector: values["iv"], known)
        } else if format == "base64" {
            data = try Self.decode(data)
        }
    }

    /// The members of an object, given as a list or in JSON.
    private static func fields(_ text: String) throws -> [String: String] {
        if text.hasPrefix("{") {
            guard let fields = JSONFields(text) else { throw fail("JSON parse error in --object") }
            return fields.values
        }
        var values: [String: String] = [:]
        for (index, item) in KeyValueList.items(text).enumerated() {
            guard let equals = item.firstIndex(of: "=") else {
                guard index == 0 else { throw fail("Expected '=' after parameter '\(item)'") }
                values["qom-type"] = item
                continue
            }
            values[String(item[..<equals])] = String(item[item.index(after: equals)...])
        }
        return values
    }

    private static func content(_ values: [String: String]) throws -> [UInt8] {
        switch (values["data"], values["file"]) {
        case (.some, .some): throw fail("'file' and 'data' are mutually exclusive")
        case (.some(let text), nil): return [UInt8](text.utf8)
        case (nil, .some(let file)):
            guard let stream = fopen(file, "r") else {
                let reason = String(cString: strerror(errno))
                throw fail("Unable to read \(file): Failed to open file “\(file)”: \(reason)")
            }
            defer { fclose(stream) }
            var content = [UInt8](repeating: 0, count: 1 << 20)
            let count = fread(&content, 1, content.count, stream)
            guard ferror(stream) == 0 else {
                throw fail("Unable to read \(file): Error reading file “\(file)”: \(String(cString: strerror(errno)))")
            }
            return Array(content.prefix(count))
        case (nil, nil): throw fail("Either 'file' or 'data' must be provided")
        }
    }

    private static func decode(_ text: [UInt8]) throws -> [UInt8] {
        guard let decoded = Base64.decode(text, isLenient: true) else {
            throw fail("Base64 data contains invalid characters")
        }
        return decoded
    }

    private static func decrypt(
        _ data: [UInt8], isBase64: Bool, key: String, vector: String?, _ known: [String: [UInt8]]
    ) throws -> [UInt8] {
        guard let secret = known[key] else { throw fail("No secret with id '\(key)'") }
        guard secret.count == 32 else { throw fail("Key should be 32 bytes in length") }
        guard let vector else { throw fail("IV is required to decrypt secret") }
        let initial = try decode([UInt8](vector.utf8))
        guard initial.count == 16 else { throw fail("IV should be 16 bytes in length not \(initial.count)") }
        let cipherText = isBase64 ? try decode(data) : data
        guard cipherText.count % 16 == 0, !cipherText.isEmpty else {
            throw fail("Length \(cipherText.count) must be a multiple of block size 16")
        }
        let plain: [UInt8]
        do {
            plain = try SecretCipher.decrypt(cipherText, key: secret, vector: initial)
        } catch {
            throw fail(error.message)
        }
        let padding = Int(plain.last ?? 0)
        guard (1...16).contains(padding) else {
            throw fail("Incorrect number of padding bytes (\(padding)) found on decrypted data")
        }
        return Array(plain.dropLast(padding))
    }
}

extension UInt8 {
    fileprivate var isLetter: Bool { (65...90).contains(self) || (97...122).contains(self) }
}
