import Glibc
import Testing

@testable import Images

@Suite struct ImageNameTests {
    private static func base(_ scratch: Scratch) throws {
        try DiskImage.create(scratch.path("base"), format: "qcow2", size: 1 << 20)
        let device = try open(scratch.path("base"))
        try device.put([UInt8](repeating: 5, count: 3000), at: 600)
        try device.close()
    }

    @Test(arguments: [
        #"{"driver":"qcow2","file":{"driver":"file","filename":"PATH"}}"#,
        #"{ "driver" : "qcow2", "file.filename" : "PATH" }"#,
        #"{"driver":"qcow2","file":{"filename":"\u0050ATH"},"file.driver":"file"}"#.replacing(
            "\\u0050ATH", with: "PATH"),
        #"{'driver':'qcow2', 'file': {'driver':'file', "filename":'PATH'}}"#,
    ]) func jsonNamesAreOpened(json: String) throws {
        let scratch = Scratch()
        try Self.base(scratch)
        let name = "json:" + json.replacing("PATH", with: scratch.path("base"))
        let device = try DiskImage.open(name)
        #expect(device.formatName == "qcow2")
        #expect(try device.bytes(at: 600, count: 3000).allSatisfy { $0 == 5 })
        try device.close()
        // As a backing file, in qemu-img too.
        var request = CreateRequest(path: scratch.path("top"), size: 1 << 20)
        request.backing = BackingReference(file: name, format: "qcow2")
        try DiskImage.create(request, format: "qcow2")
        let top = try open(scratch.path("top"), readOnly: true)
        #expect(try top.bytes(at: 600, count: 3000).allSatisfy { $0 == 5 })
        try top.close()
        let compared = try run(["qemu-img", "compare", scratch.path("top"), scratch.path("base")])
        #expect(compared.status == 0, "\(compared.output)")
        var confined = OpenOptions()
        confined.confinedTo = [scratch.folder]
        let error = #expect(throws: ImageError.self) { _ = try DiskImage.open(scratch.path("top"), options: confined) }
        #expect(error?.kind == .permission)
    }

    @Test func aPartOfAFileIsADisk() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("raw"), format: "raw", size: 8192)
        let raw = try open(scratch.path("raw"), format: "raw")
        try raw.put([1, 2, 3, 4], at: 4096)
        try raw.close()
        let name = #"json:{"driver":"raw","offset":4096,"size":"1k","file":{"driver":"file","filename":"PATH"}}"#
        let device = try DiskImage.open(name.replacing("PATH", with: scratch.path("raw")))
        #expect(device.size == 1024)
        #expect(try device.bytes(at: 0, count: 5) == [1, 2, 3, 4, 0])
        let outside = name.replacing("4096", with: "8000").replacing("PATH", with: scratch.path("raw"))
        #expect(throws: ImageError.self) { _ = try DiskImage.open(outside) }
    }

    @Test(arguments: [
        "json:", "json:{", "json:{}", "json:[]", #"json:{"driver":"qcow2"}"#, #"json:{"driver":"nbd","host":"x"}"#,
        #"json:{"driver":"qcow2","file":{"driver":"https","url":"https://x"}}"#,
        #"json:{"driver":"qcow2","file.filename":"x","no-such-option":true}"#,
        #"json:{'driver':'qcow2","file.filename":'x'}"#,
        #"json:{"driver":"qcow2","file.filename":"x","backing.foo":1}"#,
        #"json:{"driver":"qcow2","driver":"raw","file.filename":"x"}"#,
        #"json:{"driver":"qcow2","file.filename":"x"} y"#,
        "nbd:localhost:10809", "http://example.org/x", "json:" + String(repeating: #"{"a":"#, count: 10_000),
    ]) func otherNamesAreRefusedInASentence(name: String) throws {
        let error = #expect(throws: ImageError.self) { _ = try DiskImage.open(name) }
        #expect(error?.kind == .invalidArgument || error?.kind == .unsupported)
    }

    @Test func aDriverThatIsNotThereIsNamedWhateverItsOptionsAre() throws {
        let json =
            #"{'driver':'qcow2','file':{'driver':'blkdebug','inject-error':[{'event':'x','once':true}, 5, [], ["a"]]}}"#
        let error = #expect(throws: ImageError.self) { _ = try DiskImage.open("json:" + json) }
        #expect(error?.message.contains("Unknown protocol 'blkdebug'") == true, "\(error?.message ?? "")")
        #expect(JSONFields(json)?.values["file.inject-error.0.event"] == "x")
        #expect(JSONFields(json)?.values["file.inject-error.3.0"] == "a")
        for broken in [#"{"a":[}"#, #"{"a":[1}"#, #"{"a":[1,]}"#, "{\"a\":" + String(repeating: "[", count: 10_000)] {
            #expect(JSONFields(broken) == nil)
        }
    }

    @Test func anExternalDataFileCanBeNamed() throws {
        let scratch = Scratch()
        let path = scratch.path("a.qcow2")
        try DiskImage.create(path, format: "qcow2", size: 1 << 20, options: ["data_file": scratch.path("data")])
        let device = try open(path)
        try device.put([7, 8], at: 70_000)
        try device.close()
        #expect(rename(scratch.path("data"), scratch.path("moved")) == 0)
        #expect(throws: ImageError.self) { _ = try open(path, readOnly: true) }
        for keys in [["data-file.filename"], ["data-file.driver", "data-file.file.filename"]] {
            var options = ["file.filename": path]
            for key in keys { options[key] = key.hasSuffix("driver") ? "raw" : scratch.path("moved") }
            let moved = try DiskImage.open(try ImageName(options: options))
            #expect(try moved.bytes(at: 69_999, count: 3) == [0, 7, 8])
            try moved.close()
        }
        // Where there is none, or none that we could open, the option is not overlooked.
        try Self.base(scratch)
        try DiskImage.create(scratch.path("raw"), format: "raw", size: 1 << 20)
        for (file, driver) in [("base", "qcow2"), ("raw", "raw")] {
            let name = try ImageName(options: [
                "driver": driver, "file.filename": scratch.path(file), "data-file.filename": scratch.path("moved"),
            ])
            let error = #expect(throws: ImageError.self) { _ = try DiskImage.open(name) }
            #expect(error?.message.contains("data-file") == true)
        }
        #expect(throws: ImageError.self) {
            _ = try ImageName(options: [
                "file.filename": path, "data-file.filename": "x", "data-file.driver": "nbd",
            ])
        }
    }

    @Test func aNameAndAnOptionMustAgree() throws {
        let scratch = Scratch()
        try Self.base(scratch)
        let name = #"json:{"driver":"qcow2","file.filename":"PATH"}"#.replacing("PATH", with: scratch.path("base"))
        let error = #expect(throws: ImageError.self) { _ = try open(name, format: "raw", readOnly: true) }
        #expect(error?.kind == .invalidArgument)
    }
}

/// Layers below, as `backing.…` names them.
@Suite struct BackingOptionTests {
    private static func disk(_ path: String, _ byte: UInt8, secret: String? = nil, over: String? = nil) throws {
        var request = CreateRequest(path: path, size: 1 << 20)
        request.backing = over.map { BackingReference(file: $0, format: "qcow2") }
        if let secret {
            request.secrets[secret] = Array("passphrase of \(secret)".utf8)
            request.options = ["encrypt.format": "luks", "encrypt.key-secret": secret, "encrypt.iter-time": "1"]
        }
        try DiskImage.create(request, format: "qcow2")
        var options = OpenOptions(readOnly: false, openBacking: false)
        (options.secrets, options.keySecret) = (request.secrets, secret)
        let device = try DiskImage.open(path, options: options)
        try device.put([byte], at: UInt64(byte) << 16)
        try device.close()
    }

    @Test func eachLayerHasASecretOfItsOwn() throws {
        let scratch = Scratch()
        try Self.disk(scratch.path("base"), 1, secret: "one")
        try Self.disk(scratch.path("top"), 2, secret: "two", over: "base")
        let name = try ImageName(options: [
            "driver": "qcow2", "file.filename": scratch.path("top"), "encrypt.key-secret": "two",
            "backing.encrypt.key-secret": "one",
        ])
        #expect(name.keySecrets == ["two", "one"])
        var options = OpenOptions()
        for id in ["one", "two"] { options.secrets[id] = Array("passphrase of \(id)".utf8) }
        let device = try DiskImage.open(name, options: options)
        #expect(try device.bytes(at: 1 << 16, count: 1) == [1])
        #expect(try device.bytes(at: 2 << 16, count: 1) == [2])
        options.secrets["one"] = Array("wrong".utf8)
        let error = #expect(throws: ImageError.self) { _ = try DiskImage.open(name, options: options) }
        #expect(error?.message.contains("base") == true || error?.path?.contains("base") == true)
    }

    @Test func commitOpensTheBaseWithItsOwnSecret() throws {
        let scratch = Scratch()
        try Self.disk(scratch.path("base"), 1, secret: "one")
        try Self.disk(scratch.path("top"), 2, secret: "two", over: "base")
        let name = try ImageName(options: [
            "driver": "qcow2", "file.filename": scratch.path("top"), "encrypt.key-secret": "two",
            "backing.driver": "qcow2", "backing.encrypt.key-secret": "one",
        ])
        var options = OpenOptions(readOnly: false)
        options.backingLock = LockMode.none
        for id in ["one", "two"] { options.secrets[id] = Array("passphrase of \(id)".utf8) }
        let top = try DiskImage.open(name, options: options)
        try DiskImage.commit(top, name: name, keepTop: true, secrets: options.secrets)
        try top.close()
        options.keySecret = "one"
        let base = try DiskImage.open(scratch.path("base"), options: options)
        #expect(try base.bytes(at: 1 << 16, count: 1) == [1])
        #expect(try base.bytes(at: 2 << 16, count: 1) == [2])
    }

    @Test func anExistingTargetIsOpenedAsItsNameSays() throws {
        let scratch = Scratch()
        try Self.disk(scratch.path("source"), 9)
        try Self.disk(scratch.path("below"), 3, secret: "one")
        try Self.disk(scratch.path("target"), 4, secret: "two", over: "below")
        let source = try open(scratch.path("source"), readOnly: true)
        var request = ConvertRequest(
            sources: [source], targetPath: scratch.path("target"), targetFormat: "qcow2")
        request.usesExistingTarget = true
        for id in ["one", "two"] { request.secrets[id] = Array("passphrase of \(id)".utf8) }
        request.targetName = try ImageName(options: [
            "driver": "qcow2", "file.filename": scratch.path("target"), "encrypt.key-secret": "two",
            "backing.encrypt.key-secret": "one",
        ])
        try DiskImage.convert(request)
        var options = OpenOptions(openBacking: false)
        (options.secrets, options.keySecret) = (request.secrets, "two")
        let target = try DiskImage.open(scratch.path("target"), options: options)
        #expect(try [3, 4, 9].map { try target.bytes(at: $0 << 16, count: 1)[0] } == [0, 0, 9])
    }

    @Test func optionsOfTheBackingFileReplaceWhatIsRecorded() throws {
        let scratch = Scratch()
        for (name, byte) in [("a", UInt8(3)), ("b", 4)] { try Self.disk(scratch.path(name), byte) }
        try Self.disk(scratch.path("top"), 5, over: "a")
        try Self.disk(scratch.path("alone"), 6)
        func bytes(_ file: String, _ extra: [String: String]) throws(ImageError) -> [UInt8] {
            var options = ["driver": "qcow2", "file.filename": scratch.path(file)]
            options.merge(extra) { $1 }
            let device = try DiskImage.open(ImageName(options: options))
            defer { try? device.close() }
            return try [3, 4].map { (place: UInt64) throws(ImageError) -> UInt8 in
                let buffer = HeapBuffer(1)
                try device.read(into: buffer.bytes.part(0, 1), at: place << 16)
                return buffer.bytes[0]
            }
        }
        #expect(try bytes("top", [:]) == [3, 0])
        #expect(try bytes("top", ["backing.file.filename": scratch.path("b")]) == [0, 4])
        #expect(try bytes("alone", ["backing.driver": "qcow2", "backing.file.filename": scratch.path("b")]) == [0, 4])
        #expect(try bytes("top", ["backing": ""]) == [0, 0])
        for wrong in [["backing.foo": "x"], ["backing.driver": "nbd"], ["backing.backing.file.driver": "http"]] {
            #expect(throws: ImageError.self) { _ = try bytes("top", wrong) }
        }
        #expect(throws: ImageError.self) { _ = try bytes("alone", ["backing.driver": "qcow2"]) }
        // Where nothing below is opened its options would be lost silently.
        let name = try ImageName(options: [
            "driver": "qcow2", "file.filename": scratch.path("top"), "backing.file.filename": scratch.path("b"),
        ])
        let error = #expect(throws: ImageError.self) {
            _ = try DiskImage.open(name, options: OpenOptions(openBacking: false))
        }
        #expect(error?.message.contains("'backing.file.filename'") == true)
    }

    @Test func theOverlapCheckIsChosenByName() throws {
        for (value, mode) in [("none", OverlapCheck.none), ("all", .all)] {
            let name = try ImageName(options: ["driver": "qcow2", "file.filename": "x", "overlap-check": value])
            #expect(name.overlapCheck == mode)
        }
        let error = #expect(throws: ImageError.self) {
            _ = try ImageName(options: ["driver": "qcow2", "file.filename": "x", "overlap-check.template": "some"])
        }
        #expect(error?.message.contains("none, constant, cached, all") == true)
    }

    @Test func namesOfFileAndDeviceMeanRawOfThatKind() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("f"), format: "raw", size: 4096)
        #expect(try open(scratch.path("f"), format: "file", readOnly: true).formatName == "raw")
        let error = #expect(throws: ImageError.self) { _ = try open(scratch.path("f"), format: "host_device") }
        #expect(error?.message.contains("device") == true)
        #expect(throws: ImageError.self) { _ = try open("/dev/zero", format: "file", readOnly: true) }
        #expect(try open("/dev/zero", format: "host_device", readOnly: true).formatName == "raw")
    }
}

@Suite struct NameEncodingTests {
    @Test func namesThatAreNotUTF8AreRefusedInsteadOfChanged() throws {
        let scratch = Scratch()
        // What a Latin-1 name from the command line becomes in a string.
        let name = scratch.path(String(decoding: Array("caf".utf8) + [0xe9], as: UTF8.self))
        #expect(throws: ImageError.self) { try DiskImage.create(name, format: "raw", size: 512) }
        try DiskImage.create(scratch.path("in"), format: "raw", size: 512)
        let source = try open(scratch.path("in"), format: "raw", readOnly: true)
        defer { try? source.close() }
        #expect(throws: ImageError.self) {
            try DiskImage.convert(ConvertRequest(sources: [source], targetPath: name, targetFormat: "qcow2"))
        }
        let error = #expect(throws: ImageError.self) { try open(name, readOnly: true) }
        #expect(error?.message.contains("UTF-8") == true)
    }
}
