import Foundation
import Testing

/// SIGUSR1 asks a verb how far it is, as with qemu-img; SIGINT ends it and leaves no target.
@Suite struct ImageProgressTests {
    @Test func aSignalShowsHowFarAConvertIs() throws {
        let folder = NSTemporaryDirectory() + "labctl-progress-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createSymbolicLink(
            atPath: folder + "/qemu-img", withDestinationPath: LabFixture.programs + "/labctl")
        try Data(repeating: 0x5a, count: 64 << 20).write(to: URL(fileURLWithPath: folder + "/in.raw"))
        let convert = Process()
        convert.executableURL = URL(fileURLWithPath: folder + "/qemu-img")
        convert.currentDirectoryURL = URL(fileURLWithPath: folder)
        // Slow enough not to be done before the signal.
        convert.arguments = ["convert", "-p", "-r", "1M", "-f", "raw", "-O", "qcow2", "in.raw", "out.qcow2"]
        let output = Pipe(), messages = Pipe()
        convert.standardOutput = output
        convert.standardError = messages
        try convert.run()
        // The first percentage comes after the signal is being listened for.
        #expect(!output.fileHandleForReading.availableData.isEmpty)
        kill(convert.processIdentifier, SIGUSR1)
        let shown = String(decoding: messages.fileHandleForReading.availableData, as: UTF8.self)
        #expect(shown.hasSuffix("/100%)\n"), "\(shown)")
        kill(convert.processIdentifier, SIGINT)
        convert.waitUntilExit()
        #expect(convert.terminationStatus == 130)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).sorted() == ["in.raw", "qemu-img"])
    }
}
