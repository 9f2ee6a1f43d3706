import Foundation
import Seeded
import Testing

@testable import Emulator

/// A state in memory.
final class StateInMemory: StateSink, StateSource {
    var bytes: [UInt8] = []
    /// Bytes of it that are there; nil: all.
    var cutTo: Int?
    var sizeBytes: UInt64 { UInt64(cutTo ?? bytes.count) }
    var mappableDescriptor: Int32? { nil }

    func write(_ source: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        let end = Int(offset) + source.count
        if bytes.count < end { bytes += [UInt8](repeating: 0, count: end - bytes.count) }
        bytes.withUnsafeMutableBytes {
            UnsafeMutableRawBufferPointer(rebasing: $0[Int(offset)..<end]).copyMemory(from: source)
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskBackendError) {
        guard Int(offset) + buffer.count <= bytes.count else { throw DiskBackendError("beyond the end") }
        bytes.withUnsafeBytes {
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[Int(offset)..<Int(offset) + buffer.count]))
        }
    }
}

/// A machine whose firmware computes pseudo-random numbers, stores them, prints some and ends.
struct CountingGuest {
    /// mov ds, 1000h; xor di, di; mov bx, 12345; mov cx, outputs; mov dx, 3F8h
    /// next: imul bx, bx, 20077; add bx, 12345; mov [di], bx; add di, 2; test bx, 0FF0h; jnz next
    /// mov al, bh; out dx, al; dec cx; jnz next; mov dx, 501h; mov al, 0; out dx, al; hlt
    private static let code: [UInt8] = [
        0xB8, 0x00, 0x10, 0x8E, 0xD8, 0x31, 0xFF, 0xBB, 0x39, 0x30, 0xB9, 0x80, 0x00, 0xBA, 0xF8, 0x03,
        0x69, 0xDB, 0x6D, 0x4E, 0x81, 0xC3, 0x39, 0x30, 0x89, 0x1D, 0x83, 0xC7, 0x02, 0xF7, 0xC3, 0xF0, 0x0F, 0x75,
        0xED,
        0x88, 0xF8, 0xEE, 0x49, 0x75, 0xE7, 0xBA, 0x01, 0x05, 0xB0, 0x00, 0xEE, 0xF4,
    ]

    let folder: URL
    private let firmware: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "labctl-state-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        firmware = folder.appending(path: "bios.bin")
        var image = [UInt8](repeating: 0xF4, count: 0x1_0000)
        image.replaceSubrange(0..<Self.code.count, with: Self.code)
        // jmp far F000:0000
        image.replaceSubrange(0xFFF0..<0xFFF5, with: [0xEA, 0x00, 0x00, 0x00, 0xF0])
        try Data(image).write(to: firmware)
    }

    func remove() { try? FileManager.default.removeItem(at: folder) }

    func path(_ name: String) -> String { folder.appending(path: name).path }

    func machine(
        _ engine: Engine = .interpreter, memoryBytes: UInt64 = 2 << 20, drives: [PCConfig.Drive?] = []
    ) throws -> (machine: Machine, serial: SerialRecorder) {
        let serial = SerialRecorder()
        var config = PCConfig()
        config.memoryBytes = memoryBytes
        config.firmwarePath = firmware.path
        config.serialPorts = [serial]
        config.debugExitPort = 0x501
        config.clockSeconds = 1_000_000_000
        config.engine = engine
        config.drives = drives
        return (try Machine(config), serial)
    }
}

extension Machine {
    var memoryDigest: [UInt64] { [XXHash64.hash(board.memory.ram.bytes), XXHash64.hash(board.vga.video.bytes)] }

    /// Runs about so many instructions.
    func step(_ instructions: Int) {
        for _ in 0..<instructions / 1000 { _ = cpu.run(budget: 1000) }
        _ = cpu.run(budget: 1 + instructions % 1000)
    }
}

@Suite("A machine saved and restored")
struct MachineStateTests {
    @Test(
        "a new machine goes on where a state was saved, by whichever engine",
        arguments: [
            (Engine.interpreter, Engine.interpreter), (.translator, .translator), (.interpreter, .translator),
            (.translator, .interpreter),
        ])
    func goesOn(saver: Engine, restorer: Engine) throws {
        let guest = try CountingGuest()
        defer { guest.remove() }
        let (whole, text) = try guest.machine(saver)
        #expect(whole.run() == .debugExit(0))
        #expect(text.bytes.count == 128)
        var random = SeededRandom(7)
        for _ in 0..<4 {
            let (first, before) = try guest.machine(saver)
            first.step(random.below(200_000))
            let path = guest.path("state")
            try first.save(to: path)
            let (second, after) = try guest.machine(restorer)
            try second.restore(from: path)
            #expect(second.savedSections() == first.savedSections())
            #expect(second.memoryDigest == first.memoryDigest)
            #expect(second.run() == .debugExit(0))
            #expect(before.bytes + after.bytes == text.bytes)
            #expect(second.memoryDigest == whole.memoryDigest)
        }
    }

    @Test("a machine that has run on goes back to where it was saved")
    func rewinds() throws {
        let guest = try CountingGuest()
        defer { guest.remove() }
        let (machine, serial) = try guest.machine(.translator)
        machine.step(40_000)
        let state = StateInMemory()
        let length = try machine.save(to: state)
        let sections = machine.savedSections(), memory = machine.memoryDigest, count = serial.bytes.count
        state.bytes += [UInt8](repeating: 0, count: Int(length) - state.bytes.count)
        let (other, rest) = try guest.machine(.translator)
        try other.restore(from: state)
        #expect(other.run() == .debugExit(0))
        try other.restore(from: state)
        #expect(other.savedSections() == sections)
        #expect(other.memoryDigest == memory)
        #expect(count + rest.bytes.count == 128)
    }

    /// A state with some work behind it, whole in memory.
    private func state(_ guest: CountingGuest) throws -> StateInMemory {
        let (machine, _) = try guest.machine()
        machine.step(30_000)
        let state = StateInMemory()
        let length = try machine.save(to: state)
        state.bytes += [UInt8](repeating: 0, count: max(0, Int(length) - state.bytes.count))
        return state
    }

    private func message(_ body: () throws -> Void) -> String {
        do { try body() } catch { return "\(error)" }
        return ""
    }

    /// Changes table and header and makes their checksum right again.
    private func rewrite(_ state: StateInMemory, _ change: (inout StateFormat.Header) -> Void) throws {
        var header = try StateReader(state).header
        change(&header)
        state.bytes.replaceSubrange(0..<header.encoded.count, with: header.encoded)
    }

    @Test func whatIsNoStateOfThisMachineIsRefusedInOneSentence() throws {
        let guest = try CountingGuest()
        defer { guest.remove() }
        let whole = try state(guest)
        let (machine, _) = try guest.machine()
        func refusal(_ change: (StateInMemory) throws -> Void) rethrows -> String {
            let altered = StateInMemory()
            altered.bytes = whole.bytes
            try change(altered)
            return message { try machine.restore(from: altered) }
        }
        #expect(refusal { $0.bytes = [1, 2, 3] }.contains("is no saved state: it has 3 bytes"))
        #expect(refusal { $0.bytes.removeLast() }.contains("is cut"))
        #expect(refusal { $0.bytes.replaceSubrange(0..<4, with: Array("QEVM".utf8)) }.contains("QEMU saved"))
        #expect(refusal { $0.bytes[3] = 0 }.contains("does not begin with LABSTATE"))
        #expect(refusal { $0.bytes[8] = 9 }.contains("layout version 9, this program knows 1"))
        #expect(refusal { $0.bytes[70] ^= 1 }.contains("checksum of its header"))
        let pit = try #require(try StateReader(whole).header.entries.firstIndex { $0.name == "pit" })
        #expect(
            try refusal { try rewrite($0) { $0.entries[pit].version = 7 } }.contains(
                "section pit in version 7, this program restores 1"))
        #expect(try refusal { try rewrite($0) { $0.entries[pit].name = "pat" } }.contains("section pat"))
        #expect(try refusal { try rewrite($0) { $0.entries.remove(at: pit) } }.contains("no section pit"))
        let place = Int(try StateReader(whole).header.entries[pit].offset)
        #expect(refusal { $0.bytes[place] ^= 1 }.contains("checksum of section pit"))

        let (larger, _) = try guest.machine(memoryBytes: 4 << 20)
        #expect(
            message { try larger.restore(from: whole) }.contains("memory: 2097152 bytes; this one has 4194304 bytes"))
        let (withDisk, _) = try guest.machine(drives: [.disk(MemoryDisk(patternBytes: 1 << 20))])
        #expect(
            message { try withDisk.restore(from: whole) }.contains("hda: nothing; this one has a disk of 1048576 bytes")
        )
    }

    @Test("a thousand random corruptions end in an error that changes nothing, or in a machine that runs")
    func corruptions() throws {
        let guest = try CountingGuest()
        defer { guest.remove() }
        let whole = try state(guest)
        let (machine, _) = try guest.machine()
        machine.clock.pause()
        var before = machine.savedSections()
        let header = try StateReader(whole).header
        let memory = try #require(header.entries.first { $0.name == "ram" && $0.kind == .memory })
        let fields = Int(header.entries.filter { $0.kind == .fields }.map { $0.offset + $0.length }.max() ?? 0)
        var random = SeededRandom(12)
        var refused = 0
        for _ in 0..<1000 {
            var changed: [Int: UInt8] = [:]
            for _ in 0...random.below(3) {
                let place: Int
                switch random.below(10) {
                case 0..<3: place = random.below(StateFormat.Header.byteCount(entries: header.entries.count))
                case 3..<9: place = random.below(fields)
                default: place = Int(memory.offset) + random.below(0x20000)
                }
                changed[place] = changed[place] ?? whole.bytes[place]
                whole.bytes[place] = UInt8(truncatingIfNeeded: random.next())
            }
            whole.cutTo = random.oneIn(10) ? random.below(whole.bytes.count) : nil
            do {
                try machine.restore(from: whole)
                _ = machine.cpu.run(budget: 500)
                before = machine.savedSections()
            } catch {
                refused += 1
                #expect(machine.savedSections() == before)
            }
            for (place, byte) in changed { whole.bytes[place] = byte }
        }
        #expect(refused > 900)
    }

    @Test func aRefusedStateLeavesTheMachineAsItWas() throws {
        let guest = try CountingGuest()
        defer { guest.remove() }
        let whole = try state(guest)
        let (machine, _) = try guest.machine()
        machine.step(50_000)
        machine.clock.pause()
        let sections = machine.savedSections(), memory = machine.memoryDigest
        // Field by field, with right checksums: found when other devices have been restored already.
        let reader = try StateReader(whole)
        let entry = try reader.entry("piix4-pm", .fields)
        var bytes = try reader.contents(entry)
        bytes[1] ^= 0x20
        whole.bytes.replaceSubrange(Int(entry.offset)..<Int(entry.offset + entry.length), with: bytes)
        try rewrite(whole) { header in
            for index in header.entries.indices where header.entries[index].name == "piix4-pm" {
                header.entries[index].checksum = XXHash64.hash(bytes)
            }
        }
        #expect(message { try machine.restore(from: whole) }.contains("section piix4-pm"))
        #expect(machine.savedSections() == sections)
        #expect(machine.memoryDigest == memory)
    }

    @Test func damagedMemoryIsFoundByWhoReadsIt() throws {
        let guest = try CountingGuest()
        defer { guest.remove() }
        let whole = try state(guest)
        let reader = try StateReader(whole)
        try reader.verify()
        let memory = try reader.entry("ram", .memory)
        #expect(memory.offset % (2 << 20) == 0)
        whole.bytes[Int(memory.offset) + 0x1_0010] ^= 4
        #expect(message { try reader.verify() }.contains("memory ram differs in the 2 MiB at 0"))
        let (machine, _) = try guest.machine()
        #expect(message { try machine.restore(from: whole) }.contains("memory ram differs"))
    }

    @Test func aSaveThatFailsLeavesTheOldFile() throws {
        let guest = try CountingGuest()
        defer { guest.remove() }
        let (machine, _) = try guest.machine()
        let path = guest.path("state")
        try machine.save(to: path)
        let old = try Data(contentsOf: URL(filePath: path))
        #expect(throws: MachineError.self) {
            try SavedStateFile.write(to: path) { file throws(MachineError) in
                throw .badState("the host is full")
            }
        }
        #expect(try Data(contentsOf: URL(filePath: path)) == old)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: guest.folder.path).sorted() == ["bios.bin", "state"])
    }

    @Test("a file's zero pages are holes, and two machines run from one file without seeing each other")
    func shareAFile() throws {
        let guest = try CountingGuest()
        defer { guest.remove() }
        let (machine, _) = try guest.machine()
        machine.step(20_000)
        let path = guest.path("state")
        try machine.save(to: path)
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_blocks * 512 < 1 << 20)
        let (one, _) = try guest.machine(), (other, _) = try guest.machine()
        try one.restore(from: path)
        try other.restore(from: path)
        #expect(one.run() == .debugExit(0))
        #expect(other.memoryDigest == machine.memoryDigest)
        #expect(other.run() == .debugExit(0))
        #expect(one.memoryDigest == other.memoryDigest)
        let (third, _) = try guest.machine()
        try third.restore(from: path)
        #expect(third.memoryDigest == machine.memoryDigest)
    }
}
