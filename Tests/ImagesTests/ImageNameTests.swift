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
        #"json:{"driver":"qcow2","file.filename":"x","lazy-refcounts":true}"#,
        #"json:{"driver":"qcow2","driver":"raw","file.filename":"x"}"#,
        #"json:{"driver":"qcow2","file.filename":"x"} y"#,
        "nbd:localhost:10809", "http://example.org/x", "json:" + String(repeating: #"{"a":"#, count: 10_000),
    ]) func otherNamesAreRefusedInASentence(name: String) throws {
        let error = #expect(throws: ImageError.self) { _ = try DiskImage.open(name) }
        #expect(error?.kind == .invalidArgument || error?.kind == .unsupported)
    }

    @Test func aNameAndAnOptionMustAgree() throws {
        let scratch = Scratch()
        try Self.base(scratch)
        let name = #"json:{"driver":"qcow2","file.filename":"PATH"}"#.replacing("PATH", with: scratch.path("base"))
        let error = #expect(throws: ImageError.self) { _ = try open(name, format: "raw", readOnly: true) }
        #expect(error?.kind == .invalidArgument)
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
