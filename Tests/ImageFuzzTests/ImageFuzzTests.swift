import Foundation
import Images
import Testing

/// A bounded number of damaged images of every registered format. By hand, for long: `make fuzz`.
@Suite struct ImageFuzzTests {
    /// The folder that the test's own program was built into holds imagefuzz too.
    private static let program: String? = {
        let own = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
        return [own, "/proc/self/exe"].map {
            URL(fileURLWithPath: $0).resolvingSymlinksInPath().deletingLastPathComponent().path + "/imagefuzz"
        }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }()

    @Test(arguments: FormatRegistry.formats.map(\.name))
    func damagedImagesGetErrorsAndNothingWorse(format: String) throws {
        let program = try #require(Self.program, "imagefuzz has not been built")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = ["run", "--format", format, "--iterations", "250", "--most", "3"]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "\(output)")
        // Damage that no image survives would test nothing but the header's parser.
        let opened = output.components(separatedBy: ", ").first { $0.hasSuffix(" opened") }
        #expect(opened.flatMap { Int($0.dropLast(" opened".count)) } ?? 0 > 25, "\(output)")
    }
}
