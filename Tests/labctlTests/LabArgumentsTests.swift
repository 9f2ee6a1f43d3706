import ArgumentParser
import Foundation
import Testing

@testable import labctl

@Suite struct LabArgumentsTests {
    @Test func whatEndsInYAMLIsTheLabFile() throws {
        let arguments = try LabArguments.parse(["student-01", "dir/intro.lab.yaml", "teacher"])
        #expect(try arguments.labFilePath() == "dir/intro.lab.yaml")
        #expect(arguments.vmNames == ["student-01", "teacher"])
        #expect(try LabArguments.parse(["x.YML"]).labFilePath() == "x.YML")
    }

    @Test func onlyOneLabFileAtATime() {
        #expect(throws: (any Error).self) { try LabArguments.parse(["a.yaml", "b.yml"]) }
    }

    @Test func setTakesNameAndValue() throws {
        let arguments = try LabArguments.parse(["--set", "A=b=c", "--set", "EMPTY="])
        #expect(arguments.variables.set == ["A": "b=c", "EMPTY": ""])
        for wrong in ["A", "=b", ""] {
            #expect(throws: (any Error).self) { try LabArguments.parse(["--set", wrong]) }
        }
    }

    @Test func withoutAFileTheFolderDecides() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "labctl-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        func write(_ name: String) throws { try Data().write(to: folder.appending(path: name)) }

        #expect(throws: ValidationError.self) { try LabArguments.defaultFile(in: folder.path) }
        try write("intro.lab.yaml")
        try write("other.yaml")
        #expect(try LabArguments.defaultFile(in: folder.path) == "intro.lab.yaml")
        try write("second.lab.yaml")
        #expect(throws: ValidationError.self) { try LabArguments.defaultFile(in: folder.path) }
        try write("lab.yaml")
        #expect(try LabArguments.defaultFile(in: folder.path) == "lab.yaml")
    }

    @Test func validateEndsWith4WhereTheFileIsInvalid() throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "labctl-\(UUID().uuidString).yaml")
        defer { try? FileManager.default.removeItem(at: file) }
        func verdict(_ text: String, _ options: String...) throws -> ExitCode {
            try text.write(to: file, atomically: true, encoding: .utf8)
            do {
                try ValidateCommand.parse([file.path, "--format", "concise"] + options).run()
                return .success
            } catch let code as ExitCode {
                return code
            }
        }
        #expect(try verdict("lab: a\nvms: { m: { cdrom: ./\(file.lastPathComponent) } }") == .success)
        #expect(try verdict("lab: a\nvms: { m: { cdrom: no.iso } }") == ExitCode(4))
        #expect(try verdict("lab: a\nvms: { m: { cdrom: no.iso } }", "--skip-files") == .success)
        #expect(try verdict("lab: a\nvms: { m: {} }") == .success)
        #expect(try verdict("lab: a\nvms: { m: {} }", "--strict") == ExitCode(4))
        #expect(try verdict("lab: a\nvms: { m: { disk: {} } }") == ExitCode(4))
    }

    @Test func completionKnowsTheVMsOfTheLab() throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "labctl-\(UUID().uuidString).yaml")
        defer { try? FileManager.default.removeItem(at: file) }
        try "lab: a\nvms: { teacher: {}, pc: { replicas: 2 } }".write(to: file, atomically: true, encoding: .utf8)
        #expect(LabCompletion.vmNames(["status", file.path, "p"]).sorted() == ["pc", "pc-01", "pc-02", "teacher"])
        #expect(LabCompletion.vmNames(["status", "/nowhere.yaml"]).isEmpty)
    }
}
