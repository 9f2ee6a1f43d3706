import Testing

@testable import LabSpec

@Suite struct RosterTests {
    private func roster(_ text: String, name: String? = nil) throws -> Roster { try Roster(text, nameColumn: name) }

    @Test(arguments: [
        ("Müller", "mueller"), ("Jörg Weiß", "joerg-weiss"), ("O'Brien", "o-brien"), ("José Ñandú", "jose-nandu"),
        ("  A  B ", "a-b"), ("Łucja", "lucja"), ("z.B.", "z-b"), ("42", "42"), ("李", ""), ("--", ""),
    ])
    func namesOfPeopleBecomeNamesOfVMs(name: String, suffix: String) {
        #expect(Roster.suffix(name) == suffix)
    }

    @Test func commasSemicolonsAndTabsSeparate() throws {
        for separator in [",", ";", "\t"] {
            let roster = try roster("\u{FEFF}id\(separator)name\r\n1\(separator)Ann\r\n\r\n2\(separator) Bob \n")
            #expect(roster.columns == ["id", "name"] && roster.suffixes == ["ann", "bob"])
            #expect(roster.rows == [["id": "1", "name": "Ann"], ["id": "2", "name": "Bob"]])
        }
    }

    @Test func quotedFieldsHoldAnything() throws {
        let roster = try roster("name,note\n\"A, \"\"B\"\"\",\"two\nlines\"\nC,\"\"\n")
        #expect(roster.rows[0] == ["name": "A, \"B\"", "note": "two\nlines"] && roster.rows[1]["note"] == "")
    }

    @Test(arguments: [
        ("", "empty"), ("name\n", "nothing else"), ("a,a\n1,2\n", "two columns 'a'"), ("a,b\n1\n", "1 fields"),
        ("name\n\"x\n", "not closed"), ("name\nA\na\n", "same name as line 2"), ("name\n!\n", "makes no name"),
        ("name\n" + String(repeating: "x\n", count: 1000), "at most 999"),
    ])
    func whatMakesNoVMsIsSaid(text: String, words: String) {
        let error = #expect(throws: Roster.Fault.self) { try roster(text) }
        #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
    }

    private func lab() throws -> LoadedLab {
        let loaded = try #require(GoldenFile.all.first { $0.name == "valid-roster" }).load()
        #expect(loaded.isValid, "\(loaded.rendered(as: .pretty))")
        return loaded
    }

    @Test func eachRowMakesAVMWithValuesOfItsOwn() throws {
        let lab = try #require(try lab().lab)
        let students = lab.instances(named: "student")
        #expect(students.map(\.name) == ["student-mueller-joerg", "student-o-brien", "student-lucja-nandu"])
        #expect(students.map(\.spec.kernel?.append).first == "console=ttyS0 host=student-mueller-joerg seat=1")
        #expect(students.map { $0.spec.login?.user } == ["jm01", "ob02", "ln03"])
        #expect(students.map { $0.spec.login?.password } == ["j@example.org", "none", "l;n@example.org"])
        #expect(students[1].spec.ready?.console == "O\"Brien login: ")
        #expect(students.allSatisfy { $0.spec.memory == .mebibytes(64) && $0.spec.name == "student" })
        #expect(lab.instances(named: "student-o-brien").map(\.number) == [2])
        #expect(lab.instances(named: "exam").map(\.name) == ["exam-jm01", "exam-ob02", "exam-ln03"])
        #expect(lab.instances(named: "node").map(\.spec.kernel?.append) == ["node=1 of=node-01", "node=2 of=node-02"])
        #expect(lab.instances(named: "server")[0].spec.kernel?.append == "console=ttyS0 host=server seat=1")
        #expect(lab.instances(named: "exam")[0].spec.kernel?.append == "mirror=http://localhost/debian")
    }

    @Test func aKeptLabNeedsItsRosterNoMore() throws {
        let loaded = try lab()
        let again = LabFile.load(
            text: loaded.source.text, fileName: "x.yaml", realPath: "/nowhere/x.yaml",
            variables: LabVariables(environment: loaded.variables),
            rosters: ["/nowhere/roster.csv": try #require(loaded.rosters.values.first)], checksFiles: false)
        #expect(again.lab?.instances().map(\.name) == loaded.lab?.instances().map(\.name))
    }
}

@Suite struct VariableDefaultTests {
    private static let text = "lab: a\nvars: { memory: 64M }\nvms: { m: { memory: '${memory}', cdrom: a.iso } }"

    private func memory(_ variables: LabVariables) -> ByteSize? {
        LabFile.load(
            text: Self.text, fileName: "lab.yaml", realPath: "/labs/lab.yaml", variables: variables, checksFiles: false
        ).lab?.vms[0].memory
    }

    @Test func whoIsNearerToTheUserWins() {
        #expect(memory(LabVariables()) == .mebibytes(64))
        #expect(memory(LabVariables(files: ["memory": "32M"])) == .mebibytes(32))
        #expect(memory(LabVariables(environment: ["memory": "16M"], files: ["memory": "32M"])) == .mebibytes(16))
        let all = LabVariables(environment: ["memory": "16M"], set: ["memory": "8M"], files: ["memory": "32M"])
        #expect(memory(all) == .mebibytes(8))
    }

    @Test func linesOfAnEnvironmentFileAreRead() throws {
        let values = try EnvironmentFile.values(
            "# x\n\nA=1 # one\n export B = 2#3\nC='a # \\n'\nD=\"a\\n\\\"b\\\"\" # x\nE=\r\nA=9\n".replacing(
                " = ", with: "="))
        #expect(values == ["A": "9", "B": "2#3", "C": "a # \\n", "D": "a\n\"b\"", "E": ""])
    }

    @Test(arguments: [("A", "no '='"), ("1A=x", "no name"), ("A='x", "not closed"), ("A='x' y", "behind")])
    func aLineOfAnEnvironmentFileThatIsNoneIsNamed(line: String, words: String) {
        let error = #expect(throws: EnvironmentFile.Fault.self) { try EnvironmentFile.values("B=1\n\(line)\n") }
        #expect(error?.line == 2 && error?.message.contains(words) == true)
    }

    @Test func firmwareKeysReachTheModel() throws {
        let text = """
            lab: a
            vms:
              m:
                cdrom: a.iso
                smbios: { serial: 0815, uuid: 123E4567-E89B-12D3-A456-426614174000, bios_vendor: me }
                ignition: { ignition: { version: 3.4.0, on: true, n: 3, none: null, list: [ "1" ] } }
                provision: [ { wait: "# " }, { screen: "x" }, { run: "true", timeout: 5s } ]
            """
        let vm = try #require(load(text).lab?.vms[0], "\(load(text).rendered(as: .pretty))")
        #expect(
            vm.smbios == [
                SMBIOSField(.serial, "0815"), SMBIOSField(.uuid, "123e4567-e89b-12d3-a456-426614174000"),
                SMBIOSField(.biosVendor, "me"),
            ])
        let json = #"{"ignition": {"version": "3.4.0", "on": true, "n": 3, "none": null, "list": ["1"]}}"#
        #expect(vm.ignition == .text(json))
        #expect(vm.provision.map(\.action) == [.wait("# "), .screen("x"), .run("true")])
    }
}
