import ArgumentParser
import Foundation
import Orchestrator
import VMProtocol

/// `labctl logs`.
struct LogsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs", abstract: "Prints what a VM's console said, over all its runs.",
        discussion: "On a terminal, escape sequences are left out; in a pipe the bytes are as the guest sent them.")

    @OptionGroup var words: VMArguments

    @Flag(name: .shortAndLong, help: "Goes on with what comes, until Ctrl-C.")
    var follow = false

    @Flag(help: "Prints what the VM's process said instead: warnings and host errors.")
    var process = false

    func run() throws {
        let (lab, name, rest) = try words.parts()
        guard rest.isEmpty else { throw ValidationError("logs takes one VM, not also '\(rest[0])'") }
        try LabSession.run(lab, progress: .quiet) { session in
            let vm = try session.vm(name)
            let path = vm.file(process ? .processLog : .consoleLog)
            let printer = LogPrinter(path: path, isRaw: isatty(STDOUT_FILENO) == 0)
            var follower = ConsoleFollower(path: path, from: 0, lookingFor: "")
            while printer.printNext(&follower) {}
            while follow, !session.interruption.isRequested {
                if !printer.printNext(&follower) { usleep(50_000) }
            }
        }
    }
}

/// `labctl events`.
struct EventsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events", abstract: "Prints the lab's lifecycle history as JSON lines, oldest first.")

    @OptionGroup var lab: LabArguments

    func run() throws {
        try LabSession.run(lab, progress: .quiet) { session in
            for event in try session.orchestrator.events(lab.vmNames) {
                print(String(decoding: JSONCoding.encode(event), as: UTF8.self))
            }
        }
    }
}
