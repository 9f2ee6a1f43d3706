import Foundation
import LabSpec
import VMProtocol

/// Values in QEMU's spellings.
enum QEMUValues {
    /// `256` (MiB), `1G`, `size=512M`.
    static func memory(_ text: String) throws(QEMUOptionError) -> UInt64 {
        var value = text
        if let size = try keyList(text.contains("=") ? text : "size=\(text)", known: ["size"])["size"] { value = size }
        let bytes: UInt64
        if let mebibytes = UInt64(value) {
            let (product, overflow) = mebibytes.multipliedReportingOverflow(by: 1 << 20)
            if overflow { throw QEMUOptionError("too large: memory is 1 MiB to 1 TiB") }
            bytes = product
        } else {
            switch ByteSize.parse(value) {
            case .success(let size): bytes = size.bytes
            case .failure(.tooLarge): throw QEMUOptionError("too large: memory is 1 MiB to 1 TiB")
            case .failure: throw QEMUOptionError("not a size; write MiB, or a number with K, M or G")
            }
        }
        guard bytes >= 1 << 20, bytes <= 1 << 40 else { throw QEMUOptionError("memory is 1 MiB to 1 TiB") }
        return bytes
    }

    /// `d`, `dc`.
    static func bootOrder(_ order: String) throws(QEMUOptionError) -> String {
        guard !order.isEmpty, order.allSatisfy({ "acdn".contains($0) }), Set(order).count == order.count else {
            throw QEMUOptionError("boot devices are a floppy, c disk, d CD-ROM, n network, each once")
        }
        return order
    }

    /// `2006-06-17T16:01:21` or `2006-06-17`, UTC: seconds since 1970.
    static func date(_ text: String) throws(QEMUOptionError) -> Int64 {
        let style = Date.ISO8601FormatStyle(timeZone: .gmt)
        let whole = text.contains("T") ? text : text + "T00:00:00"
        guard let date = try? style.parse(whole.hasSuffix("Z") ? whole : whole + "Z") else {
            throw QEMUOptionError("base=\(text) is not supported: utc, localtime, or a date as 2006-06-17T16:01:21")
        }
        return Int64(date.timeIntervalSince1970)
    }

    static func serial(_ text: String) throws(QEMUOptionError) -> VMDescription.Console {
        switch text {
        case "stdio", "mon:stdio": return .stdio
        case "none", "null": return .none
        default: throw QEMUOptionError("not supported: stdio, mon:stdio, none or null")
        }
    }

    static func accelerator(_ text: String) throws(QEMUOptionError) -> VMDescription.Accelerator {
        guard let engine = VMDescription.Accelerator(rawValue: text) else {
            throw QEMUOptionError("not supported: jit, interp or verify")
        }
        return engine
    }

    /// QEMU's `on` and `off`, and our `auto`; QEMU's finer settings have nothing to set here.
    static func sandbox(_ text: String) throws(QEMUOptionError) -> VMDescription.Sandbox {
        switch text.split(separator: ",").first ?? "" {
        case "on", "required": return .required
        case "auto": return .auto
        case "off": return .off
        default: throw QEMUOptionError("not supported: auto, on or off")
        }
    }

    /// `unix:PATH,server=on,wait=off`: we listen and never wait.
    static func unixServer(_ text: String) throws(QEMUOptionError) -> String {
        guard text.hasPrefix("unix:") else { throw QEMUOptionError("not supported: unix:PATH,server=on,wait=off") }
        let parts = text.dropFirst(5).split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        for part in parts.dropFirst() where !["server", "server=on", "nowait", "wait=off"].contains(part) {
            throw QEMUOptionError("'\(part)' is not supported: server=on,wait=off")
        }
        guard let path = parts.first, !path.isEmpty else { throw QEMUOptionError("unix: needs a path") }
        return path
    }

    /// A number that is not negative.
    static func number(_ text: String, key: String) throws(QEMUOptionError) -> Int {
        if let value = Int(text), value >= 0 { return value }
        let isNumber = !text.isEmpty && text.utf8.allSatisfy { (48...57).contains($0) }
        throw QEMUOptionError("\(key)=\(text) is \(isNumber ? "too large" : "not a number")")
    }

    /// Most processors of a VM.
    private static let mostProcessors = 64

    /// `-smp N` and `-smp [cpus=]N,maxcpus=…,sockets=…,cores=…,threads=…`: what is not given follows from the rest, cores before
    /// sockets, as with QEMU since 6.2.
    static func topology(
        _ text: String
    ) throws(QEMUOptionError) -> (topology: VMDescription.Topology, maximum: Int) {
        let isCount = text.first?.isNumber ?? false
        let keys = try keyList(
            isCount ? "cpus=" + text : text,
            known: ["cpus", "maxcpus", "sockets", "dies", "clusters", "cores", "threads"])
        func count(_ key: String) throws(QEMUOptionError) -> Int? {
            guard let value = keys[key] else { return nil }
            let count = try number(value, key: key)
            guard (1...mostProcessors).contains(count) else {
                throw QEMUOptionError("\(key)=\(value): a VM has 1 to \(mostProcessors) processors")
            }
            return count
        }
        for key in ["dies", "clusters"] where try count(key) ?? 1 > 1 {
            throw QEMUOptionError(
                "\(key)=\(keys[key] ?? "") is not supported: processors are in sockets, cores and threads")
        }
        let cpus = try count("cpus"), maximum = try count("maxcpus")
        var sockets = try count("sockets"), cores = try count("cores"), threads = try count("threads")
        if let total = maximum ?? cpus {
            if cores == nil {
                cores = max(total / ((sockets ?? 1) * (threads ?? 1)), 1)
            } else if sockets == nil {
                sockets = max(total / ((cores ?? 1) * (threads ?? 1)), 1)
            } else if threads == nil {
                threads = max(total / ((sockets ?? 1) * (cores ?? 1)), 1)
            }
        }
        let packed = VMDescription.Topology(sockets: sockets ?? 1, cores: cores ?? 1, threads: threads ?? 1)
        let most = maximum ?? cpus ?? packed.count
        guard packed.count == most else {
            let product = "\(packed.sockets) sockets × \(packed.cores) cores × \(packed.threads) threads"
            throw QEMUOptionError("\(product) are \(packed.count) processors, not \(most)")
        }
        guard most <= mostProcessors else {
            throw QEMUOptionError("a VM has 1 to \(mostProcessors) processors, not \(most)")
        }
        guard let cpus, cpus != most else { return (packed, most) }
        guard cpus < most else { throw QEMUOptionError("cpus=\(cpus) is more than maxcpus=\(most)") }
        return (VMDescription.Topology(cores: cpus), most)
    }

    static func port(_ text: String) throws(QEMUOptionError) -> UInt16 {
        let value = text.hasPrefix("0x") ? UInt16(text.dropFirst(2), radix: 16) : UInt16(text)
        guard let value else { throw QEMUOptionError("'\(text)' is not an I/O port: 0 to 0xffff") }
        return value
    }

    static func isOn(_ text: String?, key: String) throws(QEMUOptionError) -> Bool {
        switch text {
        case nil, "off", "no": return false
        case "on", "yes": return true
        case .some(let other): throw QEMUOptionError("\(key) is on or off, not '\(other)'")
        }
    }

    /// Refuses everything but a few words.
    static func require(_ value: String, among words: [String], else advice: String) throws(QEMUOptionError) {
        guard words.contains(value) else { throw QEMUOptionError("not supported: \(advice)") }
    }

    /// `key=value,key=value`; a comma in a value is doubled, as with QEMU.
    static func keyList(_ text: String, known: [String]) throws(QEMUOptionError) -> [String: String] {
        var keys: [String: String] = [:]
        for item in items(text) where !item.isEmpty {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard known.contains(parts[0]) else { throw QEMUOptionError("'\(parts[0])' is not supported here") }
            keys[parts[0]] = parts.count > 1 ? parts[1] : "on"
        }
        return keys
    }

    private static func items(_ text: String) -> [String] {
        var items = [""]
        var rest = text[...]
        while let character = rest.popFirst() {
            if character != "," {
                items[items.count - 1].append(character)
            } else if rest.first == "," {
                rest.removeFirst()
                items[items.count - 1].append(",")
            } else {
                items.append("")
            }
        }
        return items
    }
}
