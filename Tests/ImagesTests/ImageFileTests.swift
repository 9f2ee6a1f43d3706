import Testing

@testable import Images

/// Which files an open image consists of, and that some of them can be kept from being written.
@Suite struct ImageFileTests {
    private func identity(_ path: String) throws -> FileStorage.FileIdentity {
        try #require(DiskImage.identity(of: path))
    }

    /// An image of two files: itself and what it names. Returns its path and that of the other file.
    private func imageOfTwoFiles(_ scratch: Scratch, _ kind: String) throws -> (image: String, other: String) {
        if kind == "data file" {
            let image = scratch.path("a.qcow2"), other = scratch.path("a.raw")
            try DiskImage.create(image, format: "qcow2", size: 1 << 20, options: ["data_file": other])
            return (image, other)
        }
        let image = scratch.path("a.vmdk"), other = scratch.path("a-flat.vmdk")
        try DiskImage.create(image, format: "vmdk", size: 1 << 20, options: ["subformat": "monolithicFlat"])
        return (image, other)
    }

    @Test(arguments: ["data file", "flat extent"]) func everyFileIsListedWithItsMode(kind: String) throws {
        let scratch = Scratch()
        let (image, other) = try imageOfTwoFiles(scratch, kind)
        for readOnly in [true, false] {
            let device = try open(image, readOnly: readOnly)
            let files = DiskImage.files(of: device)
            try device.close()
            #expect(files.map(\.identity) == [try identity(image), try identity(other)])
            #expect(files.allSatisfy { $0.isWritable == !readOnly && $0.layer == 0 })
        }
    }

    @Test func layersBelowAreListedAsReadOnly() throws {
        let scratch = Scratch()
        try DiskImage.create(scratch.path("base.qcow2"), format: "qcow2", size: 1 << 20)
        try DiskImage.createOverlay(scratch.path("top.qcow2"), backing: "base.qcow2", backingFormat: "qcow2")
        let device = try open(scratch.path("top.qcow2"))
        defer { try? device.close() }
        let files = DiskImage.files(of: device)
        #expect(files.map(\.layer) == [0, 1])
        #expect(files.map(\.isWritable) == [true, false])
        #expect(
            files.map(\.identity) == [
                try identity(scratch.path("top.qcow2")), try identity(scratch.path("base.qcow2")),
            ])
    }

    @Test(arguments: ["data file", "flat extent"]) func aProtectedFileIsNotOpenedForWriting(kind: String) throws {
        let scratch = Scratch()
        let (image, other) = try imageOfTwoFiles(scratch, kind)
        for golden in [image, other] {
            // Another name of the same file protects as well.
            let alias = scratch.path("alias")
            #expect(try run(["ln", "-f", golden, alias]).status == 0)
            var options = OpenOptions(readOnly: false)
            options.protectedFiles = [try identity(alias)]
            let error = #expect(throws: ImageError.self) { try DiskImage.open(image, options: options) }
            #expect(error?.kind == .permission)
            options.readOnly = true
            try DiskImage.open(image, options: options).close()
        }
    }
}
