import Dispatch
import LabSpec
import Synchronization
import VMProtocol

/// Makes a clone another machine, through its console, on a thread of its own: thirty at once.
final class IdentityTask: Sendable {
    enum Outcome: Sendable {
        case done
        case failed(OrchestratorError)
    }

    private let outcome = Mutex<Outcome?>(nil)

    /// For all of it.
    private static let milliseconds: UInt64 = 300_000

    init(_ identity: GuestIdentity, _ instance: VMInstance, _ vm: VMFolder, interruption: StopSignal) {
        let runner = StepRunner(vm: vm, login: instance.spec.login, interruption: interruption)
        let steps = Self.steps(identity, name: instance.name)
        DispatchQueue.global().async { [self] in
            let deadline = WallClock.monotonicNanoseconds + Self.milliseconds * 1_000_000
            let end: Outcome
            do throws(StepFailure) {
                try runner.run(steps, until: deadline)
                end = .done
            } catch {
                let message = "identity (\(error.step.action.words)): \(error.error.message)"
                end = .failed(OrchestratorError(error.error.kind, message))
            }
            outcome.withLock { $0 = end }
        }
    }

    /// How it ended; nil while it goes on.
    var ended: Outcome? { outcome.withLock { $0 } }

    private static func steps(_ identity: GuestIdentity, name: String) -> [LabStep] {
        switch identity {
        case .steps(let steps): steps
        case .debian: [LabStep(.run(debian(name)))]
        }
    }

    /// What tells one Debian from another: host name, machine-id, SSH host keys, seed, time. What a guest does not have is left out.
    private static func debian(_ name: String) -> String {
        let seed = (0..<8).map { _ in String(UInt64.random(in: 0...UInt64.max), radix: 16) }.joined()
        return [
            "echo \(seed) > /dev/urandom",
            "hwclock -s 2> /dev/null",
            "hostname \(name); echo \(name) > /etc/hostname",
            "sed -i '/^127\\.0\\.1\\.1/d' /etc/hosts 2> /dev/null; echo '127.0.1.1 \(name)' >> /etc/hosts",
            "tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id",
            "if [ -e /var/lib/dbus/machine-id ]; then cp /etc/machine-id /var/lib/dbus/machine-id; fi",
            "rm -f /var/lib/systemd/random-seed",
            "if [ -e /etc/ssh/sshd_config ]; then rm -f /etc/ssh/ssh_host_*; ssh-keygen -A > /dev/null; "
                + "systemctl -q try-restart ssh; fi",
            "true",
        ].joined(separator: "; ")
    }
}
