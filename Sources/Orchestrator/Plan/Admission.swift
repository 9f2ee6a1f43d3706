import Glibc
import LabSpec

/// Whether the host has room for the VMs that a verb is about to start. What it finds is said before the first of them starts:
/// a host that runs out of memory ends processes, and never the right ones.
struct Admission {
    /// What the host has left.
    struct Host {
        /// Nil where it cannot be found out.
        var memoryBytes: UInt64?
        var diskBytes: UInt64?
        /// Descriptors that this process may have open.
        var descriptors: UInt64?
    }

    /// Besides the guest's memory a VM's process needs about this much for translated code and devices.
    private static let overheadBytes: UInt64 = 48 << 20
    /// An overlay that is written to needs some room.
    private static let overlayBytes: UInt64 = 32 << 20
    /// Pipes and logs that labctl follows for each VM, and what it has open itself.
    private static let descriptorsEach: UInt64 = 6
    private static let descriptorsOfItsOwn: UInt64 = 64

    let host: Host

    /// What would go wrong, a sentence each.
    func findings(_ plan: Plan) -> [String] {
        let starting = plan.vms.filter { vm in
            if case .start = vm.decision { true } else { false }
        }
        guard !starting.isEmpty else { return [] }
        let count = UInt64(starting.count)
        var findings: [String] = []
        let memory = starting.map(\.instance.spec.memory.bytes).reduce(0, +) + count * Self.overheadBytes
        if let available = host.memoryBytes, memory > available {
            findings.append(
                "\(Self.vms(count)) to start may need \(Self.words(memory)) of memory, the host has "
                    + "\(Self.words(available)) left: start fewer, or give them less")
        }
        let disk = UInt64(starting.map(\.missingOverlays.count).reduce(0, +)) * Self.overlayBytes
        if let free = host.diskBytes, disk > free {
            findings.append(
                "\(Self.vms(count)) to start get fresh overlays, and the disk of the lab's state has \(Self.words(free)) left: "
                    + "'labctl prune' shows what nobody needs")
        }
        let descriptors = count * Self.descriptorsEach + Self.descriptorsOfItsOwn
        if let limit = host.descriptors, descriptors > limit {
            findings.append(
                "following \(Self.vms(count)) may need \(descriptors) open files, the limit is \(limit): raise it "
                    + "('ulimit -n'), or use --no-wait")
        }
        return findings
    }

    private static func vms(_ count: UInt64) -> String { "the \(count) VM\(count == 1 ? "" : "s")" }

    /// In the lab file's units, one digit behind the point.
    private static func words(_ bytes: UInt64) -> String {
        let units: [(name: String, shift: UInt64)] = [("GiB", 30), ("MiB", 20), ("KiB", 10)]
        for unit in units where bytes >> unit.shift > 0 {
            return "\((Double(bytes) / Double(UInt64(1) << unit.shift) * 10).rounded() / 10) \(unit.name)"
        }
        return "\(bytes) bytes"
    }
}

extension Admission.Host {
    /// - Parameter folder: where overlays will be.
    static func current(_ folder: String) -> Admission.Host {
        var host = Admission.Host()
        host.memoryBytes = [availableMemory(), groupMemory()].compactMap { $0 }.min()
        var status = statvfs()
        if statvfs(folder, &status) == 0 { host.diskBytes = UInt64(status.f_bavail) * UInt64(status.f_frsize) }
        host.descriptors = raiseDescriptorLimit()
        return host
    }

    /// `MemAvailable` of /proc/meminfo, in KiB there.
    private static func availableMemory() -> UInt64? {
        guard let text = Folder.text("/proc/meminfo") else { return nil }
        let line = text.split(separator: "\n").first { $0.hasPrefix("MemAvailable:") }
        return line?.split(separator: " ").dropFirst().first.flatMap { UInt64($0) }.map { $0 << 10 }
    }

    /// What the control group of this process may still take (cgroups(7), version 2); nil without a limit.
    private static func groupMemory() -> UInt64? {
        let lines = Folder.text("/proc/self/cgroup")?.split(separator: "\n") ?? []
        guard let line = lines.first(where: { $0.hasPrefix("0::") }) else { return nil }
        let group = "/sys/fs/cgroup" + line.dropFirst(3)
        func number(_ name: String) -> UInt64? {
            Folder.text("\(group)/\(name)").flatMap { text in UInt64(text.filter { !$0.isWhitespace }) }
        }
        guard let limit = number("memory.max"), let used = number("memory.current") else { return nil }
        return limit > used ? limit - used : 0
    }

    /// Takes as many descriptors as this process may have.
    private static func raiseDescriptorLimit() -> UInt64? {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return nil }
        if limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max
            _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        return UInt64(limit.rlim_max)
    }
}

extension Folder {
    /// The text of a small file that the kernel makes; nil where there is none.
    static func text(_ path: String) -> String? {
        let raw = open(path, O_RDONLY | O_CLOEXEC)
        guard raw >= 0 else { return nil }
        defer { close(raw) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let count = read(raw, &bytes, bytes.count)
        return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
    }
}
