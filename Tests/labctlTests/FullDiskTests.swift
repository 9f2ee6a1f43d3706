import Foundation
import Testing
import VMProtocol

/// A host whose disk is full: nothing is lost, the guest waits, and everybody is told.
@Suite(.serialized, .enabled(if: SmallDisk.canBeMade, "needs the right to mount a tmpfs"))
struct FullDiskTests {
    private static let lab = """
        lab: full
        images: { golden: { path: golden.img, format: raw } }
        vms:
          alpha:
            memory: 16M
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
        """

    private func note(_ lab: LabFixture) throws -> String {
        (try lab.status().first?["note"] as? String) ?? ""
    }

    private func waitFor(_ what: String, _ condition: () throws -> Bool) throws {
        for _ in 0..<1500 {
            if try condition() { return }
            usleep(20_000)
        }
        Issue.record("waited in vain for \(what)")
    }

    @Test func aGuestThatWritesIsPausedAndGoesOnWhenThereIsRoom() throws {
        let lab = try LabFixture(Self.lab)
        let disk = try SmallDisk(at: lab.folder + "/home", mebibytes: 4)
        lab.attached = disk
        try lab.succeed("up")
        disk.fill()
        try lab.succeed("send", "alpha", #"wmine\n"#)
        try waitFor("a pause") { try lab.states()["alpha"] == "paused" }
        #expect(try note(lab).contains("No space left on device"))
        #expect(try note(lab).contains("hda.qcow2"))
        try waitFor("an event") { try lab.succeed("events").contains("\"io-error\"") }
        // It stays so until there is room, whoever asks it to go on.
        let client = try SocketClient(try lab.value("monitorSocket", of: "alpha"))
        client.write(#"{"execute":"qmp_capabilities"}{"execute":"cont"}{"execute":"query-status"}"#)
        #expect(client.read(until: #""status":"io-error""#) != nil)
        disk.empty()
        try waitFor("the guest to go on") { try lab.states()["alpha"] == "ready" }
        #expect(try lab.succeed("wait", "alpha", "# ", "--timeout", "20s", "--show").contains("wmine"))
        #expect(try lab.type("r", on: "alpha").contains("disk: mine"))
        #expect(try lab.succeed("events").contains("\"resumed\""))
    }

    @Test func aPausedGuestCanBeStopped() throws {
        let lab = try LabFixture(Self.lab)
        let disk = try SmallDisk(at: lab.folder + "/home", mebibytes: 4)
        lab.attached = disk
        try lab.succeed("up")
        disk.fill()
        try lab.succeed("send", "alpha", #"wmine\n"#)
        try waitFor("a pause") { try lab.states()["alpha"] == "paused" }
        try lab.succeed("down", "--timeout", "0s")
        #expect(try lab.states()["alpha"] == "stopped")
        disk.empty()
        try lab.succeed("up")
    }

    @Test func aDiskThatReportsErrorsPausesNobody() throws {
        let lab = try LabFixture(
            Self.lab.replacingOccurrences(of: "{ base: golden }", with: "{ base: golden, werror: report }"))
        let disk = try SmallDisk(at: lab.folder + "/home", mebibytes: 4)
        lab.attached = disk
        try lab.succeed("up")
        disk.fill()
        let client = try SocketClient(try lab.value("consoleSocket", of: "alpha"))
        client.write("wmine\n")
        #expect(client.read(until: "error") != nil)
        #expect(try lab.states()["alpha"] == "ready")
    }

    @Test func resetMakesRoomForItself() throws {
        let lab = try LabFixture(Self.lab)
        let disk = try SmallDisk(at: lab.folder + "/home", mebibytes: 4)
        lab.attached = disk
        try lab.succeed("up")
        try lab.type("wold", on: "alpha")
        try lab.succeed("down")
        disk.fill()
        try lab.succeed("reset")
        disk.empty()
        try lab.succeed("up")
        #expect(try !lab.type("r", on: "alpha").contains("old"))
    }

    @Test func consoleOutputWaitsForRoom() throws {
        let lab = try LabFixture(Self.lab)
        let disk = try SmallDisk(at: lab.folder + "/home", mebibytes: 4)
        lab.attached = disk
        try lab.succeed("up")
        let client = try SocketClient(try lab.value("consoleSocket", of: "alpha"))
        disk.fill()
        // More than what was set aside for the log.
        var written = 0
        while written < 1400 {
            client.write("x" + String(repeating: "-", count: 50) + "\(written)\n")
            // A busy host may take longer than a read waits: what was not answered is not asked for.
            guard client.read(until: "# ") != nil else { break }
            written += 1
        }
        try waitFor("a note") { try note(lab).contains("bytes of console output wait") }
        #expect(try lab.succeed("events").contains("\"log-full\""))
        disk.empty()
        try waitFor("the log") { try !note(lab).contains("wait") }
        let log = try lab.succeed("console", "alpha", "--log")
        for line in 0..<written { #expect(log.contains("-\(line)\r") || log.contains("-\(line)\n"), "line \(line)") }
    }
}

/// A file system of a few mebibytes, in memory.
final class SmallDisk {
    private let path: String

    static let canBeMade: Bool = {
        let path = "/tmp/labctl-small-disk-\(getpid())"
        guard mkdir(path, 0o700) == 0 else { return false }
        defer { rmdir(path) }
        guard (try? mount(path, mebibytes: 1)) == true else { return false }
        _ = try? run("umount", [path])
        return true
    }()

    private static func run(_ program: String, _ arguments: [String]) throws -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [program] + arguments
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return process.terminationStatus == 0
    }

    private static func mount(_ path: String, mebibytes: Int) throws -> Bool {
        try run("mount", ["-t", "tmpfs", "-o", "size=\(mebibytes)m,mode=0700", "labctl-test", path])
    }

    init(at path: String, mebibytes: Int) throws {
        self.path = path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try #require(try SmallDisk.mount(path, mebibytes: mebibytes))
    }

    deinit { _ = try? SmallDisk.run("umount", ["-l", path]) }

    /// Takes all the room there is.
    func fill() {
        let file = open(path + "/ballast", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        defer { close(file) }
        for size in [1 << 16, 1 << 12, 1 << 8, 1] {
            let bytes = [UInt8](repeating: 1, count: size)
            while write(file, bytes, size) == size {}
        }
    }

    /// Gives it back.
    func empty() { unlink(path + "/ballast") }
}
