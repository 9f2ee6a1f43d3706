import Foundation
import Images
import Testing
import VMProtocol

/// `savevm` and what belongs to it, with a guest that adds up what is typed and prints the sum.
@Suite("VM snapshots with memory")
struct VMSnapshotTests {
    /// next: mov dx, 3FD; in al, dx; test al, 1; jz; mov dx, 3F8; in al, dx; add bl, al; mov al, bl; out dx, al; jmp next
    private static let adder: [UInt8] = [
        0xBA, 0xFD, 0x03, 0xEC, 0xA8, 0x01, 0x74, 0xFB, 0xBA, 0xF8, 0x03, 0xEC, 0x00, 0xC3, 0x88, 0xD8, 0xEE, 0xEB,
        0xED,
    ]

    private func vm(disks: [String], loading name: String? = nil, in shared: String) throws -> VMUnderTest {
        try VMUnderTest { description, _ in
            try Firmware.write(Self.adder, into: &description)
            let slots: [VMDescription.Disk.Slot] = [.hda, .hdb]
            description.disks = zip(slots, disks).map { slot, disk in
                VMDescription.Disk(
                    slot: slot, path: shared + "/" + disk, format: disk.hasSuffix("raw") ? "raw" : "qcow2")
            }
            description.loadSnapshot = name
        }
    }

    private final class Scratch {
        let folder: String
        init() throws {
            folder = NSTemporaryDirectory() + "vm-snapshots-" + UUID().uuidString
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        }
        deinit { try? FileManager.default.removeItem(atPath: folder) }
    }

    /// Types a byte and gives what the guest prints for it.
    private func type(_ byte: UInt8, _ vm: VMUnderTest) throws -> UInt8 {
        let socket = try UnixSocket.connect(to: VMFile.consoleSocket.path(in: vm.folder))
        let log = VMFile.consoleLog.path(in: vm.folder)
        let before = (try? Data(contentsOf: URL(filePath: log)).count) ?? 0
        socket.writeAll([byte])
        for _ in 0..<4000 {
            if let bytes = try? Data(contentsOf: URL(filePath: log)), bytes.count > before { return bytes[before] }
            usleep(5000)
        }
        throw HostError("hear from", "the guest", code: 0, reason: "it printed nothing: \(vm.errorText)")
    }

    private func hmp(_ monitor: VMUnderTest.Monitor, _ line: String) throws -> String {
        try monitor.ask("human-monitor-command", ["command-line": .string(line)]).stringValue ?? "no text"
    }

    @Test func aVMGoesBackAndANewProcessBeginsWhereItWasKept() throws {
        let scratch = try Scratch()
        for disk in ["a.qcow2", "b.qcow2"] {
            try DiskImage.create(scratch.folder + "/" + disk, format: "qcow2", size: 1 << 20)
        }
        let first = try vm(disks: ["a.qcow2", "b.qcow2"], in: scratch.folder)
        let monitor = try first.monitor()
        #expect(try hmp(monitor, "info snapshots").contains("no snapshot"))
        #expect(try type(0x41, first) == 0x41)
        #expect(try hmp(monitor, "savevm one") == "")
        #expect(try type(0x02, first) == 0x43)
        #expect(try hmp(monitor, "loadvm one") == "")
        #expect(try type(0x10, first) == 0x51)
        #expect(try hmp(monitor, "loadvm other").contains("does not have the requested snapshot 'other'"))
        #expect(try type(0x01, first) == 0x52)
        #expect(try hmp(monitor, "info snapshots").contains("one"))
        try monitor.ask("quit")
        #expect(first.waitForEnd().status == 0)

        let second = try vm(disks: ["a.qcow2", "b.qcow2"], loading: "one", in: scratch.folder)
        let other = try second.monitor()
        #expect(try type(0x03, second) == 0x44)
        #expect(try hmp(other, "delvm one") == "")
        #expect(try hmp(other, "delvm one").contains("there is no snapshot 'one'"))
        try other.ask("quit")
        #expect(second.waitForEnd().status == 0)
    }

    @Test func jobsSaveLoadAndDelete() throws {
        let scratch = try Scratch()
        for disk in ["a.qcow2", "b.qcow2"] {
            try DiskImage.create(scratch.folder + "/" + disk, format: "qcow2", size: 1 << 20)
        }
        let running = try vm(disks: ["a.qcow2", "b.qcow2"], in: scratch.folder)
        let monitor = try running.monitor()
        func job(_ command: String, _ id: String, _ devices: [JSONValue]) throws -> String? {
            var arguments: [String: JSONValue] = [
                "job-id": .string(id), "tag": "one", "devices": .array(devices),
            ]
            if command != "snapshot-delete" { arguments["vmstate"] = "ide0-hd1" }
            try monitor.ask(command, .object(arguments))
            let jobs = try #require(try monitor.ask("query-jobs").arrayValue)
            let entry = try #require(jobs.first { $0["id"]?.stringValue == id })
            #expect(entry["status"]?.stringValue == "concluded")
            try monitor.ask("job-dismiss", ["id": .string(id)])
            return entry["error"]?.stringValue
        }
        #expect(try type(0x41, running) == 0x41)
        #expect(try job("snapshot-save", "j1", ["ide0-hd1"])?.contains("'ide0-hd0' is writable") == true)
        #expect(try job("snapshot-save", "j2", ["ide0-hd0", "ide0-hd1"]) == nil)
        #expect(try type(0x01, running) == 0x42)
        #expect(try job("snapshot-load", "j3", ["ide0-hd0", "ide0-hd1"]) == nil)
        #expect(try type(0x02, running) == 0x43)
        #expect(try job("snapshot-delete", "j4", ["ide0-hd0", "ide0-hd1"]) == nil)
        #expect(try job("snapshot-load", "j5", ["ide0-hd0", "ide0-hd1"])?.contains("does not have") == true)
        try monitor.ask("quit")
        #expect(running.waitForEnd().status == 0)
    }

    @Test func aDiskThatKeepsNoSnapshotsIsNamed() throws {
        let scratch = try Scratch()
        try DiskImage.create(scratch.folder + "/a.qcow2", format: "qcow2", size: 1 << 20)
        try DiskImage.create(scratch.folder + "/b.raw", format: "raw", size: 1 << 20)
        let mixed = try vm(disks: ["a.qcow2", "b.raw"], in: scratch.folder)
        let monitor = try mixed.monitor()
        #expect(
            try hmp(monitor, "savevm one").contains("Device 'ide0-hd1' is writable but does not support snapshots"))
        try monitor.ask("quit")
        let without = try vm(disks: [], loading: "one", in: scratch.folder)
        #expect(without.waitForEnd().status != 0)
        #expect(without.errorText.contains("No block device can accept snapshots"))
    }
}
