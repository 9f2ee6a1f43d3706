import Foundation
import Testing

/// VMs without a serial console, and VMs that are started again by themselves.
@Suite(.serialized) struct LabWorkTests {
    private static func lab(_ more: String) -> String {
        """
        lab: work
        images: { golden: { path: golden.img, format: raw } }
        vms:
          alpha:
            memory: 16M
            disks: { hda: { base: golden } }
            \(more)
        """
    }

    @Test func theScreenCanBeReadAndWaitedFor() throws {
        let lab = try LabFixture(Self.lab(#"ready: { screen: "Booting from Hard Disk", timeout: 60s }"#))
        try lab.succeed("up")
        #expect(try lab.states() == ["alpha": "ready"])
        let screen = try lab.succeed("screen", "alpha", "--text")
        #expect(screen.contains("SeaBIOS (version"), "\(screen)")
        try lab.succeed("wait", "alpha", "--screen", "--regex", "^SeaBIOS .version [0-9.]+")
        let missed = try lab.run(["wait", "alpha", "--screen", "--timeout", "300ms", "Windows"])
        #expect(missed.status == 6)
        #expect(missed.errors.contains("did not show 'Windows' in time; it shows"), "\(missed.errors)")
    }

    @Test func keysReachTheGuest() throws {
        let lab = try LabFixture(Self.lab(#"ready: { console: "login: ", timeout: 60s }"#))
        try lab.succeed("up")
        try lab.succeed("wait", "alpha", "login: ")
        // The BIOS resets the PC.
        try lab.succeed("send", "alpha", "--keys", "Ctrl-Alt-Del")
        try lab.succeed("wait", "alpha", "login: ", "--timeout", "60s")
        let unknown = try lab.run(["send", "alpha", "--keys", "ctrl-nosuch"])
        #expect(unknown.status == 1)
        #expect(unknown.errors.contains("unknown key: 'nosuch'"), "\(unknown.errors)")
        let missing = try lab.run(["send", "alpha", "--type", "grün"])
        #expect(missing.errors.contains("the keyboard layout 'us' has no key for 'ü'; de has one"), "\(missing.errors)")
        #expect(try lab.run(["send", "alpha", "x", "--keys", "a"]).status == 64)
    }

    @Test func checksAreGraded() throws {
        let lab = try LabFixture(
            Self.lab(
                """
                ready: { console: "login: ", timeout: 60s }
                    checks:
                      - { id: greets, title: It greets, points: 2, console: "login: " }
                      - { id: boots, screen: { regex: "^Booting from" } }
                      - { id: never, points: 7, hint: Say it, console: nothing, timeout: 1s }
                """))
        let down = try lab.run(["check"])
        #expect(down.status == 1)
        #expect(down.output.contains("alpha is not running"), "\(down.output)")
        try lab.succeed("up")
        let result = try lab.run(["check", "--format", "gradescope", "-o", "results.json"])
        #expect(result.status == 1)
        #expect(result.errors.contains("2 of 3 checks passed, 3 of 10 points"), "\(result.errors)")
        let report = try String(contentsOfFile: lab.labFolder + "/results.json", encoding: .utf8)
        #expect(report.contains("\"score\" : 3"), "\(report)")
        #expect(try lab.run(["check", "beta"]).errors.contains("no VM 'beta'"))
    }

    // MARK: restart

    private func restarts(_ lab: LabFixture) throws -> Int { try lab.value("restarts", of: "alpha") }

    /// Waits for a state; what never comes is the test's time limit's to end.
    private func comes(to state: String, _ lab: LabFixture) throws {
        for _ in 0..<3000 {
            if try lab.states()["alpha"] == state { return }
            usleep(10_000)
        }
        Issue.record("alpha is \(try lab.states()["alpha"] ?? "gone"), not \(state)")
    }

    @Test func aVMThatIsKeptAlwaysComesBackUntilItIsStopped() throws {
        let lab = try LabFixture(Self.lab("restart: always\n    ready: { console: \"login: \", timeout: 60s }"))
        try lab.succeed("up")
        try lab.succeed("wait", "alpha", "login: ")
        try lab.succeed("send", "alpha", #"q\n"#)
        try lab.succeed("wait", "alpha", "login: ", "--timeout", "60s")
        #expect(try restarts(lab) == 1)
        #expect(try lab.value("note", of: "alpha") == "started again 1 time; before that: the guest powered off")
        #expect(try lab.succeed("events").contains("\"restarted\""))
        try lab.succeed("down")
        #expect(try lab.states() == ["alpha": "stopped"])
        // One that waits for its next start is stopped too.
        try lab.succeed("up")
        try lab.succeed("send", "alpha", #"q\n"#)
        try comes(to: "restarting", lab)
        try lab.succeed("down")
        #expect(try lab.states() == ["alpha": "stopped"])
    }

    @Test func aVMThatIsKeptOnFailureStaysDownWhenItsGuestPowersOff() throws {
        let lab = try LabFixture(Self.lab("restart: on-failure\n    ready: { console: \"login: \", timeout: 60s }"))
        try lab.succeed("up")
        try lab.succeed("wait", "alpha", "login: ")
        let watcher: Int = try lab.value("processID", of: "alpha")
        let children = try String(contentsOfFile: "/proc/\(watcher)/task/\(watcher)/children", encoding: .utf8)
        let child = try #require(Int32(children.split(separator: " ").first ?? ""))
        kill(child, SIGKILL)
        try lab.succeed("wait", "alpha", "login: ", "--timeout", "60s")
        #expect(try restarts(lab) == 1)
        try lab.succeed("send", "alpha", #"q\n"#)
        try comes(to: "stopped", lab)
        #expect(try lab.value("note", of: "alpha") == "the guest powered off")
    }

    @Test func aVMThatCannotStartIsNotTriedForEver() throws {
        let lab = try LabFixture(Self.lab("restart: always\n    kernel: golden.img"))
        let up = try lab.run(["up"])
        #expect(up.status != 0)
        // What ended is told of by its watcher, which may still be on its way.
        var state: String?
        for _ in 0..<100 where state != "failed" {
            state = try lab.states()["alpha"]
            usleep(100_000)
        }
        #expect(state == "failed")
    }
}
