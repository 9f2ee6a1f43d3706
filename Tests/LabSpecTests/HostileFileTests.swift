import Foundation
import Seeded
import Testing

@testable import LabSpec

@Suite struct HostileFileTests {
    /// What holds for every text, however broken.
    private func checkInvariants(_ text: String, _ comment: @autoclosure () -> String) {
        let loaded = load(text)
        let source = loaded.source
        for diagnostic in loaded.diagnostics {
            for span in [diagnostic.span] + diagnostic.notes.map(\.span) {
                let isInside =
                    (1...source.lines.count).contains(span.start.line)
                    && (1...source.lines.count).contains(span.end.line)
                    && (1...source.line(span.start.line).count + 1).contains(span.start.column)
                    && (1...source.line(span.end.line).count + 1).contains(span.end.column)
                    && span.start <= span.end
                #expect(isInside, "\(span) of '\(diagnostic.message)' is outside: \(comment())")
            }
        }
        #expect(loaded.isValid == !loaded.diagnostics.contains { $0.severity == .error }, "\(comment())")
        for format in DiagnosticFormat.allCases { _ = loaded.rendered(as: format, usesColor: true) }
    }

    @Test func mutatedFilesNeverCrashAndPointInsideThemselves() throws {
        let seeds = try GoldenFile.all.map { try $0.text() }.filter { $0.utf8.count < 4000 }
        let tokens = [
            "&a", "*a", "<<: *a", "- ", ": ", "? ", "{", "}", "[", "]", "\"", "'", "|", ">", "!!str", "---", "...",
            "%YAML 1.2",
            "${", "${X:-", "}", "\t", "\r\n", "\u{85}", "\u{2028}", "\u{FEFF}", "日", "\u{0}", "\u{1B}[2J",
            "999999999999999999999",
            "hdc: {base: a}", "cdrom: x", "replicas: 999", "depends_on: [a]", "#", "~", "\\", "@", "`",
        ]
        // By hand for longer: LABCTL_FUZZ_ROUNDS=1000000 LABCTL_FUZZ_SEED=2.
        let environment = ProcessInfo.processInfo.environment
        let rounds = environment["LABCTL_FUZZ_ROUNDS"].flatMap { Int($0) } ?? 4000
        var random = SeededRandom(environment["LABCTL_FUZZ_SEED"].flatMap { UInt64($0) } ?? 1)
        for round in 0..<rounds {
            var scalars = Array(seeds[Int(random.next() % UInt64(seeds.count))].unicodeScalars)
            for _ in 0...Int(random.next() % 4) {
                let place = Int(random.next() % UInt64(scalars.count + 1))
                let length = min(scalars.count - place, Int(random.next() % 12))
                switch random.next() % 5 {
                case 0: scalars.removeSubrange(place..<place + length)
                case 1:
                    scalars.insert(
                        contentsOf: scalars[place..<place + length], at: Int(random.next() % UInt64(place + 1)))
                case 2:
                    scalars.insert(
                        contentsOf: tokens[Int(random.next() % UInt64(tokens.count))].unicodeScalars, at: place)
                case 3 where place < scalars.count:
                    scalars[place] = Unicode.Scalar(UInt8(truncatingIfNeeded: random.next() % 128))
                case 4 where place > 0: scalars.removeSubrange(place...)
                default: break
                }
            }
            var text = ""
            text.unicodeScalars.append(contentsOf: scalars)
            checkInvariants(text, "round \(round)")
        }
    }

    @Test func bytesThatAreNoTextAreRefused() throws {
        let path = NSTemporaryDirectory() + "labspec-\(UUID().uuidString).yaml"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data([0x6C, 0x61, 0x62, 0x3A, 0xFF, 0xFE]).write(to: URL(fileURLWithPath: path))
        #expect(LabFile.load(path: path).diagnostics.map(\.code) == [.syntax])
        try Data(Array("lab: a\nvms: # \u{E9}t".utf8) + [0xE9]).write(to: URL(fileURLWithPath: path))
        let latin1 = try #require(LabFile.load(path: path).diagnostics.first)
        #expect(latin1.code == .syntax && latin1.span.start.line == 2 && latin1.span.start.column == 10)
        try Data(repeating: 0x20, count: SyntaxLimits.fileBytes + 1).write(to: URL(fileURLWithPath: path))
        #expect(LabFile.load(path: path).diagnostics.map(\.code) == [.limit])
        #expect(LabFile.load(path: path + ".none").diagnostics.map(\.code) == [.unreadableFile])
        #expect(LabFile.load(path: NSTemporaryDirectory()).diagnostics.map(\.code) == [.unreadableFile])
    }

    @Test func everyPrefixOfAFileIsHandled() throws {
        let text = try #require(GoldenFile.all.first { $0.name == "valid-anchors" }).text()
        for length in 0..<text.count { checkInvariants(String(text.prefix(length)), "prefix \(length)") }
    }

    @Test func manyMistakesAreCutOff() {
        let names = (0..<20_000).map { "n\($0)" }.joined(separator: ", ")
        let vms = (0..<900).map { "  m\($0): { cdrom: a.iso, replicas: 999 }\n" }.joined()
        let keys = (0..<5000).map { "  unknown\($0): 1\n" }.joined()
        let text =
            "lab: a\nvms:\n" + vms + "  last:\n    depends_on: [\(names)]\n"
            + keys.replacing("  unknown", with: "    unknown")
        let loaded = load(text)
        #expect(!loaded.isValid)
        #expect(loaded.diagnostics.count == DiagnosticSink.limit + 1)
        #expect(loaded.diagnostics.last?.message.hasSuffix("more problems are not shown") == true)
    }

    @Test func aKnotOfDependenciesShowsAFewOfItsCycles() {
        let names = (0..<200).map { "m\($0)" }
        let vms = names.map { "  \($0): { cdrom: a.iso, depends_on: [\(names.joined(separator: ", "))] }\n" }.joined()
        let loaded = load("lab: a\nvms:\n" + vms)
        #expect(loaded.diagnostics.allSatisfy { $0.code == .dependencyCycle })
        #expect((1...20).contains(loaded.diagnostics.count))
    }

    @Test func deepNestingStopsEarly() {
        for text in [String(repeating: "[", count: 100_000), String(repeating: "{a: ", count: 50_000)] {
            #expect(load(text).diagnostics.map(\.code) == [.limit])
        }
        let block = (0..<200).map { String(repeating: " ", count: $0) + "a:\n" }.joined()
        #expect(load(block).diagnostics.map(\.code) == [.limit])
    }

    @Test func variablesCannotBlowUpTheFile() {
        let text =
            "lab: a\nvms:\n  m: { cdrom: a.iso, depends_on: [" + String(repeating: "'${X}', ", count: 2000) + "] }\n"
        let loaded = load(text, set: ["X": String(repeating: "x", count: 60_000)])
        #expect(loaded.diagnostics.contains { $0.code == .limit })
    }

    @Test func variablesAreReplacedOnce() {
        let loaded = load("lab: \"${A}\"\nvms: { m: { cdrom: a.iso } }", set: ["A": "${B}", "B": "b"])
        #expect(loaded.diagnostics.contains { $0.code == .badName })
    }

    @Test func aThousandVMsThatWaitInARowAreNoProblem() {
        let vms = (0..<1000).map { index in
            "  m\(index): { cdrom: a.iso" + (index == 0 ? "" : ", depends_on: [m\(index - 1)]") + " }\n"
        }
        #expect(load("lab: a\nvms:\n" + vms.joined()).isValid)
    }
}
