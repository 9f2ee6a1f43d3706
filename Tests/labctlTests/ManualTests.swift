import Testing

@testable import labctl

/// Manual pages and completion are made from the command tree: every verb has them.
@Suite struct ManualTests {
    @Test func everyVerbHasAPage() throws {
        let pages = try #require(ManualPages()).pages
        let names = Set(pages.map(\.name))
        for group in Labctl.configuration.groupedSubcommands {
            for verb in group.subcommands {
                #expect(names.contains("labctl-\(verb.configuration.commandName ?? "").1"))
            }
        }
        #expect(names.contains("labctl.1"))
        #expect(names.contains("labctl-image-convert.1"))
        #expect(!names.contains("labctl-help.1"))
        for page in pages {
            #expect(page.text.hasPrefix(".TH \""), "\(page.name)")
            #expect(page.text.contains("\n.SH SYNOPSIS\n"), "\(page.name)")
        }
    }

    @Test func aPageHasOptionsAndExamplesAsTheyAre() throws {
        let page = try #require(ManualPages()?.pages.first { $0.name == "labctl-exec.1" }?.text)
        #expect(page.contains(".nf\n  labctl exec student\\-01 'ls /etc | wc \\-l'"), "\(page)")
        #expect(page.contains(".B \\-i, \\-\\-stdin\n"), "\(page)")
        #expect(page.contains("\\-\\-timeout timeout"), "\(page)")
    }

    @Test(arguments: ["bash", "zsh", "fish"]) func everyShellIsOfferedEveryVerb(shell: String) throws {
        let script = Labctl.completionScript(for: try #require(.init(rawValue: shell)))
        // Verbs, formats of images; VMs and lab files are asked for when somebody types.
        for word in ["up", "check", "screen", "cp", "qcow2", "gradescope"] { #expect(script.contains(word), "\(word)") }
        #expect(script.contains("custom-completion") || script.contains("---completion"))
    }
}
