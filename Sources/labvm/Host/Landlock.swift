import CLinux
import Glibc

/// Takes every path, network and signal right from the process (Linux's Landlock, landlock(7)). Files that are open stay
/// usable; none can be opened, made, renamed or removed after.
///
/// | ABI | kernel | rights that it adds |
/// | --- | --- | --- |
/// | 1 | 5.13 | files: bits 0–12 execute, write, read, list, remove, make |
/// | 2 | 5.19 | file bit 13: link and rename between folders |
/// | 3 | 6.2 | file bit 14: truncate |
/// | 4 | 6.7 | network: bit 0 TCP bind, bit 1 TCP connect |
/// | 5 | 6.10 | file bit 15: ioctl of devices |
/// | 6 | 6.12 | scopes: bit 0 abstract UNIX sockets, bit 1 signals to processes outside |
///
/// Later ABIs add ways to log and to apply, no rights. UDP is not covered by any: the system-call filter forbids `socket`.
enum Landlock {
    private struct Row {
        let abi: Int32
        let files: UInt64
        let network: UInt64
        let scopes: UInt64
        /// Bytes of the structure that the ABI knows.
        let structureBytes: Int
    }

    private static let rows = [
        Row(abi: 1, files: 0x1FFF, network: 0, scopes: 0, structureBytes: 8),
        Row(abi: 2, files: 0x3FFF, network: 0, scopes: 0, structureBytes: 8),
        Row(abi: 3, files: 0x7FFF, network: 0, scopes: 0, structureBytes: 8),
        Row(abi: 4, files: 0x7FFF, network: 3, scopes: 0, structureBytes: 16),
        Row(abi: 5, files: 0xFFFF, network: 3, scopes: 0, structureBytes: 16),
        Row(abi: 6, files: 0xFFFF, network: 3, scopes: 3, structureBytes: 24),
    ]

    /// What the kernel offers; 0: nothing.
    static var abi: Int32 { max(0, linux_landlock_abi()) }

    /// Restricts the calling thread and every thread that it starts from now on. Needs `no_new_privs`.
    /// - Returns: the ABI whose rights are taken; 0 when the kernel has no Landlock.
    static func restrict() -> Int32 {
        guard let row = rows.last(where: { $0.abi <= abi }) else { return 0 }
        var rules = linux_landlock_ruleset(access_fs: row.files, access_net: row.network, scoped: row.scopes)
        let ruleset = linux_landlock_create(&rules, row.structureBytes)
        guard ruleset >= 0 else { return 0 }
        defer { close(ruleset) }
        return linux_landlock_restrict(ruleset) == 0 ? row.abi : 0
    }
}
