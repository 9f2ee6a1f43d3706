import Testing

@testable import LabSpec

@Suite struct LabModelTests {
    private func lab(_ name: String) throws -> Lab {
        let loaded = try #require(GoldenFile.all.first { $0.name == name }).load()
        return try #require(loaded.lab, "\(loaded.rendered(as: .concise))")
    }

    @Test func everyKeyReachesTheModel() throws {
        let lab = try lab("valid-classroom")
        #expect(lab.name == "intro-to-unix")
        #expect(lab.images.map(\.name) == ["debian", "old-server", "scratch", "patched", "installed"])
        #expect(lab.networks.map(\.name) == ["lan", "empty"])

        guard case .file(let debian)? = lab.image(named: "debian")?.source else { return #expect(Bool(false)) }
        #expect(debian.format == .qcow2)
        #expect(debian.path.written == "images/debian-12.qcow2")
        #expect(debian.path.absolute == GoldenFile.folder.path + "/images/debian-12.qcow2")
        #expect(debian.sha256?.hasSuffix("ab") == true)

        guard case .convert(let convert)? = lab.image(named: "old-server")?.source else { return #expect(Bool(false)) }
        guard case .path(let vmdk) = convert.from else { return #expect(Bool(false)) }
        #expect(vmdk.written == "server.vmdk" && convert.compress && convert.format == .qcow2)

        guard case .build(let patched)? = lab.image(named: "patched")?.source else { return #expect(Bool(false)) }
        #expect(patched.start == .image(.named("debian")))
        #expect(patched.steps.first == LabStep(.wait("login: ")) && patched.steps[1] == LabStep(.send("root\n")))
        #expect(patched.timeout == .minutes(20) && patched.memory == .mebibytes(512))

        guard case .build(let installed)? = lab.image(named: "installed")?.source else { return #expect(Bool(false)) }
        #expect(installed.start == .emptyDisk(.gibibytes(10)) && installed.boot == [.cdrom])

        let student = try #require(lab.vm(named: "student"))
        #expect(student.replicas == 30 && student.memory == .mebibytes(256) && student.cpus == 2)
        #expect(student.accelerator == .jit && student.boot == [.disk])
        #expect(student.disks[.hda]?.image == .named("patched") && student.disks[.hda]?.mode == .overlay)
        #expect(student.disks[.hdb]?.mode == .readOnly)
        #expect(student.ready?.console == "login: " && student.ready?.timeout == .minutes(2))
        #expect(student.dependsOn == ["teacher"] && student.networks == ["lan"] && student.restart == .onFailure)

        let kernel = try #require(lab.vm(named: "kernel-only"))
        #expect(kernel.kernel?.append == "console=ttyS0")
        #expect(kernel.kernel?.initrd?.written == "boot/initrd.gz")
        #expect(kernel.restart == .no && kernel.disks[.hdc]?.mode == .direct && kernel.floppy != nil)
        #expect(kernel.boot == BootDevice.defaultOrder)
    }

    @Test func keysKnowTheirPlaces() throws {
        let student = try #require(try lab("valid-classroom").vm(named: "student"))
        let text = try #require(GoldenFile.all.first { $0.name == "valid-classroom" }).load().source
        #expect(text.excerpt(student.spans.name) == "student")
        #expect(text.excerpt(student.spans.key("memory")) == "memory")
        #expect(text.excerpt(student.spans.value("memory")) == "256M")
        #expect(text.excerpt(student.spans.item("lan", of: "networks")) == "lan")
        #expect(student.disks[.hdb].flatMap { text.excerpt($0.spans.value("image")) } == "shared.qcow2")
    }

    @Test func mergeKeysGiveWayToWrittenOnes() throws {
        let lab = try lab("valid-anchors")
        #expect(lab.vm(named: "first")?.memory == .mebibytes(384))
        #expect(lab.vm(named: "second")?.memory == .mebibytes(64))
        #expect(lab.vm(named: "second")?.disks.keys.sorted() == [.hda, .hdb])
        #expect(lab.vm(named: "third")?.replicas == 3)
        #expect(lab.vm(named: "third")?.ready?.console == "${HOME} $5 is empty")
        guard case .create(let golden)? = lab.image(named: "golden")?.source else { return #expect(Bool(false)) }
        #expect(golden.size == .mebibytes(1536))
    }

    @Test func replicasAreNumberedWithEnoughDigits() throws {
        let lab = try lab("valid-classroom")
        let instances = lab.instances()
        #expect(instances.count == 32)
        #expect(instances.map(\.name).filter { $0.hasPrefix("student") }.first == "student-01")
        #expect(instances.map(\.name).filter { $0.hasPrefix("student") }.last == "student-30")
        #expect(lab.instances(named: "student").count == 30)
        #expect(lab.instances(named: "student-07").map(\.number) == [7])
        #expect(lab.instances(named: "teacher").map(\.number) == [nil])
        #expect(lab.instances(named: "nobody").isEmpty)

        var vm = VM(name: "n")
        vm.replicas = 1
        #expect(vm.instanceNames == ["n-01"])
        vm.replicas = 100
        #expect(vm.instanceNames.first == "n-001" && vm.instanceNames.last == "n-100")
    }

    @Test func dependingOnAGroupIsDependingOnAllOfIt() throws {
        var group = VM(name: "db")
        group.replicas = 2
        var web = VM(name: "web")
        web.dependsOn = ["db"]
        let lab = Lab(name: "l", vms: [group, web])
        #expect(lab.instances(named: "web")[0].dependsOn == ["db-01", "db-02"])
    }

    @Test func layoutIsNoDifference() {
        let compact = load("lab: a\nvms: {m: {cdrom: x.iso, memory: 64M}}")
        let wide = load("# wide\nvms:\n\n  m:\n    memory: 65536K\n    cdrom: 'x.iso'\nlab: a\n")
        #expect(compact.lab != nil && compact.lab == wide.lab)
    }

    @Test(arguments: [
        ("rel/a.iso", "/labs/here/rel/a.iso"), ("./a.iso", "/labs/here/a.iso"), ("../a.iso", "/labs/here/../a.iso"),
        ("/abs//a.iso", "/abs/a.iso"), ("~/a.iso", "/home/user/a.iso"),
    ])
    func pathsStartAtTheLabFilesFolder(written: String, absolute: String) {
        let lab = load("lab: a\nvms: {m: {cdrom: \(written)}}").lab
        #expect(lab?.vms[0].cdrom == .path(LabPath(written: written, absolute: absolute)))
    }

    @Test(arguments: ["no", "yes", "on", "off", "y", "12:30", "1_000", "0b1", "1e", "e1", "-", ".", "+"])
    func plainScalarsThatYAML12CallsTextAreText(word: String) {
        let scalar = Node.Scalar(text: word, isPlain: true, hasVariable: false)
        #expect(scalar.type == .string)
    }

    @Test(arguments: [
        ("null", CoreType.null), ("~", .null), ("", .null), ("True", .boolean(true)), ("FALSE", .boolean(false)),
        ("12", .integer(12)), ("-3", .integer(-3)), ("+4", .integer(4)), ("0o17", .integer(15)),
        ("0xfF", .integer(255)),
        ("099", .integer(99)), ("1.5", .float), ("1.", .float), (".5", .float), ("1e3", .float), ("-2.5E-7", .float),
        (".inf", .float), ("-.INF", .float), (".nan", .float), ("99999999999999999999", .integer(nil)),
    ])
    func plainScalarsHaveTheCoreSchemasTypes(text: String, type: CoreType) {
        #expect(Node.Scalar(text: text, isPlain: true, hasVariable: false).type == type)
        #expect(Node.Scalar(text: text, isPlain: false, hasVariable: false).type == .string)
    }

    @Test func theStarterLabIsValid() {
        for starter in [
            StarterLab(name: "a"), StarterLab(name: "a", image: "my disk.qcow2", cdrom: "cd"),
            StarterLab(name: "101", image: "${x}.raw", cdrom: "a: b.iso"),
        ] {
            let loaded = load(starter.text)
            #expect(loaded.isValid && loaded.diagnostics.isEmpty, "\(loaded.rendered(as: .pretty))")
        }
        let lab = load(StarterLab(name: "a", image: "${x}.raw").text).lab
        guard case .file(let file)? = lab?.images[0].source else { return #expect(Bool(false)) }
        #expect(file.path.written == "${x}.raw" && file.format == .raw)
    }
}

/// Loads a text as the file /labs/here/lab.yaml.
func load(_ text: String, set: [String: String] = [:]) -> LoadedLab {
    LabFile.load(
        text: text, fileName: "lab.yaml", realPath: "/labs/here/lab.yaml",
        variables: LabVariables(environment: ["HOME": "/home/user"], set: set), checksFiles: false)
}
