import Foundation
import Testing

/// The built labctl under the name qemu-img, against the real one. `scripts/compare-qemu-img` without `--only` compares
/// over a thousand command lines.
@Suite struct ImageLinkTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    private static let lines = [
        "^(info|check) --output=json [a-z]*.qcow2$", "^snapshot -[acd]", "^bitmap --(add|remove|merge)",
        "^create -f qcow2 -o [a-z_]*=[^,]* x", "^(foo|--foo|create -z x 1M)$",
    ]

    @Test func commandLinesGiveWhatQEMUImgGives() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Self.root + "/scripts/compare-qemu-img")
        process.arguments = ["--ours", LabFixture.programs + "/labctl", "--only", Self.lines.joined(separator: "|")]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "\(output)")
        #expect(output.contains("command lines compared, 0 differ") && !output.hasPrefix("0 "), "\(output)")
    }
}
