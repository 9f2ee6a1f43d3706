import Foundation
import Testing

@testable import Emulator

/// Debian, saved while it boots.
@Suite("Saved states of real guests", .serialized)
struct SavedStateTests {
    private final class Console: SerialBackend, @unchecked Sendable {
        // Unchecked: the CPU's thread writes, the test reads when that has ended.
        var bytes: [UInt8] = []
        func transmit(_ byte: UInt8) { bytes.append(byte) }
        /// Times that kernels print differ from run to run.
        var text: String { String(decoding: bytes, as: UTF8.self) }
    }

    private func machine(_ engine: Engine) throws -> (Machine, Console) {
        let console = Console()
        var config = PCConfig()
        config.memoryBytes = 192 << 20
        config.linux = PCConfig.Linux(
            kernelPath: try GuestImage.kernelCloudAMD64.path(), initrdPath: try GuestImage.initrdSmallAMD64.path(),
            commandLine: "console=ttyS0 quiet labtest=poweroff")
        config.serialPorts = [console]
        config.engine = engine
        return (try Machine(config), console)
    }

    /// Saves at each of these moments of guest time.
    private func watch(
        _ machine: Machine, _ moments: [(nanoseconds: UInt64, path: String)], _ console: Console, _ said: Said
    ) {
        guard let next = moments.first else { return }
        machine.post { machine in
            guard machine.clock.now >= next.nanoseconds else {
                return watch(machine, moments, console, said)
            }
            do { try machine.save(to: next.path) } catch { Issue.record("\(error)") }
            said.lengths.append(console.bytes.count)
            watch(machine, Array(moments.dropFirst()), console, said)
        }
    }

    /// How much the guest had said at each save.
    private final class Said: @unchecked Sendable {
        // Unchecked: as in `Console`.
        var lengths: [Int] = []
    }

    @Test("a Debian saved at random moments of its boot says the rest of its text in a new machine")
    func debianGoesOn() throws {
        let (rehearsal, reference) = try machine(.translator)
        #expect(rehearsal.run() == .powerOff)
        let total = rehearsal.clock.now
        #expect(reference.text.contains("LABCTL-POWEROFF"))

        let folder = FileManager.default.temporaryDirectory.appending(path: "labctl-states-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let moments = (0..<4).map { _ in UInt64.random(in: total / 20..<total * 9 / 10) }.sorted().enumerated().map {
            (nanoseconds: $1, path: folder.appending(path: "state\($0)").path)
        }
        let (saved, console) = try machine(.translator)
        let said = Said()
        watch(saved, moments, console, said)
        #expect(saved.run() == .powerOff)
        #expect(said.lengths.count == moments.count)
        for (moment, length) in zip(moments, said.lengths) {
            let (restored, rest) = try machine(.translator)
            try restored.restore(from: moment.path)
            #expect(restored.run() == .powerOff, "saved after \(moment.nanoseconds) ns")
            let text = String(decoding: console.bytes[..<length] + rest.bytes, as: UTF8.self)
            #expect(text == console.text, "saved after \(moment.nanoseconds) ns")
        }
    }
}
