import Images

/// What `--help` of an image verb says below its abstract: examples, and what its values stand for.
enum ImageHelp {
    /// `examples` are command lines without the program's name.
    static func discussion(_ examples: String...) -> String { "\(list(examples))\n\n\(values)" }

    /// Of a verb that takes no format.
    static func examples(_ examples: String...) -> String { list(examples) }

    private static func list(_ examples: [String]) -> String {
        "Examples:\n" + examples.map { "  \(ImageOutput.program) \($0)" }.joined(separator: "\n")
    }

    private static var values: String {
        let known = FormatRegistry.formats
        let created = known.filter { $0.capabilities.contains(.create) }
        func list(_ formats: [any ImageFormat]) -> String { formats.map(\.name).joined(separator: ", ") }
        return """
            FORMAT is one of \(list(known)). New images can be \(list(created)). '\(ImageOutput.program) formats' says \
            what can be done with each, 'create -f FORMAT -o help' which options it has.
            SIZE, OFFSET and BYTES are numbers of bytes with k, M, G, T, P or E behind them for powers of 1024.
            MODE of a cache is none, writeback, writethrough, directsync or unsafe; of preallocation off, metadata, \
            falloc or full.
            OBJECT is secret,id=NAME,data=TEXT or secret,id=NAME,file=PATH.
            """
    }
}
