import Foundation
import Testing
import VMProtocol

@testable import labvm

/// What a guest that broke out of its machine could do with its process: nothing.
@Suite(.serialized) struct SandboxTests {
    private func probe(_ name: String, _ mode: VMDescription.Sandbox = .required) throws -> (VMUnderTest, String) {
        let other = FileManager.default.temporaryDirectory.path + "/labvm-other-\(getpid())-\(name)"
        try Data("another VM's".utf8).write(to: URL(fileURLWithPath: other))
        let vm = try VMUnderTest { description, _ in
            description.sandbox = mode
            description.probe = "\(name) \(other)"
        }
        return (vm, other)
    }

    @Test(arguments: SandboxProbe.rows.map(\.name)) func isRefused(name: String) throws {
        let (vm, other) = try probe(name)
        defer { unlink(other) }
        let end = vm.waitForEnd()
        let isKilled = end.isSignal && end.status == SIGSYS
        #expect(isKilled || vm.errorText.contains("probe \(name): refused"), "\(end) \(vm.errorText)")
        #expect(!vm.errorText.contains("done"))
        #expect(try String(contentsOfFile: other, encoding: .utf8) == "another VM's")
        let beside = try FileManager.default.contentsOfDirectory(atPath: FileManager.default.temporaryDirectory.path)
        #expect(!beside.contains { $0.hasPrefix((other as NSString).lastPathComponent + ".") })
    }

    @Test func fortyThingsAreTried() { #expect(SandboxProbe.rows.count >= 40) }

    /// What shows that the probes above can succeed at all.
    @Test(arguments: ["open-passwd", "open-argument-write", "socket-udp", "map-write-and-execute", "thread", "stat"])
    func isPossibleWithoutTheSandbox(name: String) throws {
        let (vm, other) = try probe(name, .off)
        defer { unlink(other) }
        _ = vm.waitForEnd()
        #expect(vm.errorText.contains("probe \(name): done"), "\(vm.errorText)")
    }

    @Test func theEnvironmentIsEmptyAndTheProcessSaysWhatHolds() throws {
        let vm = try VMUnderTest { description, _ in
            description.sandbox = .required
            try Firmware.write(Firmware.idle, into: &description)
        }
        let monitor = try vm.monitor()
        let answer = try monitor.ask("x-query-sandbox")
        #expect(answer["enabled"]?.boolValue == true)
        #expect(answer["seccomp"]?.boolValue == true)
        #expect(answer["landlock-abi"]?.intValue ?? 0 > 0)
        #expect(answer["missing"]?.arrayValue?.isEmpty == true)
        let path = "/proc/\(vm.process.processIdentifier)/environ"
        let environment = FileManager.default.contents(atPath: path) ?? Data()
        #expect(environment.allSatisfy { $0 == 0 })
        let status = try String(contentsOfFile: "/proc/\(vm.process.processIdentifier)/status", encoding: .utf8)
        #expect(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"))
    }

    @Test func filesThatAreHandedOverCanBeUsedAndOthersCannot() throws {
        let vm = try VMUnderTest { description, _ in
            description.sandbox = .required
            description.cdrom = ""
            try Firmware.write(Firmware.idle, into: &description)
        }
        let monitor = try vm.monitor()
        let picture = vm.folder + "/shot.ppm"
        let refused = try monitor.ask("screendump", ["filename": .string(picture)])
        #expect(refused["error"]?.stringValue?.contains("add-fd") == true, "\(refused)")
        let file = try Descriptor.open(picture, O_RDWR | O_CREAT)
        let number = try #require(try monitor.ask("add-fd", file: file)["fdset-id"]?.intValue)
        let name = "/dev/fdset/\(number)"
        #expect(try monitor.ask("screendump", ["filename": .string(name)]) == [:])
        #expect(FileManager.default.contents(atPath: picture)?.prefix(2) == Data("P6".utf8))
        #expect(try monitor.ask("remove-fd", ["fdset-id": .int(number)]) == [:])
        #expect(try monitor.ask("add-fd")["error"]?.stringValue == "No file descriptor supplied via SCM_RIGHTS")

        let disc = vm.folder + "/disc.iso"
        try Data(count: 4096).write(to: URL(fileURLWithPath: disc))
        let change: (String) -> JSONValue = { ["device": "ide1-cd0", "filename": .string($0), "format": "raw"] }
        #expect(
            try monitor.ask("blockdev-change-medium", change(disc))["error"]?.stringValue?.contains("add-fd") == true)
        let image = try Descriptor.open(disc, O_RDONLY)
        let set = try #require(try monitor.ask("add-fd", file: image)["fdset-id"]?.intValue)
        #expect(try monitor.ask("blockdev-change-medium", change("/dev/fdset/\(set)")) == [:])
        #expect(try monitor.ask("eject", ["device": "ide1-cd0"]) == [:])
        #expect(try monitor.ask("quit") == [:])
        #expect(vm.waitForEnd() == (0, false))
        #expect(try vm.exitRecord()?.reason == .quit)
    }

    @Test func aFaultOfOurOwnIsReportedAsOne() throws {
        let (vm, other) = try probe(SandboxProbe.crash)
        defer { unlink(other) }
        #expect(vm.waitForEnd() == (SIGSEGV, true))
        #expect(vm.errorText.contains("labvm: crashed: SIGSEGV in thread vcpu0"), "\(vm.errorText)")
        // Optimised code keeps few frames; the one that crashed is always there.
        #expect(vm.errorText.contains("#0 ") && vm.errorText.contains("crashNow"), "\(vm.errorText)")
        let record = try #require(try vm.exitRecord())
        #expect(record.reason == .crashed)
        #expect(record.message?.contains("SIGSEGV") == true)
    }
}
