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

    @Test func anImageThatIsBuiltByAVMIsRefusedByName() {
        let lab = lab([("patched", .build(BuildRecipe(start: .image(.named("base")))))])
        #expect {
            try ImageGraph(lab: lab, needing: [.named("patched")])
        } throws: { error in
            (error as? OrchestratorError)?.kind == .unsupported
                && (error as? OrchestratorError)?.message.contains("'patched'") == true
        }
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
}
