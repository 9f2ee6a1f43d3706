import ArgumentParser
import Images
import Testing

@testable import labctl

/// What `--help` of the image verbs promises.
@Suite struct ImageHelpTests {
    private static let verbs = ImageCommand.configuration.subcommands

    @Test(arguments: verbs.indices) func everyVerbHasAnExampleAndNamesItsFormats(index: Int) throws {
        let verb = Self.verbs[index]
        let name = try #require(verb.configuration.commandName)
        let help = ImageCommand.helpMessage(for: verb)
        #expect(help.contains(" image \(name)"))
        #expect(help.contains("Examples:"))
        if help.contains("FORMAT") { for format in FormatRegistry.formats { #expect(help.contains(format.name)) } }
        if help.contains("\n  -f ") { #expect(help.contains("-f <FORMAT>")) }
        // A value without a name of its own shows the variable's.
        #expect(!help.contains("-text>"))
    }

    @Test func aValueThatLooksLikeAskingForHelpDoesNotAsk() {
        for lists in [["help"], ["?"], ["cluster_size=4k,help"], ["help,size=1"], ["size=1", "help"]] {
            #expect(ImageOptions.asksForHelp(lists), "\(lists)")
        }
        for lists in [["backing_file=x,,help"], ["backing_file=x,,?"], ["backing_file=help"], ["helpless"], []] {
            #expect(!ImageOptions.asksForHelp(lists), "\(lists)")
        }
    }

    /// The examples are command lines that the parser takes.
    @Test(arguments: verbs.indices) func examplesAreUnderstood(index: Int) throws {
        let lines = ImageCommand.helpMessage(for: Self.verbs[index]).split(separator: "\n")
        let examples = lines.filter { $0.hasPrefix("  labctl image ") }
        #expect(!examples.isEmpty)
        for example in examples {
            let words = example.split(separator: " ").dropFirst(2).map { $0 == "\"\"" ? "" : String($0) }
            #expect(throws: Never.self, "\(example)") { _ = try ImageCommand.parseAsRoot(words) }
        }
    }
}
