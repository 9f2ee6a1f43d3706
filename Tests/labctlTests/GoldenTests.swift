import Foundation
import Testing

/// No way leads to writing a golden image, and images name only what a lab lets them.
@Suite(.serialized) struct GoldenTests {
    private static func lab(_ own: String) -> String {
        """
        lab: gold
        images: { golden: { path: golden.img, format: raw } }
        vms:
          alpha:
            memory: 16M
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
          beta:
            memory: 16M
            disks: { hda: { image: \(own), mode: direct } }
        """
    }

    /// Makes an image whose data lies in `data`, then puts the golden image there.
    private func trap(_ lab: LabFixture, _ create: [String], data: String, way: String) throws {
        if !create.isEmpty { try lab.succeedAll(["image", "create"] + create) }
        let path = lab.labFolder + "/" + data
        try? FileManager.default.removeItem(atPath: path)
        if way == "link" {
            try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: lab.golden)
        } else {
            try FileManager.default.linkItem(atPath: lab.golden, toPath: path)
        }
    }

    /// A symbolic link to the golden image itself is found when the lab file is read.
    @Test(arguments: [
        ("data file", "link"), ("data file", "hard link"), ("flat extent", "link"), ("flat extent", "hard link"),
        ("itself", "hard link"),
    ])
    func aDirectDiskThatLeadsToAGoldenImageIsRefused(kind: String, way: String) throws {
        let own = ["data file": "own.qcow2", "flat extent": "own.vmdk", "itself": "own.img"][kind] ?? ""
        let lab = try LabFixture(Self.lab(own))
        let golden = try lab.digestOfGolden()
        switch kind {
        case "data file":
            try trap(
                lab, ["-f", "qcow2", "-o", "data_file=data.raw,data_file_raw=on", own, "1M"], data: "data.raw", way: way
            )
        case "flat extent":
            try trap(
                lab, ["-f", "vmdk", "-o", "subformat=monolithicFlat", own, "1M"], data: "own-flat.vmdk", way: way)
        default: try trap(lab, [], data: own, way: way)
        }
        let up = try lab.run(["up"])
        #expect(up.status != 0)
        #expect(up.errors.contains("golden image"), "\(up.errors)")
        #expect(up.errors.contains("beta"), "\(up.errors)")
        #expect(try lab.allStates() == ["absent"], "nothing is started")
        #expect(try lab.digestOfGolden() == golden)
    }

    @Test func aGoldenImageIsLockedAgainstWritersWhileAVMRunsOnIt() throws {
        let lab = try LabFixture(
            Self.lab("own.img").components(separatedBy: "\n").prefix { !$0.contains("beta") }.joined(separator: "\n"))
        try lab.succeed("up")
        let golden = try lab.digestOfGolden()
        let write = try lab.run(["image", "resize", "-f", "raw", "golden.img", "2M"])
        #expect(write.status == 1)
        #expect(write.errors.contains("lock"), "\(write.errors)")
        #expect(try lab.digestOfGolden() == golden)
        try lab.succeed("down")
    }

    /// The lab's folder is the home folder: what lies there is not open to images.
    @Test(arguments: [true, false]) func aLabInAHomeFolderOpensNoneOfIt(isHome: Bool) throws {
        let file = """
            lab: home
            images: { top: { path: top.qcow2 } }
            vms: { alpha: { memory: 16M, disks: { hda: { base: top } } } }
            """
        let lab = try LabFixture(file)
        if isHome { lab.environment["HOME"] = lab.labFolder }
        try Data("secret".utf8).write(to: URL(fileURLWithPath: lab.labFolder + "/secret.txt"))
        try lab.succeed("image", "create", "-f", "qcow2", "-b", "secret.txt", "-F", "raw", "top.qcow2", "1M")
        let validate = try lab.run(["validate"])
        #expect(validate.status == (isHome ? 4 : 0), "\(validate.output)")
        guard isHome else { return }
        #expect(validate.output.contains("secret.txt"), "\(validate.output)")
        let up = try lab.run(["up"])
        #expect(up.status == 1)
        #expect(up.errors.contains("secret.txt"), "\(up.errors)")
        // Named, it is meant.
        try lab.write(
            file.replacingOccurrences(
                of: "{ top: { path: top.qcow2 } }",
                with: "{ top: { path: top.qcow2 }, low: { path: secret.txt, format: raw } }"))
        try lab.succeed("validate")
    }
}
