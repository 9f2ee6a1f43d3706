import Glibc

/// The snapshot list of `info` and `snapshot -l`.
public enum SnapshotTable {
    /// - Parameter printable: makes a name harmless for where the table goes.
    public static func text(_ snapshots: [SnapshotInfo], printable: (String) -> String) -> String {
        var out = "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT\n"
        for snapshot in snapshots {
            let clock = snapshot.vmClockNanoseconds / 1_000_000
            let seconds = clock / 1000
            let time =
                "\(two(seconds / 3600)):\(two(seconds / 60 % 60)):\(two(seconds % 60)).\(pad(String(clock % 1000), 3, "0"))"
            out += left(printable(snapshot.id), 9) + " "
            out += left(printable(snapshot.name), 16) + " "
            out += pad(ByteCount.text(snapshot.vmStateSize), 8, " ") + " "
            out += pad(date(snapshot.dateSeconds), 19, " ") + " "
            out += pad(time, 12, " ") + " "
            out += pad(snapshot.icount.map(String.init) ?? "", 10, " ") + "\n"
        }
        return out
    }

    private static func two(_ value: UInt64) -> String { pad(String(value), 2, "0") }
    private static func pad(_ text: String, _ width: Int, _ with: String) -> String {
        String(repeating: with, count: max(0, width - text.count)) + text
    }
    private static func left(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    /// Local time, as qemu-img shows it.
    private static func date(_ seconds: UInt32) -> String {
        var time = time_t(seconds)
        var parts = tm()
        localtime_r(&time, &parts)
        func two(_ value: Int32) -> String { pad(String(value), 2, "0") }
        return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) "
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
    }
}
