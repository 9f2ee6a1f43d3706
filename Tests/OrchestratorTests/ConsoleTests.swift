import Glibc
import Testing
import VMProtocol

@testable import Orchestrator

/// Looking for text in console logs, and showing them.
@Suite struct ConsoleTests {
    private func append(_ text: String, to path: String) throws {
        let file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_APPEND)
        #expect(file.writeAll(Array(text.utf8)))
    }

    @Test func textIsFoundAcrossTwoReads() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/console.log"
        var follower = ConsoleFollower(path: path, from: 0, lookingFor: "login: ")
        var isFound: Bool
        isFound = follower.find()
        #expect(!isFound)
        try append("Debian\r\nhost log", to: path)
        isFound = follower.find()
        #expect(!isFound)
        try append("in: root", to: path)
        isFound = follower.find()
        #expect(isFound)
        // The place behind the text: where the next look begins.
        #expect(follower.offset == UInt64("Debian\r\nhost login: ".utf8.count))
    }

    @Test func textBeforeTheStartIsNotFound() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/console.log"
        try append("login: ", to: path)
        var follower = ConsoleFollower(path: path, from: 7, lookingFor: "login: ")
        var isFound: Bool
        isFound = follower.find()
        #expect(!isFound)
        try append("login: ", to: path)
        isFound = follower.find()
        #expect(isFound)
    }

    @Test(arguments: [
        ("aab", "ab", 3), ("ababac", "abac", 6), ("abc", "abc", 3), ("abc", "abcd", nil), ("", "a", nil),
    ])
    func aTextEndsBehindItsFirstOccurrence(text: String, needle: String, end: Int?) {
        #expect(ConsoleFollower.end(of: Array(needle.utf8), in: Array(text.utf8)[...]) == end)
    }

    @Test func plainTextHasNoEscapes() {
        let text = "\u{1B}[31mred\u{1B}[0m\u{1B}]0;title\u{07} ok\r\n\u{1B}(Bend\u{08}"
        #expect(ConsoleLog.plain(Array(text.utf8)) == "red ok\nen")
    }

    @Test func anUnfinishedEscapeEndsTheText() {
        #expect(ConsoleLog.plain(Array("a\u{1B}[12;".utf8)) == "a")
        #expect(ConsoleLog.plain(Array("a\u{1B}".utf8)) == "a")
    }

    @Test func lastLinesAreTheLastOnesWithText() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/console.log"
        try append("one\r\n\r\n  \r\ntwo\r\nthree", to: path)
        #expect(ConsoleLog.lastLines(path, from: 0, count: 2) == ["two", "three"])
        #expect(ConsoleLog.lastLines(path, from: 0) == ["one", "two", "three"])
    }

    @Test func jsonObjectsAreCutFromAStreamAnyWayItArrives() {
        let text = Array(#"{"a":"}{\""} {"b":[1,{"c":2}]}"#.utf8)
        for split in 0...text.count {
            var stream = JSONStream()
            let objects = stream.take(text[..<split]) + stream.take(text[split...])
            #expect(objects.map { String(decoding: $0, as: UTF8.self) } == [#"{"a":"}{\""}"#, #"{"b":[1,{"c":2}]}"#])
        }
    }

    @Test func aDescriptionSurvivesTheJourney() throws {
        var description = VMDescription(name: "ä/\"", memoryBytes: 1 << 40)
        description.disks = [.init(slot: .hdb, path: "/a b/c", format: "raw", readOnly: true, snapshot: true)]
        description.cdrom = ""
        #expect(JSONCoding.decode(VMDescription.self, from: JSONCoding.encode(description)) == description)
    }
}
