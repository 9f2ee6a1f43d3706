import ArgumentParser
import Images

struct ImageFormats: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "formats", abstract: "Lists the image formats and what can be done with each.",
        discussion: ImageHelp.discussion("formats"))

    func run() throws { print(FormatRegistry.capabilityTable(), terminator: "") }
}

/// Words that a shell offers for images.
enum ImageCompletion {
    /// For options that take a format.
    static let formats = CompletionKind.list(FormatRegistry.formats.map(\.name))
}
