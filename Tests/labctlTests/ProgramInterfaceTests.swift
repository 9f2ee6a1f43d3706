import Foundation
import Testing

/// What other programs drive labctl by: the inventory for Ansible, the monitor, messages about VMs that are off.
@Suite(.serialized) struct ProgramInterfaceTests {
    private static let file = """
        lab: programs
        vms:
          web-server: { replicas: 2, memory: 16M, disks: { hda: { base: golden } }, ready: { console: "login: ", timeout: 60s } }
          teacher: { memory: 16M, disks: { hda: { base: golden } }, ready: { console: "login: ", timeout: 60s } }
        images: { golden: { path: golden.img, format: raw } }
        """

    private func object(_ text: String) throws -> [String: Any] {
        try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    @Test func theInventoryHasGroupsHostsAndTheirVariables() throws {
        let lab = try LabFixture(Self.file)
        let inventory = try object(lab.succeed("inventory", "--list"))
        let group = try #require(inventory["web_server"] as? [String: Any])
        #expect(group["hosts"] as? [String] == ["web-server-01", "web-server-02"])
        #expect((inventory["ungrouped"] as? [String: Any])?["hosts"] as? [String] == ["teacher"])
        #expect((inventory["all"] as? [String: Any])?["children"] as? [String] == ["ungrouped", "web_server"])
        let hosts = try #require((inventory["_meta"] as? [String: Any])?["hostvars"] as? [String: [String: Any]])
        #expect(Set(hosts.keys) == ["web-server-01", "web-server-02", "teacher"])
        let host = try object(lab.succeed("inventory", "lab.yaml", "--host", "web-server-02"))
        #expect(host["ansible_connection"] as? String == "labctl")
        #expect(host["labctl_number"] as? Int == 2)
        // The script may run anywhere.
        #expect((host["labctl_file"] as? String)?.hasSuffix("/lab/lab.yaml") == true)
        #expect((host["labctl_file"] as? String)?.hasPrefix("/") == true)
        let some = try object(lab.succeed("inventory", "teacher", "--list"))
        #expect(some["web_server"] == nil)
    }

    @Test func theInventorySaysWhatItDoesNotHave() throws {
        let lab = try LabFixture(Self.file)
        let unknown = try lab.run(["inventory", "--host", "teachr"])
        #expect(unknown.status == 1)
        #expect(unknown.errors.contains("no VM 'teachr'"), "\(unknown.errors)")
        #expect(try lab.run(["inventory", "--list", "--host", "teacher"]).status == 64)
    }

    @Test func theMonitorAnswersAndItsRefusalIsAFailure() throws {
        let lab = try LabFixture(Self.file)
        let off = try lab.run(["monitor", "teacher", "info", "status"])
        #expect(off.status == 1)
        #expect(off.errors.contains("teacher is not running"), "\(off.errors)")
        try lab.succeed("up", "teacher")
        #expect(try lab.succeed("monitor", "teacher", "info", "status") == "VM status: running\n")
        try lab.succeed("monitor", "teacher", "stop")
        #expect(try lab.succeed("monitor", "teacher", "info", "status").contains("paused"))
        try lab.succeed("monitor", "teacher", "cont")
        for wrong in [["nosuch"], ["eject", "nodrive"]] {
            let refused = try lab.run(["monitor", "teacher"] + wrong)
            #expect(refused.status == 1 && refused.output.isEmpty, "\(refused.output)")
            #expect(refused.errors.hasPrefix("error: teacher: "), "\(refused.errors)")
        }
        #expect(try lab.run(["monitor", "teacher"]).status == 64)
    }

    @Test func aCommandForAVMThatWasNeverUpSaysHowToStartIt() throws {
        let lab = try LabFixture(Self.file)
        let refused = try lab.run(["exec", "teacher", "true"])
        #expect(refused.status == 125)
        #expect(refused.errors.contains("teacher is not running; 'labctl up teacher'"), "\(refused.errors)")
    }

    @Test func verbsOfOtherToolsAreAnsweredWithOurs() throws {
        let lab = try LabFixture(Self.file)
        for (verb, ours) in [
            ("ps", "labctl status"), ("stop", "labctl down"), ("ssh", "labctl console"), ("stauts", "'status'"),
        ] {
            let refused = try lab.run([verb])
            #expect(refused.status == 64)
            #expect(refused.errors.contains(ours), "\(refused.errors)")
        }
        #expect(try lab.succeed("--version").hasPrefix("labctl "))
    }

    @Test func aFileThatCannotBeCopiedSaysWhatTheSystemSays() throws {
        let lab = try LabFixture(Self.file)
        let refused = try lab.run(["cp", "nosuch", "teacher:/tmp/"])
        #expect(refused.status == 1)
        #expect(refused.errors.contains("cannot read nosuch: No such file or directory"), "\(refused.errors)")
    }
}
