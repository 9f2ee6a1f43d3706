import Foundation
import Testing

@testable import Images

/// LUKS headers, made and opened by qemu-img and by us.
@Suite struct LUKSTests {
    private static let secret = "secret,id=s,data=geheim"
    private static let password = Array("geheim".utf8)

    private func openLUKS(_ path: String, readOnly: Bool = false, password: [UInt8] = password) throws
        -> any BlockDevice
    {
        var options = OpenOptions(readOnly: readOnly)
        options.secrets = ["s": password]
        return try DiskImage.open(path, options: options)
    }

    private func createLUKS(_ path: String, format: String, _ options: [String: String]) throws {
        var request = CreateRequest(path: path, size: 256 << 10, options: options)
        request.secrets = ["s": Self.password]
        try DiskImage.create(request, format: format)
    }

    /// Every choice that `create` offers. qemu-img aborts with some of those that it offers itself; they are left out.
    @Test(arguments: [
        [:], ["cipher-alg": "aes-128"], ["cipher-alg": "aes-192"], ["cipher-mode": "cbc"], ["cipher-mode": "ctr"],
        ["cipher-mode": "cbc", "ivgen-alg": "essiv", "cipher-alg": "aes-128"],
        ["cipher-mode": "cbc", "ivgen-alg": "essiv", "ivgen-hash-alg": "sha256"], ["ivgen-alg": "plain"],
        ["hash-alg": "sha1"], ["hash-alg": "sha224"], ["hash-alg": "sha384"], ["hash-alg": "sha512"],
        ["hash-alg": "ripemd160"], ["cipher-alg": "serpent-256"], ["cipher-alg": "serpent-192"],
        ["cipher-alg": "serpent-128", "cipher-mode": "cbc", "ivgen-alg": "essiv", "ivgen-hash-alg": "md5"],
        ["cipher-alg": "serpent-256", "cipher-mode": "ctr"], ["cipher-alg": "serpent-256", "cipher-mode": "ecb"],
        ["cipher-alg": "twofish-256"], ["cipher-alg": "twofish-192", "ivgen-alg": "essiv"],
        ["cipher-alg": "twofish-128", "cipher-mode": "cbc", "ivgen-alg": "plain"],
        ["cipher-alg": "cast5-128", "cipher-mode": "cbc"], ["cipher-alg": "cast5-128", "cipher-mode": "ctr"],
        ["cipher-alg": "cast5-128", "cipher-mode": "cbc", "ivgen-alg": "essiv", "ivgen-hash-alg": "md5"],
    ])
    func qemuReadsAndWritesWhatWeMade(choice: [String: String]) throws {
        let scratch = Scratch()
        let path = scratch.path("a.luks")
        try createLUKS(
            path, format: "luks", choice.merging(["key-secret": "s", "iter-time": "0"]) { first, _ in first })
        var device = try openLUKS(path)
        try device.put([UInt8](repeating: 78, count: 9000), at: 700)
        try device.close()
        let result = try run([
            "qemu-io", "--object", Self.secret, "--image-opts", "-c", "read -P 78 700 9000", "-c", "write -P 77 20k 9k",
            "driver=luks,key-secret=s,file.filename=" + path,
        ])
        #expect(result.status == 0 && !result.output.contains("failed"), "\(result.output)")
        device = try openLUKS(path, readOnly: true)
        #expect(try device.bytes(at: 20 << 10, count: 9 << 10) == [UInt8](repeating: 77, count: 9 << 10))
        #expect(try device.bytes(at: 700, count: 9000) == [UInt8](repeating: 78, count: 9000))
    }

    /// qemu-img chooses its iterations by the CPU time that they take, which costs it seconds and fails where the host
    /// counts too coarsely; so there is one of its images here. `scripts/compare-qemu-img` has the others.
    @Test func weReadWhatQEMUMade() throws {
        let scratch = Scratch()
        let path = scratch.path("q.luks")
        let options = "key-secret=s,iter-time=0,cipher-mode=cbc,ivgen-alg=essiv,hash-alg=sha512"
        var made = false
        for _ in 0..<5 where !made {
            made =
                try run(["qemu-img", "create", "--object", Self.secret, "-f", "luks", "-o", options, path, "256k"])
                .status == 0
        }
        guard made else { return }
        try run([
            "qemu-io", "--object", Self.secret, "--image-opts", "-c", "write -P 77 1k 9k",
            "driver=luks,key-secret=s,file.filename=" + path,
        ])
        let device = try openLUKS(path, readOnly: true)
        #expect(try device.bytes(at: 1024, count: 9 << 10) == [UInt8](repeating: 77, count: 9 << 10))
    }

    /// Whatever cipher a header names, or however long its key is, there is an answer in qemu-img's words.
    @Test(arguments: [
        ("camellia", "xts-plain64", 64, "Algorithm 'camellia' with key size 32 bytes not supported"),
        ("", "cbc-plain64", 32, "Algorithm '' with key size 32 bytes not supported"),
        ("serpent", "xts-plain64", 16, "Algorithm 'serpent' with key size 8 bytes not supported"),
        ("serpent", "xts-plain64", 65, "Algorithm 'serpent' with key size 65 bytes not supported"),
        ("twofish", "cbc-plain64", 64, "Algorithm 'twofish' with key size 64 bytes not supported"),
        ("cast5", "cbc-plain64", 5, "Algorithm 'cast5' with key size 5 bytes not supported"),
        ("aes", "xts-plain64", 0, "Algorithm 'aes' with key size 0 bytes not supported"),
        ("twofish", "ecb", 32, "Unexpected cipher mode string format 'ecb'"),
        ("twofish", "lrw-benbi", 32, "Cipher mode 'lrw' not supported"),
        ("twofish", "cbc-benbi", 32, "IV generator 'benbi' not supported"),
        ("twofish", "cbc-", 32, "IV generator '' not supported"),
        ("twofish", "cbc-essiv", 32, "Missing IV generator hash specification"),
        ("twofish", "cbc-essiv:", 32, "Hash algorithm '' not supported"),
        ("twofish", "cbc-plain64:foo", 32, "Hash algorithm 'foo' not supported"),
        ("twofish", "cbc-essiv:sha1", 32, "No Twofish cipher with key size 20 available"),
        ("serpent", "xts-essiv:sha512", 64, "No Serpent cipher with key size 64 available"),
        ("cast5", "cbc-essiv:sha256", 16, "Cipher cast5-128 not supported with essiv"),
    ])
    func impossibleCiphersAreRefused(name: String, mode: String, keyBytes: Int, message: String) {
        let error = #expect(throws: ImageError.self) {
            try LUKSCipher(name: name, mode: mode, keyBytes: keyBytes)
        }
        #expect(error?.message.hasPrefix(message) == true, "\(error?.message ?? "")")
    }

    /// CAST5's blocks are too short for XTS: a header may say so, but nothing can be read or made.
    @Test func castHasNoXTS() throws {
        let cipher = try LUKSCipher(name: "cast5", mode: "xts-plain64", keyBytes: 32)
        let opening = #expect(throws: ImageError.self) { try cipher.keyed([UInt8](repeating: 0, count: 32)) }
        #expect(opening?.message == "Unsupported cipher mode xts")
        let scratch = Scratch()
        for (format, prefix) in [("luks", ""), ("qcow2", "encrypt.")] {
            var options = [prefix + "key-secret": "s", prefix + "cipher-alg": "cast5-128"]
            if format == "qcow2" { options["encrypt.format"] = "luks" }
            let creating = #expect(throws: ImageError.self) {
                try createLUKS(scratch.path("a." + format), format: format, options)
            }
            #expect(creating?.message == "Unsupported cipher mode xts")
        }
    }

    @Test func passphrasesAreAddedAndErased() throws {
        let scratch = Scratch()
        for (format, prefix) in [("luks", ""), ("qcow2", "encrypt.")] {
            let path = scratch.path("a." + format)
            var options = [prefix + "key-secret": "s", prefix + "iter-time": "0"]
            if format == "qcow2" { options["encrypt.format"] = "luks" }
            try createLUKS(path, format: format, options)
            func amend(_ changes: [String: String], force: Bool = false, as password: [UInt8] = Self.password) throws {
                let device = try openLUKS(path, password: password)
                defer { try? device.close() }
                var request = AmendRequest(
                    options: Dictionary(uniqueKeysWithValues: changes.map { (prefix + $0, $1) }))
                request.secrets = ["new": Array("neu".utf8), "old": Self.password]
                request.force = force
                try DiskImage.amend(device, request)
            }
            try amend(["state": "active", "new-secret": "new", "iter-time": "0"])
            for password in ["geheim", "neu"] {
                let opened = try run([
                    "qemu-io", "--object", "secret,id=s,data=\(password)", "-r", "--image-opts", "-c", "read 0 512",
                    "driver=\(format),\(prefix)key-secret=s,file.filename=\(path)",
                ])
                #expect(opened.status == 0, "\(format) \(password): \(opened.output)")
            }
            #expect(throws: ImageError.self) { try amend(["state": "active", "new-secret": "new", "keyslot": "0"]) }
            try amend(["state": "inactive", "old-secret": "old"])
            #expect(throws: ImageError.self) { try openLUKS(path) }
            // The last one stays, unless forced.
            #expect(throws: ImageError.self) {
                try amend(["state": "inactive", "keyslot": "1"], as: Array("neu".utf8))
            }
            try amend(["state": "inactive", "keyslot": "1"], force: true, as: Array("neu".utf8))
            #expect(throws: ImageError.self) { try openLUKS(path, password: Array("neu".utf8)) }
        }
    }
}
