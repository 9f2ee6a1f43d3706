import Foundation
import LabSpec
import Testing
import VMProtocol

@testable import Orchestrator

/// Bytes to and from commands on a console, and logging in there.
@Suite(.serialized) struct ShellTransferTests {
    private static let shells = [["sh", "-i"], ["bash", "--norc", "--noprofile", "-i"]]

    private struct Bench {
        let folder = try? TemporaryFolder()
        let guest: ShellGuest
        let signal: StopSignal
        let session: ConsoleSession

        init(_ shell: [String], login: Login? = nil, first: ConsolePattern = "# ") throws {
            guest = try ShellGuest(in: try #require(folder).path, shell: shell)
            signal = try StopSignal()
            session = ConsoleSession(guest.folder, login: login)
            try session.wait(for: first, milliseconds: 20_000, interruption: signal)
        }

        func run(_ command: String, input: [UInt8] = []) throws -> BinaryResult {
            try session.executeBinary(command, input: input, milliseconds: 60_000, interruption: signal)
        }

        func say(_ command: String) throws -> CommandResult {
            try session.execute(command, milliseconds: 60_000, interruption: signal)
        }
    }

    private static let everyByte = (0...255).map { UInt8($0) }

    @Test(arguments: shells) func bytesComeAndGoAsTheyAre(shell: [String]) throws {
        let bench = try Bench(shell)
        let result = try bench.run("cat; echo oops >&2; exit 3", input: Self.everyByte + [0x0A, 0x04, 0x03])
        #expect(
            result
                == BinaryResult(output: Self.everyByte + [0x0A, 0x04, 0x03], errors: Array("oops\n".utf8), status: 3))
        #expect(try bench.run("cat") == BinaryResult(output: [], errors: [], status: 0))
        #expect(try bench.run("printf 'a\\0b'").output == [0x61, 0, 0x62])
        // The shell is as it was, and nothing is left of it.
        #expect(try bench.say("ls -a /tmp | grep -c '[.]labctl-'").output == "0\n")
    }

    @Test func moreThanOnePieceArrives() throws {
        let bench = try Bench(["sh", "-i"])
        let bytes = (0..<250_000).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 8) }
        #expect(try bench.run("cat", input: bytes).output == bytes)
    }

    @Test func aGuestWithoutBase64WritesDigits() throws {
        let coded: [(TransferScript.Coding, String)] = [
            (.base64, "AAEC\n/w==\n"), (.od, " 00 01 02\n ff\n"), (.hexdump, "00 01 02 ff "),
        ]
        for (coding, text) in coded { #expect(TransferScript.decode(text, coding) == [0, 1, 2, 255], "\(coding)") }
        #expect(TransferScript.decode("AAEC[ 12.3] usb", .base64) == nil)
        #expect(TransferScript.decode("00 0", .od) == nil)
        for count in 0...7 {
            let bytes = Self.everyByte.suffix(count)
            #expect(Base64.decode(Array(Base64.encode(bytes).utf8)) == Array(bytes))
        }
        for text in ["A", "A===", "=AAA", "AA=A", "AAAA=AAA", "AA!A"] {
            #expect(Base64.decode(Array(text.utf8)) == nil)
        }
    }

    // MARK: Logging in

    /// What getty and login say, and a shell for whoever knows the password.
    private static func getty(password: String?) -> [String] {
        let ask = password.map {
            "stty -echo; printf 'Password: '; read -r p; stty echo; echo; [ \"$p\" = '\($0)' ] || { echo 'Login incorrect'; continue; };"
        }
        let script =
            "while :; do printf 'box login: '; read -r n || exit; [ -n \"$n\" ] || continue; \(ask ?? "") "
            + "[ \"$n\" = alice ] || { echo 'Login incorrect'; continue; }; echo 'Last login: today'; PS1='alice$ ' sh -i; done"
        return ["sh", "-c", script]
    }

    @Test(arguments: ["secret", nil] as [String?]) func aCommandLogsInByItself(password: String?) throws {
        let bench = try Bench(
            Self.getty(password: password), login: Login(user: "alice", password: password), first: "login: ")
        #expect(try bench.say("echo in; false") == CommandResult(output: "in\n", status: 1))
        // It stays logged in.
        #expect(try bench.say("echo again").output == "again\n")
        #expect(try bench.run("wc -c", input: [0, 1, 2]).output.filter { $0 > 0x20 } == Array("3".utf8))
        // And does so again when somebody has logged out.
        try bench.session.send(Array("exit\n".utf8))
        try bench.session.wait(for: "login: ", milliseconds: 20_000, interruption: bench.signal)
        #expect(try bench.say("echo back").output == "back\n")
    }

    @Test func aLoginThatIsRefusedSaysSo() throws {
        let wrong: [(Login, String)] = [
            (Login(user: "alice", password: "wrong"), "refuses the login of 'alice'"),
            (Login(user: "alice"), "asks for the password of 'alice'"), (Login(), "asks who logs in"),
        ]
        for (login, message) in wrong {
            let bench = try Bench(Self.getty(password: "secret"), login: login, first: "login: ")
            #expect {
                try bench.say("true")
            } throws: { error in
                (error as? CommandFailure)?.message.contains(message) == true
            }
        }
    }

    @Test func aConsolesLastLineSaysWhereItStands() {
        let session = ConsoleSession(LabFolder(path: "/none", runtime: "/none").vm("alpha"), login: Login())
        let rows: [(String, ConsoleSession.ConsolePlace)] = [
            ("Debian\n\nhost login: ", .name), ("Password: ", .password), ("alice@host:~$ ", .shell), ("# ", .shell),
            ("/ # ", .shell), ("Last login: Tue", .unknown), ("", .unknown), ("[ 1.0] usb\n", .unknown),
        ]
        for (text, place) in rows { #expect(session.place(at: Array(text.utf8)) == place, "\(text)") }
    }
}

/// What a lab file says of a VM, and whether it is true.
@Suite(.serialized) struct CheckTests {
    private func run(_ checks: [Check]) throws -> [CheckResult] {
        let folder = try TemporaryFolder()
        let guest = try ShellGuest(in: folder.path, shell: ["sh", "-i"])
        let signal = try StopSignal()
        try ConsoleSession(guest.folder).wait(for: "# ", milliseconds: 20_000, interruption: signal)
        var vm = VM(name: "alpha")
        vm.checks = checks
        let instance = try #require(Lab(name: "lab", vms: [vm]).instances().first)
        return CheckRunner(instance, guest.folder, interruption: signal).run(as: "alpha")
    }

    private func check(_ subject: Check.Subject, _ expectation: LabSpec.Expectation? = nil) -> Check {
        var check = Check(id: "c", subject: subject)
        check.expectation = expectation
        check.timeout = .seconds(10)
        check.points = 5
        return check
    }

    @Test func whatIsTrueEarnsItsPoints() throws {
        let results = try run([
            check(.run("true", exit: 0)), check(.run("exit 4", exit: 4)),
            check(.run("echo one; echo two", exit: 0), .pattern("two")),
            check(.run("echo v1.2", exit: 0), .pattern(.regex("^v[0-9.]+$"))),
            check(.run("echo load: 0.5", exit: 0), .number(minimum: 0, maximum: 1)),
            check(.file("/etc/passwd"), .pattern("root:")), check(.console("# ")),
        ])
        #expect(results.map(\.message) == Array(repeating: nil, count: 7))
        #expect(results.map(\.earned) == Array(repeating: 5, count: 7))
    }

    @Test func whatIsNotTrueSaysWhy() throws {
        var never = check(.console("never"))
        never.timeout = LabDuration(milliseconds: 300)
        never.retries = 1
        let results = try run([
            check(.run("echo no; exit 1", exit: 0)), check(.run("echo one", exit: 0), .pattern("two")),
            check(.run("echo 17", exit: 0), .number(minimum: nil, maximum: 16)),
            check(.run("echo none", exit: 0), .number(minimum: 1, maximum: nil)), check(.file("/nowhere/x")), never,
        ])
        let messages = results.map { $0.message ?? "" }
        let wanted = [
            "exit 1, not 0: it is 'no'", "the output has no 'two': it is 'one'", "17 is more than 16",
            "the output has no number: it is 'none'", "there is no /nowhere/x", "did not say 'never' in time",
        ]
        for (message, part) in zip(messages, wanted) { #expect(message.contains(part), "\(message)") }
        #expect(results.allSatisfy { !$0.passed && $0.earned == 0 && $0.points == 5 })
        #expect(results.last?.attempts == 2)
    }

    @Test func theFirstNumberOfATextIsFound() {
        let rows: [(String, Double?)] = [
            ("", nil), ("none", nil), ("42", 42), ("load -1.5, 3", -1.5), ("v2.", 2), ("1.2.3", 1.2), ("x7y", 7),
        ]
        for (text, number) in rows { #expect(LabSpec.Expectation.firstNumber(in: text) == number, "\(text)") }
    }
}
