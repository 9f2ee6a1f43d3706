import Glibc
import VMProtocol

/// What a VM's process takes of the host.
public struct VMUsage: Sendable, Equatable, Encodable {
    /// Of one processor, in percent, since the look before.
    public var cpuPercent: Double
    /// Its share of memory: pages that it has in common with others count in part (PSS), where the kernel tells; else all pages
    /// that it has in memory.
    public var memoryBytes: UInt64
}

/// Looks at processes of VMs again and again.
public final class UsageMeter {
    private struct Look {
        var processID: Int32
        var cpuSeconds: Double
        var at: UInt64
    }

    private var looks: [String: Look] = [:]

    public init() {}

    /// - Returns: by VM; VMs that do not run, or are seen for the first time, are left out.
    public func measure(_ vms: [VMFolder]) -> [String: VMUsage] {
        var usage: [String: VMUsage] = [:]
        for vm in vms {
            guard vm.isRunning, let processID = QMPClient.listener(of: vm), let cpu = Self.cpuSeconds(processID) else {
                looks[vm.name] = nil
                continue
            }
            let now = WallClock.monotonicNanoseconds
            if let last = looks[vm.name], last.processID == processID, now > last.at {
                let seconds = Double(now - last.at) / 1e9
                usage[vm.name] = VMUsage(
                    cpuPercent: max(0, (cpu - last.cpuSeconds) / seconds * 100), memoryBytes: Self.memory(processID))
            }
            looks[vm.name] = Look(processID: processID, cpuSeconds: cpu, at: now)
        }
        return usage
    }

    /// User and system time of /proc/PID/stat (proc(5)): fields 14 and 15, after the name in parentheses.
    static func cpuSeconds(_ processID: Int32) -> Double? {
        guard let text = Folder.text("/proc/\(processID)/stat"), let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return nil }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// A process in its sandbox shows its PSS only to root; what it has in memory it shows to all.
    static func memory(_ processID: Int32) -> UInt64 {
        let lines = Folder.text("/proc/\(processID)/smaps_rollup")?.split(separator: "\n") ?? []
        if let line = lines.first(where: { $0.hasPrefix("Pss:") }),
            let kilobytes = line.split(separator: " ").dropFirst().first.flatMap({ UInt64($0) })
        {
            return kilobytes << 10
        }
        let pages = Folder.text("/proc/\(processID)/statm")?.split(separator: " ").dropFirst().first.flatMap {
            UInt64($0)
        }
        return (pages ?? 0) * UInt64(sysconf(Int32(_SC_PAGESIZE)))
    }
}
