import Foundation
import Testing

/// Several copies of one lab, VMs of a roster, steps that are done once, and what their consoles said together.
@Suite(.serialized) struct LabCopiesTests {
    private static let file = """
        lab: class
        vars: { size: 16M }
        images: { golden: { path: golden.img, format: raw } }
        vms:
          student:
            replicas: { from: roster.csv }
            memory: ${size}
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
            provision:
              - send: "w${row.login}\\r"
              - wait: "# "
              - screen: Booting from Hard Disk
        """

    private func fixture(_ text: String = file) throws -> LabFixture {
        let lab = try LabFixture(text)
        try "name,login\nMüller,jm01\nO'Brien,ob02\n".write(
            toFile: lab.labFolder + "/roster.csv", atomically: true, encoding: .utf8)
        return lab
    }

    @Test func stepsOfProvisionAreDoneOncePerFreshOverlay() throws {
        let lab = try fixture()
        let up = try lab.run(["up", "--progress", "plain"])
        #expect(up.status == 0, "\(up.errors)")
        #expect(up.errors.contains("student-o-brien: provisioning step 1 of 3"), "\(up.errors)")
        #expect(try lab.type("r", on: "student-mueller").contains("disk: jm01"))
        #expect(try lab.type("r", on: "student-o-brien").contains("disk: ob02"))
        // What was done is not done again, not by `up` and not after a restart.
        try lab.type("wmine", on: "student-mueller")
        try lab.succeed("up")
        try lab.succeed("down", "--timeout", "0s", "student-mueller")
        #expect(try !lab.run(["up", "--progress", "plain"]).errors.contains("provisioning"))
        #expect(try lab.type("r", on: "student-mueller").contains("disk: mine"))
        try lab.succeed("reset", "student-mueller")
        #expect(try lab.type("r", on: "student-mueller").contains("disk: jm01"))
        // The roster may be gone: the lab is known.
        try FileManager.default.removeItem(atPath: lab.labFolder + "/roster.csv")
        try FileManager.default.removeItem(atPath: lab.labFolder + "/lab.yaml")
        #expect(try lab.succeed("status", "--lab", "class").contains("student-mueller"))

        // Several consoles at once, whole lines with names.
        let logs = try lab.succeed("logs", "--lab", "class")
        #expect(logs.contains("student-mueller | login: "), "\(logs)")
        #expect(logs.contains("student-o-brien | "), "\(logs)")
        let later = try lab.succeed("logs", "--lab", "class", "student-o-brien", "--since", "2099-01-01T00:00:00Z")
        #expect(later.isEmpty, "\(later)")
        let recent = try lab.succeed("logs", "--lab", "class", "student-o-brien", "--since", "1h")
        #expect(recent.contains("wob02"), "\(recent)")
        #expect(try lab.run(["logs", "--lab", "class", "--since", "yesterday"]).status == 64)
    }

    @Test func aStepThatFailsIsNamedAndBegunAgain() throws {
        let lab = try fixture(Self.file.replacingOccurrences(of: "wait: \"# \"", with: "{ wait: never, timeout: 1s }"))
        let up = try lab.run(["up", "student-o-brien"])
        #expect(up.status == 1, "\(up.errors)")
        #expect(up.errors.contains("provision: step 2 (wait: 'never') failed"), "\(up.errors)")
        #expect(try lab.states()["student-o-brien"] == "ready")
        try lab.write(Self.file)
        try lab.succeed("up", "student-o-brien")
        #expect(try !lab.run(["up", "--progress", "plain", "student-o-brien"]).errors.contains("provisioning"))
    }

    @Test func copiesOfALabRunSideBySide() throws {
        let lab = try fixture(
            """
            lab: class
            images: { golden: { path: golden.img, format: raw } }
            vms:
              student:
                memory: 16M
                disks: { hda: { base: golden } }
                cdrom: "${disc}"
                ready: { console: "login: ", timeout: 60s }
            """)
        for disc in ["one.iso", "two.iso"] {
            try Data(count: 65536).write(to: URL(fileURLWithPath: "\(lab.labFolder)/\(disc)"))
        }
        try "disc=one.iso # the first\n".write(
            toFile: lab.labFolder + "/one.env", atomically: true, encoding: .utf8)
        try lab.succeed("up", "-p", "one", "--env-file", "one.env")
        try lab.succeed("up", "--project", "two", "--set", "disc=two.iso")
        #expect(try lab.succeed("ls").contains("class (two)"))
        try lab.succeed("down", "--timeout", "0s", "-p", "one", "--lab", "class")
        lab.environment["LABCTL_PROJECT"] = "two"
        lab.environment["disc"] = "two.iso"
        #expect(try lab.states() == ["student": "ready"])
        try lab.succeed("destroy", "--yes")
        lab.environment["LABCTL_PROJECT"] = "one"
        #expect(try lab.states() == ["student": "stopped"])
        try lab.succeed("destroy", "--yes")
        #expect(try lab.run(["status", "-p", "no/where"]).status == 64)
        #expect(try lab.run(["status", "--env-file", "nobody.env"]).status == 64)
    }
}
