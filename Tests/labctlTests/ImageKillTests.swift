import Foundation
import Testing

/// Kills a real writer at random moments: its image opens, checks, and holds old or new bytes; a killed `convert` leaves
/// no target. `LABCTL_LONG_TESTS=n` kills n times as often.
@Suite struct ImageKillTests {
    private static let rounds =
        4 * (ProcessInfo.processInfo.environment["LABCTL_LONG_TESTS"].flatMap { Int($0) } ?? 1)
    private static let diskBytes = 8 << 20
    private static let requestBytes = 8192
    private static let stepBytes = 28_672

    /// A folder of a test with labctl as `qemu-img` in it.
    private final class Workbench {
        let folder = NSTemporaryDirectory() + "labctl-kill-" + UUID().uuidString
        init() throws {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try FileManager.default.createSymbolicLink(
                atPath: folder + "/qemu-img", withDestinationPath: LabFixture.programs + "/labctl")
        }
        deinit { try? FileManager.default.removeItem(atPath: folder) }

        func path(_ name: String) -> String { folder + "/" + name }

        func start(_ program: String, _ arguments: [String]) throws -> Process {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: program)
            process.arguments = arguments
            process.currentDirectoryURL = URL(fileURLWithPath: folder)
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            try process.run()
            return process
        }

        /// Runs our program to its end and returns its exit code.
        func image(_ arguments: [String]) throws -> Int32 { try finish(path("qemu-img"), arguments) }
        func qemu(_ arguments: [String]) throws -> Int32 { try finish("/usr/bin/qemu-img", arguments) }

        private func finish(_ program: String, _ arguments: [String]) throws -> Int32 {
            let process = try start(program, arguments)
            process.waitUntilExit()
            return process.terminationStatus
        }

        /// Starts our program and kills it after so many microseconds; true when it was still running.
        func kill(_ arguments: [String], after microseconds: UInt32) throws -> Bool {
            let process = try start(path("qemu-img"), arguments)
            usleep(microseconds)
            let wasRunning = process.isRunning
            Foundation.kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            return wasRunning
        }
    }

    /// Bytes that no pattern of a round has.
    private static let original: [UInt8] = (0..<diskBytes).map { (index: Int) -> UInt8 in
        let page = index / 4096
        return UInt8((page + page / 16 * 7) % 100)
    }

    @Test(arguments: ["qcow2", "qcow", "vmdk", "vdi", "vhdx", "vpc", "parallels", "cow", "raw"])
    func aKilledWriterLeavesAnImageThatOpens(format: String) throws {
        let bench = try Workbench()
        try Data(Self.original).write(to: URL(fileURLWithPath: bench.path("in.raw")))
        let image = bench.path("disk.img")
        // Every other megabyte is stored, so that writes find room of both kinds.
        var stored = Self.original
        for megabyte in stride(from: 1, to: Self.diskBytes >> 20, by: 2) {
            stored.replaceSubrange(megabyte << 20..<(megabyte + 1) << 20, with: repeatElement(0, count: 1 << 20))
        }
        try Data(stored).write(to: URL(fileURLWithPath: bench.path("in.raw")))
        #expect(
            try bench.image(["convert", "-f", "raw", "-O", format, bench.path("in.raw"), image]) == 0)
        var before = stored
        var kills = 0
        for round in 0..<Self.rounds {
            let pattern = UInt8(101 + round % 150)
            let start = round * 4096 % 65536
            let wasRunning = try bench.kill(
                [
                    "bench", "-w", "-f", format, "-c", "4000", "-s", "\(Self.requestBytes)", "-S", "\(Self.stepBytes)",
                    "-o", "\(start)", "-d", "2", "--flush-interval", "8", "--pattern", "\(pattern)", image,
                ], after: UInt32.random(in: 3000...60_000))
            if wasRunning { kills += 1 }
            if ["qcow2", "vmdk", "vdi", "vhdx", "parallels"].contains(format) {
                let ours = try bench.image(["check", "-f", format, image])
                #expect(ours == 0 || ours == 3, "our check says \(ours)")
            }
            // Reading it replays a VHDX log in memory; QEMU's check would want to write.
            #expect(
                try bench.image(["convert", "-f", format, "-O", "raw", image, bench.path("out.raw")]) == 0)
            let after = [UInt8](try Data(contentsOf: URL(fileURLWithPath: bench.path("out.raw"))))
            let fault = (0..<Self.diskBytes).first { after[$0] != before[$0] && after[$0] != pattern }
            #expect(fault == nil, "byte \(fault ?? 0) is \(after[fault ?? 0]), it was \(before[fault ?? 0])")
            before = Array(after.prefix(Self.diskBytes))
        }
        #expect(kills > 0, "the writer was always faster than its killer")
        // Written on in peace, it is as good as new.
        #expect(
            try bench.image(["bench", "-w", "-f", format, "-c", "200", "-s", "4096", "-S", "40960", image]) == 0)
        if ["qcow2", "vmdk", "vdi", "vhdx"].contains(format) {
            let theirs = try bench.qemu(["check", "-f", format, image])
            #expect(theirs == 0 || theirs == 3, "qemu-img check says \(theirs)")
        }
    }

    @Test(arguments: ["qcow2", "raw", "vmdk", "vhdx"], [false, true])
    func aKilledConvertLeavesNoTarget(format: String, hasOldTarget: Bool) throws {
        let bench = try Workbench()
        var big = [UInt8]()
        for _ in 0..<8 { big += Self.original }
        try Data(big).write(to: URL(fileURLWithPath: bench.path("in.raw")))
        let target = bench.path("target.img")
        let old = Data("not an image".utf8)
        for _ in 0..<Self.rounds {
            if hasOldTarget { try old.write(to: URL(fileURLWithPath: target)) }
            _ = try bench.kill(
                ["convert", "-f", "raw", "-O", format, bench.path("in.raw"), target],
                after: UInt32.random(in: 1000...80_000))
            guard let found = try? Data(contentsOf: URL(fileURLWithPath: target)) else {
                #expect(!hasOldTarget)
                continue
            }
            if hasOldTarget, found == old { continue }
            // It was faster: then the target is whole.
            let same = try bench.image(["compare", "-f", "raw", "-F", format, bench.path("in.raw"), target])
            #expect(same == 0, "a partial target was left")
            try FileManager.default.removeItem(atPath: target)
        }
    }
}
