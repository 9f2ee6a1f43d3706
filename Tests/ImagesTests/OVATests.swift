import Foundation
import Testing

@testable import Images

/// Appliances made by tar from a descriptor and disks of ours.
private struct Appliance {
    let scratch = Scratch()
    var content: [[UInt8]] = []
    var names: [String] = []

    static func descriptor(_ files: [(href: String, extra: String)]) -> String {
        var out = "<?xml version=\"1.0\"?>\n<!-- made by a test -->\n"
        out += "<Envelope xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\"><References>"
        for (index, file) in files.enumerated() {
            out += "<File ovf:id=\"file\(index)\" ovf:href=\"\(file.href)\" \(file.extra)/>"
        }
        out += "<File ovf:id='cd' ovf:href='cd.iso'/></References><DiskSection><Info>Disks &amp; more</Info>"
        out += "<Disk ovf:diskId=\"empty\" ovf:capacity=\"10\"/>"
        for index in files.indices { out += "<Disk ovf:diskId=\"d\(index)\" ovf:fileRef=\"file\(index)\"/>" }
        return out + "</DiskSection></Envelope>\n"
    }

    /// One appliance with a disk of each of the formats.
    init(_ formats: [(format: String, options: [String: String])], tar: String = "ustar") throws {
        var random = SeededRandom(51)
        for (index, kind) in formats.enumerated() {
            var disk = [UInt8](repeating: 0, count: 3 << 20)
            disk.replaceSubrange(700_000 + index..<1_400_000 + index, with: random.bytes(700_000))
            try Data(disk).write(to: URL(fileURLWithPath: scratch.path("raw\(index)")))
            let name = "disk\(index).\(kind.format)"
            var request = ConvertRequest(
                sources: [try open(scratch.path("raw\(index)"), format: "raw", readOnly: true)],
                targetPath: scratch.path(name), targetFormat: kind.format)
            request.options = kind.options
            try DiskImage.convert(request)
            content.append(disk)
            names.append(name)
        }
        try write(Self.descriptor(names.map { ($0, "") }), "vm.ovf")
        let sums = try run(
            ["sh", "-c", "sha256sum --tag *.ovf disk* | sed 's/ (/(/;s/) =/)=/' > vm.mf"], in: scratch.folder)
        #expect(sums.status == 0, "\(sums.output)")
        try pack(tar)
    }

    func write(_ text: String, _ name: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: scratch.path(name)))
    }

    func pack(_ kind: String = "ustar") throws {
        let result = try run(
            ["sh", "-c", "rm -f vm.ova; tar --format=\(kind) -cf vm.ova vm.ovf vm.mf disk*"], in: scratch.folder)
        #expect(result.status == 0, "\(result.output)")
    }

    var path: String { scratch.path("vm.ova") }
    func check(data: Bool) throws -> CheckResult {
        let device = try open(path, readOnly: true)
        defer { try? device.close() }
        return try DiskImage.check(device, repair: .none, verifyData: data)
    }
}

@Suite struct OVATests {
    @Test(arguments: ["ustar", "gnu", "pax", "oldgnu"]) func readsTheDiskInside(tar: String) throws {
        let appliance = try Appliance(
            [("vmdk", ["subformat": "streamOptimized"]), ("vdi", [:]), ("qcow2", [:])], tar: tar)
        #expect(try DiskImage.probe(appliance.path) == "ova")
        for (name, index) in [("", 0), ("#disk0.vmdk", 0), ("#disk1.vdi", 1), ("#3", 2)] {
            let device = try open(appliance.path + name, readOnly: true)
            try DiskModel(bytes: appliance.content[index]).check(device)
            try device.close()
        }
        let missing = #expect(throws: ImageError.self) { _ = try open(appliance.path + "#4", readOnly: true) }
        #expect(missing?.kind == .notFound)
        #expect(try appliance.check(data: true).corruptions == 0)
    }

    @Test func aDiskOfSeveralMembersIsReadFromTheArchive() throws {
        let appliance = try Appliance([("vmdk", ["subformat": "monolithicFlat"])])
        try FileManager.default.removeItem(atPath: appliance.scratch.path("disk0-flat.vmdk"))
        let device = try open(appliance.path, readOnly: true)
        try DiskModel(bytes: appliance.content[0]).check(device)
    }

    @Test(arguments: ["gnu", "pax"]) func longNamesAreRead(tar: String) throws {
        let appliance = try Appliance([("vmdk", ["subformat": "streamOptimized"])])
        let long = "disk-" + String(repeating: "long", count: 45) + ".vmdk"
        try FileManager.default.moveItem(
            atPath: appliance.scratch.path("disk0.vmdk"), toPath: appliance.scratch.path(long))
        try appliance.write(Appliance.descriptor([(long, "")]), "vm.ovf")
        try appliance.pack(tar)
        try DiskModel(bytes: appliance.content[0]).check(try open(appliance.path, readOnly: true))
    }

    @Test func checkComparesTheManifest() throws {
        let appliance = try Appliance([("vmdk", ["subformat": "streamOptimized"])])
        try appliance.write("SHA256(vm.ovf)= 00ff\nSHA256(gone.vmdk)= 12\nSHA1(vm.mf)= 34\n", "vm.mf")
        try appliance.pack()
        #expect(try appliance.check(data: false).corruptions == 0)
        let result = try appliance.check(data: true)
        #expect(result.corruptions == 2)
        #expect(result.checkErrors == 1)
    }

    @Test(arguments: [
        ("ovf:compression=\"bzip2\"", "disk0.vmdk", ImageError.Kind.unsupported),
        ("ovf:compression=\"gzip\"", "disk0.vmdk", .corrupt),
        ("ovf:chunkSize=\"1000\"", "disk0.vmdk", .unsupported), ("", "absent.vmdk", .corrupt),
    ]) func whatCannotBeReadIsRefused(extra: String, href: String, kind: ImageError.Kind) throws {
        let appliance = try Appliance([("vmdk", ["subformat": "streamOptimized"])])
        try appliance.write(Appliance.descriptor([(href, extra)]), "vm.ovf")
        try appliance.pack()
        let error = #expect(throws: ImageError.self) { _ = try open(appliance.path, readOnly: true) }
        #expect(error?.kind == kind)
    }

    @Test func aDiskInsideCannotLeadOutOfTheArchive() throws {
        let appliance = try Appliance([("qcow2", [:])])
        try appliance.write("secret", "secret.raw")
        var request = CreateRequest(path: appliance.scratch.path("disk0.qcow2"), size: 1 << 20)
        request.backing = BackingReference(file: "secret.raw", format: "raw")
        try DiskImage.create(request, format: "qcow2")
        try appliance.pack()
        let backed = #expect(throws: ImageError.self) { _ = try open(appliance.path, readOnly: true) }
        #expect(backed?.kind == .unsupported)
        // An extent that is in the folder but not in the archive.
        let extent = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\nRW 8 FLAT \"secret.raw\" 0\n"
        try appliance.write(extent, "disk0.vmdk")
        try appliance.write(Appliance.descriptor([("disk0.vmdk", "")]), "vm.ovf")
        try appliance.pack()
        let outside = #expect(throws: ImageError.self) { _ = try open(appliance.path, readOnly: true) }
        #expect(outside?.kind == .notFound)
    }

    @Test func damageEndsInAnErrorNotACrash() throws {
        let appliance = try Appliance([("vmdk", ["subformat": "streamOptimized"])])
        let good = [UInt8](try Data(contentsOf: URL(fileURLWithPath: appliance.path)))
        var random = SeededRandom(52)
        for round in 0..<300 {
            var file = good
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                file[Int.random(in: 0..<[512, 3000, 20_000][round % 3], using: &random)] =
                    UInt8(truncatingIfNeeded: random.next())
            }
            if round % 4 == 0 { file.removeLast(Int.random(in: 1..<file.count, using: &random)) }
            let storage = MemoryStorage(content: file, readOnly: true)
            guard let device = try? OVAFormat().open(storage: storage, options: OpenOptions()) else { continue }
            _ = try? device.bytes(at: 0, count: Int(min(device.size, 4 << 20)))
            _ = try? DiskImage.check(device, repair: .none, verifyData: true)
        }
    }

    @Test(arguments: [
        "", "<", "<a", "<a>", "<a b>", "<a b=c/>", "<a b='c>", "<a></b>", "<!DOCTYPE", "<a><![CDATA[x</a>", "</a>",
        String(repeating: "<a>", count: 100_000),
    ]) func malformedXMLIsRefused(text: String) { #expect(XMLTree.parse(Array(text.utf8)) == nil) }

    @Test func xmlTextIsDecodedOnce() {
        let plain = XMLTree.parse(Array("<a:b c:d='&lt;&#65;&#x42;&y;'>1<![CDATA[<&>]]>&amp;lt;<e/></a:b>".utf8))
        #expect(plain?.attributes == ["d": "<AB&y;"])
        #expect(plain?.text == "1<&>&lt;")
        #expect(plain?.children.map(\.name) == ["e"])
    }
}
