import Foundation
import Orchestrator
import Testing

@testable import VMProtocol
@testable import labvm

/// A folder of its own for a test; gone with the last reference.
final class TemporaryFolder {
    let path: String

    init() throws {
        var template = Array("/tmp/labvm-test-XXXXXX".utf8CString)
        path = try #require(mkdtemp(&template).map { String(cString: $0) })
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// The console's log: bounded, readable while it moves, and never short of a byte that the disk refused for a while.
@Suite struct ConsoleLogFileTests {
    /// Bytes whose place tells their offset: every eight of them are a number.
    private func numbered(_ first: UInt64, _ count: UInt64) -> [UInt8] {
        (first..<first + count).flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
    }

    private func sizes(_ folder: TemporaryFolder) throws -> UInt64 {
        try ["console.log", "console.log.1"].reduce(0) { sum, name in
            let attributes = try FileManager.default.attributesOfItem(atPath: "\(folder.path)/\(name)")
            return sum + (attributes[.size] as? UInt64 ?? 0)
        }
    }

    @Test func aLogIsBoundedAndItsOffsetsStay() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/console.log"
        var log = try ConsoleLogFile(path)
        let piece: UInt64 = 4096
        let total = 3 * ConsoleIndex.largestLogBytes + 5 * piece
        for start in stride(from: 0, to: total / 8, by: Int(piece)) {
            let bytes = numbered(UInt64(start), min(piece, total / 8 - UInt64(start)))
            #expect(log.append(bytes[...]) == bytes.count)
        }
        #expect(try sizes(folder) <= 2 * ConsoleIndex.largestLogBytes)
        #expect(ConsoleLog.length(path) == total)
        // The last bytes are there, at their offset; the first are not kept.
        var follower = ConsoleFollower(path: path, from: total - 80, lookingFor: "")
        #expect(follower.advance() == numbered(total / 8 - 10, 10))
        var early = ConsoleFollower(path: path, from: 0, lookingFor: "")
        let oldest = early.advance()
        let start = early.offset - UInt64(oldest.count)
        #expect(start > 0 && start % 8 == 0)
        #expect(oldest.prefix(8).elementsEqual(numbered(start / 8, 1)))
    }

    @Test func aFollowerReadsEveryByteWhileTheLogMoves() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/console.log"
        var log = try ConsoleLogFile(path)
        let total = 2 * ConsoleIndex.largestLogBytes + (1 << 20)
        var follower = ConsoleFollower(path: path, from: 0, lookingFor: "")
        var expected: UInt64 = 0
        for start in stride(from: UInt64(0), to: total / 8, by: 1 << 15) {
            let bytes = numbered(start, min(1 << 15, total / 8 - start))
            #expect(log.append(bytes[...]) == bytes.count)
            let seen = follower.advance()
            #expect(seen == numbered(expected, UInt64(seen.count / 8)))
            expected += UInt64(seen.count / 8)
        }
        #expect(expected == total / 8)
    }

    @Test func aLogGoesOnWhereTheLastRunEnded() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/console.log"
        var first: ConsoleLogFile? = try ConsoleLogFile(path)
        _ = first?.append([UInt8](repeating: 1, count: Int(ConsoleIndex.largestLogBytes) + 10)[...])
        first = nil
        var second = try ConsoleLogFile(path)
        _ = second.append([2, 2])
        #expect(ConsoleLog.length(path) == ConsoleIndex.largestLogBytes + 12)
        var follower = ConsoleFollower(path: path, from: ConsoleIndex.largestLogBytes + 9, lookingFor: "")
        #expect(follower.advance() == [1, 2, 2])
    }

    @Test func aDamagedIndexCostsNoMoreThanOffsets() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/console.log"
        for text in ["", "x", String(repeating: "\u{7F}", count: 24)] {
            try Data(text.utf8).write(to: URL(fileURLWithPath: ConsoleIndex.path(of: path)))
            try? FileManager.default.removeItem(atPath: path)
            var log = try ConsoleLogFile(path)
            _ = log.append(Array("words".utf8)[...])
            var follower = ConsoleFollower(path: path, from: 0, lookingFor: "words")
            let isFound = follower.find()
            #expect(isFound)
        }
    }

    @Test func bytesThatTheDiskRefusesWaitAndComeInOrder() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/console.log"
        let output = try ConsoleOutput(logPath: path, hold: nil, schedule: {})
        func say(_ text: String) { Array(text.utf8).withUnsafeBytes { output.append($0) } }
        say("one ")
        _ = output.drain()
        HostFaults.arm(.init(call: .write, succeeding: 0, code: ENOSPC, lasts: true))
        say("two ")
        _ = output.drain()
        say("three ")
        _ = output.drain()
        #expect(output.trouble?.contains("10 bytes of console output wait") == true, "\(output.trouble ?? "")")
        #expect(output.trouble?.contains(path) == true)
        HostFaults.disarm()
        say("four")
        _ = output.drain()
        #expect(output.trouble == nil)
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "one two three four")
    }
}

/// The history of a VM.
@Suite struct EventHistoryTests {
    private func events(_ path: String) throws -> [LifecycleEvent] {
        try #require(try StateFile.read(path)).split(separator: UInt8(ascii: "\n")).map {
            try #require(JSONCoding.decode(LifecycleEvent.self, from: Array($0)))
        }
    }

    @Test func aHistoryIsBoundedAndKeepsTheNewest() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/events.jsonl"
        let history = try EventHistory(path)
        history.reserve()
        for number in 0..<12_000 {
            try history.append(LifecycleEvent(time: Double(number), vm: "alpha", event: "reset", detail: "as a test"))
        }
        #expect(try #require(try StateFile.read(path)).count <= EventHistory.largestBytes)
        let kept = try events(path)
        #expect(kept.last?.time == 11_999)
        #expect(kept.count > 1000)
        #expect(zip(kept, kept.dropFirst()).allSatisfy { $0.time + 1 == $1.time })
    }

    @Test func whatComesOverAndOverIsCounted() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/events.jsonl"
        let recorder = try EventRecorder(path, of: "alpha", loop: IOLoop())
        for _ in 0..<500 { recorder.recordOften("reset") }
        recorder.record("started")
        recorder.finish()
        let told = try events(path).map { "\($0.event) \($0.detail ?? "")" }
        #expect(told == ["reset ", "started ", "reset 499 more times"])
    }

    @Test func eventsOfAFullDiskComeWhenThereIsRoom() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/events.jsonl"
        let recorder = try EventRecorder(path, of: "alpha", loop: IOLoop())
        HostFaults.arm(.init(call: .write, succeeding: 0, code: ENOSPC, lasts: true))
        recorder.record("io-error", "full")
        HostFaults.disarm()
        recorder.record("resumed")
        #expect(try events(path).map(\.event) == ["io-error", "resumed"])
    }

    @Test func theLogKnowsWhenSomethingWasSaid() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/console.log"
        let before = WallClock.now
        #expect(ConsoleTimes.offset(since: before, log: path) == nil)
        var log = try ConsoleLogFile(path)
        #expect(log.append([UInt8](repeating: 7, count: 32)[...]) == 32)
        // Within one second it is one entry.
        #expect(log.append([UInt8](repeating: 7, count: 32)[...]) == 32)
        #expect(ConsoleTimes.offset(since: before - 60, log: path) == nil)
        #expect(ConsoleTimes.offset(since: WallClock.now + 60, log: path) == UInt64.max)
        // A second process goes on where the first ended.
        var times = try ConsoleTimes(log: path)
        times.note(offset: 64)
        #expect(ConsoleTimes.offset(since: WallClock.now + 60, log: path) == UInt64.max)
        #expect(try FileManager.default.attributesOfItem(atPath: folder.path + "/console.times")[.size] as? Int == 48)
    }
}
