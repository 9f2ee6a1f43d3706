import Foundation
import Images
import LabSpec
import Seeded
import Testing

@testable import Orchestrator
@testable import VMProtocol

/// Verbs whose host calls fail, labctl that is killed, records that are damaged: an overlay comes through all of it.
@Suite(.serialized) struct LabFaultTests {
    private static let file = """
        lab: faults
        images: { golden: { path: golden.img, format: raw } }
        vms:
          alpha:
            memory: 16M
            disks: { hda: { base: golden } }
        """

    /// A lab in this process, whose overlay says `kept`.
    private struct Bench {
        let fixture: LabFixture
        let orchestrator: LabOrchestrator
        var vm: VMFolder { orchestrator.folder.vm("alpha") }
        var overlay: String { vm.path + "/hda.qcow2" }

        init() throws {
            fixture = try LabFixture(LabFaultTests.file)
            let environment = fixture.environment
            setenv("LABCTL_LABVM", environment["LABCTL_LABVM"] ?? LabFixture.programs + "/labvm", 1)
            let loaded = LabFile.load(path: fixture.labFolder + "/lab.yaml")
            var orchestrator = LabOrchestrator(
                lab: try #require(loaded.lab), state: try StateDirectory(variable: { environment[$0] }),
                interruption: try StopSignal(), progress: { _ in })
            // Programs that other tests start hold copies of our locks for a moment.
            orchestrator.waitsForLock = true
            self.orchestrator = orchestrator
            try up()
            try write("kept")
        }

        private static let options = StartOptions(waitsForReady: false)

        /// Brings the lab up and down again; its guest has no time to write.
        func up(adopting: Bool = false) throws {
            var options = Self.options
            options.adoptsOverlays = adopting
            var outcomes = try orchestrator.up([], options: options)
            for _ in 0..<50 where outcomes.contains(where: { $0.message?.contains("by somebody else") == true }) {
                usleep(20_000)
                outcomes = try orchestrator.up([], options: options)
            }
            let isUp = outcomes.allSatisfy(\.isGood)
            #expect(isUp, "\(outcomes)")
            try down()
        }

        func down() throws { _ = try orchestrator.down([], limitMilliseconds: 0) }
        func tryUp() throws { _ = try orchestrator.up([], options: Self.options) }
        func reset() throws { _ = try orchestrator.reset([], options: Self.options) }

        private func write(_ text: String) throws {
            let options = OpenOptions(format: "qcow2", readOnly: false)
            // The VM's own lock may live on for a moment in a program that another test is starting.
            var opened = try? DiskImage.open(overlay, options: options)
            for _ in 0..<100 where opened == nil {
                usleep(20_000)
                opened = try? DiskImage.open(overlay, options: options)
            }
            let image = try opened ?? DiskImage.open(overlay, options: options)
            try Array(text.utf8).withUnsafeBytes { try image.write(from: $0, at: 512) }
            try image.close()
        }

        /// What the overlay holds where `write` put it; nil where there is no overlay.
        func content() throws -> String? {
            guard Folder.exists(overlay) else { return nil }
            let image = try DiskImage.open(overlay, options: OpenOptions(format: "qcow2", lock: .none))
            defer { try? image.close() }
            var bytes = [UInt8](repeating: 0, count: 4)
            try bytes.withUnsafeMutableBytes { try image.read(into: $0, at: 512) }
            return String(decoding: bytes, as: UTF8.self)
        }

        func expectKept(_ when: String) throws {
            let found = try content()
            #expect(found == "kept", "\(when): \(found ?? "no overlay")")
        }
    }

    private struct Verb: Sendable {
        var name: String
        var run: @Sendable (Bench) throws -> Void
    }

    private static let verbs = [
        Verb(name: "up") { try $0.tryUp() },
        Verb(name: "plan") { _ = try $0.orchestrator.plan([]) },
        Verb(name: "status") { _ = try $0.orchestrator.status([]) },
        Verb(name: "prune") { bench in
            let state = bench.orchestrator.state
            try state.prune(state.prunable())
        },
    ]

    @Test(arguments: [true, false]) func noFailingHostCallCostsAnOverlay(lasts: Bool) throws {
        let bench = try Bench()
        for verb in Self.verbs {
            for code in [ENOSPC, EIO] {
                var succeeding = 0
                while true {
                    HostFaults.arm(.init(call: nil, succeeding: succeeding, code: code, lasts: lasts))
                    _ = try? verb.run(bench)
                    let struck = HostFaults.disarm()
                    try bench.down()
                    try bench.expectKept("\(verb.name), \(succeeding) calls before error \(code)")
                    if struck == 0 { break }
                    succeeding += 1
                    try #require(succeeding < 500)
                }
            }
        }
        try bench.up()
        try bench.expectKept("at the end")
    }

    /// A reset that fails on the way leaves the old overlay, or none, or a fresh one; the next `up` goes on by itself.
    @Test(arguments: [true, false]) func aResetThatFailsIsMadeGoodByTheNextUp(lasts: Bool) throws {
        var succeeding = 0
        while true {
            let bench = try Bench()
            HostFaults.arm(.init(call: nil, succeeding: succeeding, code: EIO, lasts: lasts))
            _ = try? bench.reset()
            let struck = HostFaults.disarm()
            try bench.up()
            let content = try bench.content()
            #expect(content == "kept" || content == "\0\0\0\0", "\(succeeding): \(content ?? "no overlay")")
            if struck == 0 {
                #expect(content == "\0\0\0\0")
                return
            }
            succeeding += 1
            try #require(succeeding < 200)
        }
    }

    private static let stateFiles = [
        "vm.json", "exit.json", "console.log", "console.index", "condition.json", "events.jsonl", "vm.log",
        "console.cursor", "../../lab.json", "../../events.jsonl", "../../lock", "lock",
    ]

    /// One damage of many kinds.
    private func damage(_ path: String, _ random: inout SeededRandom) throws -> String {
        let content = (try? Data(contentsOf: URL(fileURLWithPath: path))) ?? Data()
        switch random.below(6) {
        case 0:
            try? FileManager.default.removeItem(atPath: path)
            return "removed"
        case 1:
            try Data().write(to: URL(fileURLWithPath: path))
            return "emptied"
        case 2:
            let length = content.isEmpty ? 0 : random.below(content.count)
            try content.prefix(length).write(to: URL(fileURLWithPath: path))
            return "cut to \(length)"
        case 3 where !content.isEmpty:
            var changed = content
            let place = random.below(content.count), bit = random.below(8)
            changed[changed.startIndex + place] ^= UInt8(1 << bit)
            try changed.write(to: URL(fileURLWithPath: path))
            return "bit \(bit) of byte \(place)"
        case 4:
            try Data(repeating: 0, count: content.count).write(to: URL(fileURLWithPath: path))
            return "zeroed"
        default:
            try Data(random.bytes(1 + random.below(300))).write(to: URL(fileURLWithPath: path))
            return "noise"
        }
    }

    @Test func noDamageToStateCostsAnOverlay() throws {
        let bench = try Bench()
        var random = SeededRandom(7)
        for round in 0..<60 {
            var done: [String] = []
            for _ in 0...random.below(2) {
                let name = random.pick(Self.stateFiles)
                done.append("\(name) \(try damage(bench.vm.path + "/" + name, &random))")
            }
            let when = "round \(round): \(done.joined(separator: ", "))"
            for verb in Self.verbs.shuffled(using: &random) {
                _ = try? verb.run(bench)
                try bench.down()
                try bench.expectKept("\(when), \(verb.name)")
            }
            // Whatever it was, there is a way on that keeps the overlay.
            try bench.up(adopting: true)
            try bench.expectKept("\(when), up --adopt")
        }
    }

    @Test func aKilledLabctlCostsNoOverlay() throws {
        let bench = try Bench()
        var random = SeededRandom(11)
        for round in 0..<40 {
            let verb = random.pick([["up", "--no-wait"], ["down", "--timeout", "0s"], ["plan"], ["prune", "--yes"]])
            let (process, _, _) = try bench.fixture.start(verb)
            usleep(UInt32(random.below(60_000)))
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            try bench.expectKept("round \(round): \(verb[0]) was killed")
        }
        try bench.down()
        try bench.up()
        try bench.expectKept("at the end")
    }
}
