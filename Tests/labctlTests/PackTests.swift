import Foundation
import Testing

/// A lab in one file: what comes out is what went in, wherever it is.
@Suite(.serialized) struct PackTests {
    private static let file = """
        lab: class
        images: { golden: { path: images/golden.img, format: raw } }
        vms:
          student:
            replicas: { from: roster.csv }
            memory: ${SIZE:-64M}
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
        """

    private func fixture() throws -> LabFixture {
        let lab = try LabFixture(Self.file)
        try FileManager.default.createDirectory(
            atPath: lab.labFolder + "/images", withIntermediateDirectories: false)
        try FileManager.default.moveItem(atPath: lab.golden, toPath: lab.labFolder + "/images/golden.img")
        try "name\nMüller\n".write(toFile: lab.labFolder + "/roster.csv", atomically: true, encoding: .utf8)
        return lab
    }

    /// Everything of the lab but the packed file goes.
    private func removeAllBut(_ name: String, in lab: LabFixture) throws {
        for other in try FileManager.default.contentsOfDirectory(atPath: lab.labFolder) where other != name {
            try FileManager.default.removeItem(atPath: "\(lab.labFolder)/\(other)")
        }
    }

    @Test func aPackedLabComesUpWithoutAnythingElse() throws {
        let lab = try fixture()
        lab.environment["SIZE"] = "16M"
        let packed = try lab.succeed("pack")
        #expect(packed == lab.labFolder + "/class.labz\n")
        #expect(try lab.run(["pack"]).errors.contains("--force replaces it"))
        try removeAllBut("class.labz", in: lab)
        lab.environment["SIZE"] = nil
        try lab.succeed("up", "class.labz")
        let status = try lab.succeed("status", "class.labz", "--format", "json")
        #expect(status.contains("student-mueller") && status.contains("\"memoryBytes\" : 16777216"), "\(status)")
        // It was unpacked once; a golden image of it is nobody's to write.
        let packs = try FileManager.default.contentsOfDirectory(atPath: lab.folder + "/home/packs")
        #expect(packs.count == 1 && !packs[0].hasSuffix(".tmp"), "\(packs)")
        let golden = "\(lab.folder)/home/packs/\(packs[0])/images/golden.img"
        let mode = try FileManager.default.attributesOfItem(atPath: golden)[.posixPermissions] as? Int
        #expect(mode == 0o444)
        #expect(try Array(Data(contentsOf: URL(fileURLWithPath: golden))) == BootSectorGuest.image)
        try lab.succeed("destroy", "--yes", "class.labz")
    }

    @Test func whatLiesElsewhereIsNamed() throws {
        let lab = try fixture()
        try lab.write(Self.file.replacingOccurrences(of: "images/golden.img", with: "../outside.img"))
        try Data(BootSectorGuest.image).write(to: URL(fileURLWithPath: lab.folder + "/outside.img"))
        let result = try lab.run(["pack"])
        #expect(result.status == 1)
        #expect(result.errors.contains("outside of its folder"), "\(result.errors)")
        #expect(!FileManager.default.fileExists(atPath: lab.labFolder + "/class.labz"))
    }

    @Test func aDamagedFileIsRefusedAndNothingOfItIsKept() throws {
        let lab = try fixture()
        try lab.succeed("pack")
        let path = lab.labFolder + "/class.labz"
        let whole = try Data(contentsOf: URL(fileURLWithPath: path))
        for damage in [whole.prefix(whole.count / 2), Data("no archive".utf8), Data()] {
            try damage.write(to: URL(fileURLWithPath: path))
            let result = try lab.run(["plan", "class.labz"])
            #expect(result.status == 1)
            #expect(result.errors.contains("class.labz is no packed lab, or is damaged"), "\(result.errors)")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: lab.folder + "/home/packs").isEmpty)
        #expect(try lab.run(["plan", "nobody.labz"]).errors.contains("there is no file nobody.labz"))
    }
}
