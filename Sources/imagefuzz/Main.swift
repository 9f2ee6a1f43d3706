// imagefuzz: damages good images of every registered format and does with them all that the library can do.
//
//     imagefuzz run [--format F] [--seed N] [--first N] [--iterations N | --seconds N] [--most FINDINGS] [--memory MIB]
//     imagefuzz replay --format F --seed N --first N        one iteration in this process, files kept in ./imagefuzz-replay
//
// Ends with 0 when nothing was found. See docs/FORMATS.md, "Hostile images".
import Glibc
import Images

/// What the command line asks for.
struct Arguments {
    enum Command: String { case run, worker, replay }
    var command = Command.run
    var format = ""
    var seed: UInt64 = 1
    var first = 0
    var iterations = 200
    /// For each format; 0: a fixed number of iterations.
    var seconds = 0
    /// Stop a format after so many findings.
    var most = 10
    /// Resident memory after which a worker reports the iteration; a sanitizer's own comes on top.
    var memoryBytes = 320 << 20
    var corpus = ""
    var scratch = ""
    var keeps: Bool { command == .replay }

    init(_ words: [String]) throws(FuzzFailure) {
        var rest = words[...]
        guard let name = rest.popFirst(), let command = Command(rawValue: name) else {
            throw FuzzFailure(
                "usage: imagefuzz run|replay [--format F] [--seed N] [--first N] [--iterations N | --seconds N] "
                    + "[--most FINDINGS] [--memory MIB]")
        }
        self.command = command
        while let option = rest.popFirst() {
            guard let value = rest.popFirst() else { throw FuzzFailure("\(option) needs a value") }
            func number() throws(FuzzFailure) -> Int {
                guard let number = Int(value), number >= 0 else {
                    throw FuzzFailure("\(option) \(value): not a number")
                }
                return number
            }
            switch option {
            case "--format": format = value
            case "--seed": seed = UInt64(try number())
            case "--first": first = try number()
            case "--iterations": iterations = try number()
            case "--seconds": seconds = try number()
            case "--most": most = try number()
            case "--memory": memoryBytes = try number() << 20
            case "--corpus": corpus = value
            case "--scratch": scratch = value
            default: throw FuzzFailure("unknown option \(option)")
            }
        }
    }
}

@main enum Main {
    static func main() {
        do {
            var arguments = try Arguments(Array(CommandLine.arguments.dropFirst()))
            switch arguments.command {
            case .run: exit(try Campaign(arguments: arguments).run() == 0 ? 0 : 1)
            case .worker: try Worker(arguments).run()
            case .replay:
                let folder = "imagefuzz-replay"
                for name in [folder, folder + "/seeds", folder + "/work"] { mkdir(name, 0o755) }
                guard let root = realpath(folder, nil) else { throw FuzzFailure("cannot make \(folder)") }
                arguments.corpus = String(cString: root) + "/seeds"
                arguments.scratch = String(cString: root) + "/work"
                arguments.iterations = 1
                for recipe in SeedRecipe.all where recipe.format == arguments.format {
                    Worker.removeFolder(arguments.corpus + "/" + recipe.name)
                    _ = try SeedFolder(root: arguments.corpus).make(recipe)
                }
                try Worker(arguments).run()
            }
        } catch {
            let line = Array("imagefuzz: \(error)\n".utf8)
            // SAFETY: the array holds line.count bytes for the length of the call.
            _ = line.withUnsafeBytes { Glibc.write(2, $0.baseAddress, $0.count) }
            exit(2)
        }
    }
}
