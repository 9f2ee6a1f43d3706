import Foundation
import Testing

/// The built labctl under the name qemu-img, against the real one. `scripts/compare-qemu-img` without `--only` compares
/// over a thousand command lines.
@Suite struct ImageLinkTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    @Test(arguments: [
        "^(info|check) --output=json [a-z]*.qcow2$", "^snapshot -[acd]", "^bitmap --", "^resize .*qcow2",
        "^create -f qcow2 (x|-o [a-z_]*=[^,]*) ", "^convert -[nlSm] ", "^(foo|--foo|create -z x 1M)$",
    ])
    func commandLinesGiveWhatQEMUImgGives(only: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Self.root + "/scripts/compare-qemu-img")
        process.arguments = ["--ours", LabFixture.programs + "/labctl", "--only", only]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "\(output)")
        #expect(!output.contains("\n0 command lines"), "\(only) fits no line")
    }
}
