import ArgumentParser
import Foundation
import Orchestrator

/// `labctl graph`.
struct GraphCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "graph", abstract: "Shows which images are made from which, and which VMs stand on them.",
        discussion: """
              labctl graph                             a tree of text
              labctl graph --format svg > lab.svg      a picture
              labctl graph --format mermaid            for Markdown pages
              labctl graph --format dot | dot -Tpdf    for Graphviz
            """)

    /// What is printed.
    enum Form: String, ExpressibleByArgument, CaseIterable {
        case text, dot, mermaid, svg, json
    }

    @OptionGroup var lab: LabArguments

    @Option(help: "text, dot (for Graphviz), mermaid (for Markdown), svg or json.")
    var format: Form = .text

    func run() throws {
        try LabSession.run(lab, progress: .quiet) { session in
            let graph = LabGraph(session.orchestrator.lab)
            switch format {
            case .text: print(graph.text, terminator: "")
            case .dot: print(graph.dot, terminator: "")
            case .mermaid: print(graph.mermaid, terminator: "")
            case .svg: print(graph.svg, terminator: "")
            case .json: JSONOutput.write(graph)
            }
        }
    }
}
