import Foundation
import Testing
import VMProtocol

/// One labvm: its sockets, its monitor, and `labctl run`.
@Suite(.serialized) struct VMProcessTests {
    private static let lab = """
        lab: vm
        images: { golden: { path: golden.img, format: raw } }
        vms:
          alpha:
            memory: 16M
            disks: { hda: { base: golden } }
            ready: { console: "login: ", timeout: 60s }
        """

    /// A monitor connection that has negotiated.
    private func monitor(_ lab: LabFixture) throws -> SocketClient {
        let client = try SocketClient(try lab.value("monitorSocket", of: "alpha"))
        let greeting = try #require(client.read(until: "\n"))
        #expect(greeting.contains("\"QMP\""))
        client.write(#"{"execute":"query-status"}"#)
        #expect(client.read(until: "\n")?.contains("capabilities negotiation") == true)
        client.write(#"{"execute":"qmp_capabilities"}"#)
        #expect(client.read(until: "\n")?.contains(#""return":{}"#) == true)
        return client
    }

    private func ask(_ client: SocketClient, _ request: String, until answer: String) -> Bool {
        client.write(request)
        return client.read(until: answer) != nil
    }

    @Test func theMonitorKnowsEveryProcessor() throws {
        let lab = try LabFixture(Self.lab.replacingOccurrences(of: "memory:", with: "cpus: 2\n    memory:"))
        try lab.succeed("up")
        let client = try monitor(lab)
        #expect(ask(client, #"{"execute":"query-cpus-fast"}"#, until: "device[1]"))
        func human(_ line: String, _ more: String = "", until answer: String) -> Bool {
            let arguments = "{\"command-line\":\"\(line)\"\(more)}"
            return ask(
                client, "{\"execute\":\"human-monitor-command\",\"arguments\":\(arguments)}", until: answer)
        }
        #expect(human("info cpus", until: "* CPU #0"))
        #expect(human("cpu 1", until: #""return":"""#))
        #expect(human("info cpus", until: "* CPU #1"))
        #expect(human("info registers", until: "CPU#1"))
        #expect(human("info registers", ",\"cpu-index\":0", until: "CPU#0"))
        #expect(human("info registers -a", until: "CPU#1"))
        #expect(human("cpu 2", until: "there is no CPU 2: they are numbered 0 to 1"))
        #expect(ask(client, #"{"execute":"inject-nmi"}"#, until: #""return":{}"#))
        try lab.succeed("down")
    }

    @Test func theMonitorSpeaksQMP() throws {
        let lab = try LabFixture(Self.lab)
        try lab.succeed("up")
        let client = try monitor(lab)
        #expect(ask(client, #"{"execute":"query-commands","id":7}"#, until: #""name":"system_powerdown""#))
        #expect(ask(client, #"{"execute":"query-status"}"#, until: #""status":"running""#))
        #expect(ask(client, #"{"execute":"stop"}"#, until: #""event":"STOP""#))
        #expect(ask(client, #"{"execute":"query-status"}"#, until: #""status":"paused""#))
        #expect(ask(client, #"{"execute":"cont"}"#, until: #""event":"RESUME""#))
        #expect(ask(client, #"{"execute":"query-block"}"#, until: #""drv":"qcow2""#))
        #expect(ask(client, #"{"execute":"no-such"}"#, until: #""class":"CommandNotFound""#))
        #expect(ask(client, #"{"execute":"stop","arguments":{"x":1}}"#, until: "Parameter 'x' is unexpected"))
        #expect(ask(client, #"{"execute":"eject","arguments":{"device":"nope"}}"#, until: "DeviceNotFound"))
        #expect(ask(client, #"{"execute":"eject","arguments":{"device":"ide0-hd0"}}"#, until: "is not removable"))
        #expect(ask(client, "not json }{ {]}", until: "Invalid JSON syntax"))
        #expect(
            ask(
                client, #"{"execute":"human-monitor-command","arguments":{"command-line":"info status"}}"#,
                until: "VM status: running"))
        #expect(
            ask(
                client, #"{"execute":"send-key","arguments":{"keys":[{"type":"qcode","data":"xx"}]}}"#,
                until: "unknown key"))
        #expect(ask(client, #"{"execute":"system_reset"}"#, until: #""event":"RESET""#))
        #expect(ask(client, #"{"execute":"quit"}"#, until: #""event":"SHUTDOWN""#))
        while try lab.states()["alpha"] == "ready" { usleep(10_000) }
        #expect(try lab.states()["alpha"] == "stopped")
    }

    @Test func thePowerButtonReachesTheGuest() throws {
        let lab = try LabFixture(Self.lab)
        try lab.succeed("up")
        let client = try monitor(lab)
        #expect(ask(client, #"{"execute":"system_powerdown"}"#, until: #""guest":true"#))
        while try lab.states()["alpha"] == "ready" { usleep(10_000) }
        #expect(try lab.value("note", of: "alpha") == "the guest powered off")
    }

    @Test func aScreenshotIsAPicture() throws {
        let lab = try LabFixture(Self.lab)
        try lab.succeed("up")
        try lab.succeed("screenshot", "alpha", "-o", "shot.png")
        try lab.succeed("screenshot", "alpha", "-o", "shot.ppm")
        let png = try Data(contentsOf: URL(fileURLWithPath: lab.labFolder + "/shot.png"))
        #expect(Array(png.prefix(8)) == [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A])
        let ppm = try Data(contentsOf: URL(fileURLWithPath: lab.labFolder + "/shot.ppm"))
        #expect(String(decoding: ppm.prefix(2), as: UTF8.self) == "P6")
    }

    @Test func severalWatchOneConsole() throws {
        let lab = try LabFixture(Self.lab)
        try lab.succeed("up")
        let path: String = try lab.value("consoleSocket", of: "alpha")
        let one = try SocketClient(path), two = try SocketClient(path)
        one.write("wseen\n")
        #expect(one.read(until: "# ") != nil)
        #expect(two.read(until: "wseen") != nil)
        // What was said before is in the log.
        #expect(try lab.succeed("console", "alpha", "--log").contains("login: "))
    }

    @Test func aViewerThatDoesNotReadDoesNotStopTheGuest() throws {
        let lab = try LabFixture(Self.lab)
        try lab.succeed("up")
        let path: String = try lab.value("consoleSocket", of: "alpha")
        let stuck = try UnixSocket.connect(to: path)
        let typist = try SocketClient(path)
        for round in 0..<20 {
            typist.write("w" + String(repeating: "x", count: 60) + "\(round)\n")
            #expect(typist.read(until: "# ") != nil)
        }
        withExtendedLifetime(stuck) {}
    }

    @Test func twoWritersOfOneImageAreRefused() throws {
        let lab = try LabFixture(
            Self.lab.replacingOccurrences(of: "{ base: golden }", with: "{ image: own.img, mode: direct }"))
        try Data(BootSectorGuest.image).write(to: URL(fileURLWithPath: lab.labFolder + "/own.img"))
        try lab.succeed("up")
        let second = try lab.run(["run", "-nographic", "-drive", "file=own.img,format=raw"])
        #expect(second.status == 1)
        #expect(second.errors.contains("lock"), "\(second.errors)")
    }

    @Test func aRawDiskStaysRawWhateverItsGuestWritesIntoIt() throws {
        let lab = try LabFixture(
            Self.lab.replacingOccurrences(of: "{ base: golden }", with: "{ image: own.img, mode: direct }"))
        let disk = URL(fileURLWithPath: lab.labFolder + "/own.img")
        try Data(BootSectorGuest.image).write(to: disk)
        #expect(try lab.run(["up"]).errors.contains("used as raw from now on"))
        try lab.succeed("down")
        // As if the guest had written a qcow2 header over its boot sector.
        let header = Data([0x51, 0x46, 0x49, 0xFB, 0, 0, 0, 3]) + Data(count: 96)
        try (header + Data(BootSectorGuest.image).dropFirst(header.count)).write(to: disk)
        try lab.succeed("up", "--no-wait")
        let disks: [[String: Any]] = try lab.value("disks", of: "alpha")
        #expect(disks.count == 1)
        let client = try monitor(lab)
        #expect(ask(client, #"{"execute":"query-block"}"#, until: #""drv":"raw""#))
    }

    @Test func runSharesTheTerminalAndEndsWithTheGuest() throws {
        let lab = try LabFixture(Self.lab)
        let input = Pipe()
        let (process, output, _) = try lab.start(
            ["run", "-m", "16", "-drive", "file=golden.img,format=raw", "-snapshot", "-nographic"], input: input)
        var said = ""
        while !said.contains("login: ") {
            let data = output.fileHandleForReading.availableData
            if data.isEmpty { break }
            said += String(decoding: data, as: UTF8.self)
        }
        #expect(said.contains("login: "))
        input.fileHandleForWriting.write(Data("wgone\n".utf8))
        while !said.contains("# ") {
            let data = output.fileHandleForReading.availableData
            if data.isEmpty { break }
            said += String(decoding: data, as: UTF8.self)
        }
        input.fileHandleForWriting.write(Data("q\n".utf8))
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        // -snapshot: the image is as it was.
        #expect(try Array(lab.digestOfGolden()) == BootSectorGuest.image)
    }

    @Test func ctrlAXQuits() throws {
        let lab = try LabFixture(Self.lab)
        let input = Pipe()
        let (process, output, _) = try lab.start(
            ["run", "-m", "16", "-drive", "file=golden.img,format=raw", "-nographic"], input: input)
        var said = ""
        while !said.contains("login: ") {
            let data = output.fileHandleForReading.availableData
            if data.isEmpty { break }
            said += String(decoding: data, as: UTF8.self)
        }
        input.fileHandleForWriting.write(Data([1, UInt8(ascii: "x")]))
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
    }

    @Test func runRefusesWhatItCannotDo() throws {
        let lab = try LabFixture(Self.lab)
        let conflict = try lab.run(["run", "-hdc", "a.img", "-cdrom", "b.iso"])
        #expect(conflict.status == 64)
        #expect(conflict.errors.contains("secondary master"))
        let missing = try lab.run(["run", "-nographic", "-hda", "no-such.qcow2"])
        #expect(missing.status == 1)
        #expect(missing.errors.contains("no-such.qcow2"))
    }
}
