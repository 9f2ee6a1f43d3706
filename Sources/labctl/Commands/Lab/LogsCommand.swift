import ArgumentParser
import Foundation
import LabSpec
import Orchestrator
import VMProtocol

/// `labctl logs`.
struct LogsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs", abstract: "Prints what the consoles of VMs said, over all their runs.",
        discussion: """
            With one VM, escape sequences are left out on a terminal, and in a pipe the bytes are as the guest sent them. With \
            several, or a group, or no name at all, each line has the VM's name before it.

              labctl logs student-01
              labctl logs -f student
              labctl logs --since 10m --tail 20
            """)

    @OptionGroup var lab: LabArguments

    @Flag(name: .shortAndLong, help: "Goes on with what comes, until Ctrl-C.")
    var follow = false

    @Option(help: "Only what was said since then: a duration such as 10m, or a time such as 2026-01-31T09:00:00Z.")
    var since: String?

    @Option(name: [.customShort("n"), .long], help: "Only so many of the last lines of each.")
    var tail: Int?

    @Flag(help: "Prints what the VM's process said instead: warnings and host errors.")
    var process = false

    func validate() throws {
        if let tail, tail < 0 { throw ValidationError("--tail is a number of lines, not \(tail)") }
        if let since {
            guard LogTime.seconds(since) != nil else {
                throw ValidationError(
                    "--since is a duration (90s, 10m, 2h) or a time (2026-01-31T09:00:00Z), not '\(since)'")
            }
            if process { throw ValidationError("--since knows when the console said something, not the process") }
        }
    }

    func run() throws {
        try LabSession.run(lab, progress: .quiet) { session in
            let names = lab.vmNames
            let vms =
                names.isEmpty
                ? try session.orchestrator.instances([]).map { session.orchestrator.folder.vm($0.name) }
                : try names.flatMap { try session.vms($0) }
            let logs = vms.map { vm in
                let path = vm.file(process ? .processLog : .consoleLog)
                return (name: vm.name, path: path, start: start(in: path))
            }
            if logs.count == 1, let log = logs.first {
                printOne(log.path, from: log.start, session)
            } else {
                printAll(logs, session)
            }
        }
    }

    private func start(in path: String) -> UInt64 {
        var start: UInt64 = 0
        if let since, let time = LogTime.seconds(since) {
            start = min(ConsoleTimes.offset(since: time, log: path) ?? 0, ConsoleLog.length(path))
        }
        return max(start, tail.map { LogStart.tail($0, of: path) } ?? 0)
    }

    private func printOne(_ path: String, from start: UInt64, _ session: LabSession) {
        let printer = LogPrinter(path: path, isRaw: isatty(STDOUT_FILENO) == 0)
        var follower = ConsoleFollower(path: path, from: start, lookingFor: "")
        while printer.printNext(&follower) {}
        while follow, !session.interruption.isRequested {
            if !printer.printNext(&follower) { usleep(50_000) }
        }
    }

    private func printAll(_ logs: [(name: String, path: String, start: UInt64)], _ session: LabSession) {
        var follower = LogFollower(logs, usesColor: session.usesColor)
        while follower.printNext(isLast: !follow) {}
        while follow, !session.interruption.isRequested {
            if !follower.printNext() { usleep(50_000) }
        }
    }
}

/// `--since`: how long ago, or when.
enum LogTime {
    /// Seconds since 1970; nil for what is neither.
    static func seconds(_ text: String) -> Double? {
        if case .success(let duration) = LabDuration.parse(text) {
            return WallClock.now - Double(duration.milliseconds) / 1000
        }
        let formatter = ISO8601DateFormatter()
        if let date = formatter.date(from: text) { return date.timeIntervalSince1970 }
        // Without a zone it is the time of this host.
        formatter.timeZone = .current
        formatter.formatOptions = [.withFullDate, .withTime, .withColonSeparatorInTime]
        return formatter.date(from: text)?.timeIntervalSince1970
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
