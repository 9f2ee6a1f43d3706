import Images
import Testing

@testable import labctl

/// Names that a stranger's image brings along, on a terminal.
@Suite struct ImageOutputTests {
    @Test(arguments: [
        "\u{1B}[2J", "\u{1B}]0;title\u{7}", "\u{9B}31m", "a\rb", "a\nb", "\u{202E}txt.exe", "\u{2028}", "\u{7F}",
    ])
    func namesFromImagesDoNotReachTheTerminalAsTheyAre(name: String) {
        let info = SnapshotInfo(
            id: name, name: name, vmStateSize: 0, dateSeconds: 0, dateNanoseconds: 0, vmClockNanoseconds: 0,
            icount: nil,
            diskSize: 0)
        let text = SnapshotTable.text([info], printable: { ImageOutput.printable($0) })
        #expect(!text.contains(name))
        // A heading and one line.
        #expect(text.split(separator: "\n", omittingEmptySubsequences: false).count == 3)
        #expect(ImageOutput.printable("say " + name).hasPrefix("say "))
    }

    @Test func ordinaryNamesStayAsTheyAre() {
        #expect(ImageOutput.printable("Übung 1 – Daten 日本") == "Übung 1 – Daten 日本")
        #expect(ImageOutput.printable("two\nlines", keepsLines: true) == "two\nlines")
    }

    @Test func aListOfThousandsOfSnapshotsIsALineEach() {
        let info = SnapshotInfo(
            id: "1", name: "n", vmStateSize: .max, dateSeconds: .max, dateNanoseconds: .max, vmClockNanoseconds: .max,
            icount: .max, diskSize: .max)
        let text = SnapshotTable.text(
            [SnapshotInfo](repeating: info, count: 65536), printable: { ImageOutput.printable($0) })
        #expect(text.split(separator: "\n").count == 65537)
        #expect(text.utf8.count < 65537 * 120)
    }
}
