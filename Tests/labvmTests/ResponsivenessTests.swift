import Foundation
import Testing
import VMProtocol

/// Whatever its guest does, a VM process hears. The limits are those of a hang: 20 and 30 seconds.
@Suite(.serialized) struct ResponsivenessTests {
    private func start(_ code: [UInt8]) throws -> VMUnderTest {
        try VMUnderTest { description, _ in
            try Firmware.write(code, into: &description)
            description.console = .socket
        }
    }

    @Test(arguments: Firmware.hostile.map(\.name)) func aGuestThat(name: String) throws {
        let guest = try #require(Firmware.hostile.first { $0.name == name })
        for ending in ["quit", "SIGTERM"] {
            let vm = try start(guest.code)
            let monitor = try vm.monitor()
            usleep(300_000)
            for _ in 0..<5 { #expect(try monitor.ask("query-status")["status"]?.stringValue == "running") }
            if ending == "quit" { try monitor.ask("quit") } else { kill(vm.process.processIdentifier, SIGTERM) }
            #expect(vm.waitForEnd() == (0, false), "\(vm.errorText)")
            #expect(try vm.exitRecord()?.reason == .quit)
            #expect(!vm.errorText.contains("ending without it"), "\(vm.errorText)")
        }
    }

    @Test func typingIsHeldBackWhereTheGuestDoesNotRead() throws {
        let vm = try start(Firmware.idle)
        _ = try vm.monitor()
        let typist = try UnixSocket.connect(to: VMFile.consoleSocket.path(in: vm.folder))
        typist.setNonBlocking()
        let block = [UInt8](repeating: 0x41, count: 65536)
        var taken = 0
        var quiet = 0
        // Until nothing is taken for a while.
        while quiet < 50, taken < 64 << 20 {
            let count = typist.write(block[...]) ?? 0
            taken += count
            quiet = count == 0 ? quiet + 1 : 0
            if count == 0 { usleep(2000) }
        }
        #expect(taken < 4 << 20)
    }

    @Test func nestedMessagesAreRefusedSoon() throws {
        let vm = try start(Firmware.idle)
        let monitor = try vm.monitor()
        let depth = 5000
        monitor.send([UInt8](repeating: UInt8(ascii: "["), count: depth))
        monitor.send([UInt8](repeating: UInt8(ascii: "]"), count: depth))
        #expect(try monitor.answer()["error"]?["desc"]?.stringValue == "Invalid JSON syntax")
        #expect(try monitor.ask("query-status")["running"]?.boolValue == true)
    }
}
