import Foundation
import LabSpec
import Testing

@testable import Orchestrator

/// The order in which images are made, and the names they get.
@Suite struct ImageGraphTests {
    private func lab(_ images: [(String, ImageSource)]) -> Lab {
        Lab(name: "test", images: images.map { LabSpec.Image(name: $0.0, source: $0.1) }, path: "/labs/test.yaml")
    }

    private let file = FileSource(path: LabPath(written: "a.vmdk", absolute: "/labs/a.vmdk"), format: .vmdk)

    @Test func inputsStandBeforeWhatIsMadeFromThem() throws {
        let lab = lab([
            ("second", .convert(ConvertRecipe(from: .named("first"), format: .vdi))),
            ("first", .convert(ConvertRecipe(from: .named("source"), format: .qcow2))),
            ("source", .file(file)),
        ])
        let graph = try ImageGraph(lab: lab, needing: [.named("second")])
        #expect(graph.nodes.map(\.label) == ["source", "first", "second"])
    }

    @Test func imagesThatNobodyNeedsAreLeftOut() throws {
        let lab = lab([("used", .file(file)), ("unused", .create(CreateRecipe(size: .gibibytes(1))))])
        #expect(try ImageGraph(lab: lab, needing: [.named("used")]).nodes.map(\.label) == ["used"])
    }

    @Test func whatABuildStandsOnIsMadeBeforeIt() throws {
        var recipe = BuildRecipe(start: .image(.named("base")))
        recipe.cdrom = .named("cd")
        let lab = lab([
            ("patched", .build(recipe)), ("base", .file(file)), ("cd", .create(CreateRecipe(size: .gibibytes(1)))),
        ])
        let graph = try ImageGraph(lab: lab, needing: [.named("patched")])
        #expect(graph.nodes.map(\.label) == ["base", "cd", "patched"])
    }

    private func buildName(_ change: (inout BuildRecipe) -> Void = { _ in }, inputs: [String] = ["base"]) -> String? {
        var recipe = BuildRecipe(start: .image(.named("base")))
        recipe.steps = [LabStep(.wait("login: ")), LabStep(.run("true"))]
        change(&recipe)
        return ImageNode(reference: .named("x"), label: "x", recipe: .build(recipe)).contentName(inputDigests: inputs)
    }

    @Test func whatDecidesTheContentOfABuildDecidesItsName() throws {
        let name = try #require(buildName())
        #expect(name.hasSuffix(".qcow2"))
        let changes: [(inout BuildRecipe) -> Void] = [
            { $0.steps[1] = LabStep(.run("false")) }, { $0.steps.removeLast() }, { $0.steps.swapAt(0, 1) },
            { $0.memory = .mebibytes(64) }, { $0.compress = true }, { $0.boot = [.cdrom] },
            { $0.start = .emptyDisk(.gibibytes(1)) }, { $0.cdrom = .named("cd") },
            { $0.steps.append(LabStep(.keys([KeyChord(keys: ["ret"])]))) },
            { $0.steps.append(LabStep(.sleep(.seconds(1)))) },
        ]
        let names = changes.map { buildName($0) }
        #expect(Set(names + [name]).count == changes.count + 1)
        #expect(buildName(inputs: ["other"]) != name)
    }

    @Test func howLongABuildMayTakeDoesNotDecideItsName() {
        #expect(buildName { $0.timeout = .minutes(1) } == buildName())
        #expect(buildName { $0.steps[0].timeout = .seconds(3) } == buildName())
        let picture = LabStep(.screenshot(LabPath(written: "a.png", absolute: "/a.png")))
        #expect(buildName { $0.steps.append(picture) } == buildName())
    }

    @Test func whereADownloadComesFromDoesNotDecideItsName() {
        func name(_ address: String, _ digest: Character = "a") -> String? {
            let sha256 = String(repeating: digest, count: 64)
            let recipe = ImageNode.Recipe.download(address: ImageAddress(address), format: .qcow2, sha256: sha256)
            return ImageNode(reference: .named("x"), label: "x", recipe: recipe).contentName(inputDigests: [])
        }
        #expect(name("https://one/a.qcow2") == name("http://two/b.qcow2?x=1"))
        #expect(name("https://one/a.qcow2") != name("https://one/a.qcow2", "b"))
        #expect(name("https://one/a.qcow2") != name("https://one/a.qcow2.xz"))
    }

    @Test(
        arguments: [
            ("https://example.org/a/disk.qcow2.xz?x=1#y", "disk.qcow2.xz", Packing.xz, DiskFormat.qcow2, nil),
            ("https://example.org/disk.vhd.GZ", "disk.vhd.GZ", .gzip, .vpc, nil),
            ("http://example.org/cd.iso", "cd.iso", .none, .raw, nil),
            ("http://example.org/disk.img", "disk.img", .none, nil, nil),
            ("http://example.org/xz", "xz", .none, nil, nil),
            ("file:///a%20b/disk.vdi.zst", "disk.vdi.zst", .zstd, .vdi, "/a b/disk.vdi.zst"),
            ("file://localhost/a/100%", "100%", .none, nil, "/a/100%"),
        ] as [(String, String, Packing, DiskFormat?, String?)])
    func anAddressSaysWhatItsNameSays(
        text: String, name: String, packing: Packing, format: DiskFormat?, path: String?
    ) {
        let address = ImageAddress(text)
        #expect(address.fileName == name)
        #expect(address.packing == packing)
        #expect(address.format == format)
        #expect(address.localPath == path)
    }

    @Test func equalRecipesShareANameAndDifferentOnesDoNot() throws {
        func name(_ recipe: ImageNode.Recipe, _ inputs: [String] = []) -> String? {
            ImageNode(reference: .named("x"), label: "x", recipe: recipe).contentName(inputDigests: inputs)
        }
        let small = ImageNode.Recipe.create(format: .qcow2, sizeBytes: 1 << 30)
        #expect(name(small) == name(small))
        #expect(name(small) != name(.create(format: .qcow2, sizeBytes: 2 << 30)))
        #expect(name(small)?.hasSuffix(".qcow2") == true)
        let convert = ImageNode.Recipe.convert(from: .named("a"), format: .qcow2, compress: false)
        #expect(name(convert, ["digest-1"]) != name(convert, ["digest-2"]))
        #expect(name(.file(path: "/a", format: nil, sha256: nil)) == nil)
    }

    @Test func theGraphForPeopleHasEveryImageAndVM() {
        var lab = lab([("golden", .file(file))])
        var student = VM(name: "student")
        student.replicas = 3
        student.disks[.hda] = Disk(image: .named("golden"))
        student.dependsOn = ["teacher"]
        lab.vms = [VM(name: "teacher"), student]
        let graph = LabGraph(lab)
        #expect(
            graph.text == """
                golden (image, file a.vmdk)
                  └ hda overlay: student (3 VMs)
                teacher (VM)
                student starts after teacher

                """)
        #expect(graph.dot.contains("\"golden\" -> \"student\" [label=\"hda overlay\"];"))
    }

    @Test func theGraphAsAPictureHasEveryNodeAndEdgeAndEscapesTheirText() {
        var lab = lab([("golden", .file(FileSource(path: LabPath(written: "a&\"b\".img", absolute: "/a"))))])
        var student = VM(name: "student")
        student.disks[.hda] = Disk(image: .named("golden"))
        student.dependsOn = ["teacher"]
        lab.vms = [VM(name: "teacher"), student]
        let svg = LabGraph(lab).svg
        #expect(svg.hasPrefix("<svg xmlns=\"http://www.w3.org/2000/svg\""))
        #expect(svg.contains(">file a&amp;&quot;b&quot;.img</text>"))
        #expect(svg.components(separatedBy: "<path d=\"M").count - 1 == 3, "two edges and the tip of the arrows")
        #expect(svg.components(separatedBy: "rx=").count - 1 == 3)
        #expect(
            LabGraph(lab).mermaid == """
                flowchart LR
                  n0[("golden<br/>file a&#quot;b#quot;.img")]
                  n1["teacher<br/>VM"]
                  n2["student<br/>VM"]
                  n0 -->|"hda overlay"| n2
                  n1 -.->|"depends_on"| n2

                """)
    }

    @Test(arguments: [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")])
    func base64IsThatOfTheStandard(text: String, encoded: String) {
        #expect(Base64.encode(Array(text.utf8)) == encoded)
    }
}
