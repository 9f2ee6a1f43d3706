import Glibc
import Images
import VMProtocol

/// Files that a client opened and handed over its socket (SCM_RIGHTS), as QEMU's `add-fd` has them: a set has a number and is
/// named `/dev/fdset/NUMBER` wherever a command takes a file. In its sandbox the process can open no other.
///
/// Used on the I/O thread only.
final class HandedFiles {
    private static let prefix = "/dev/fdset/"
    /// Sets that a VM keeps at once.
    private static let mostSets = 64

    private struct Entry {
        let descriptor: Descriptor
        let note: String?
    }

    private var sets: [Int64: Entry] = [:]

    /// Takes a descriptor in.
    /// - Parameter number: the set's number; nil: the lowest that is free.
    func add(_ descriptor: Descriptor, to number: Int64?, note: String?) throws(QMPError) -> JSONValue {
        guard sets.count < Self.mostSets else {
            throw .generic("at most \(Self.mostSets) files can be handed over at once; take some back with remove-fd")
        }
        var free: Int64 = 0
        while sets[free] != nil { free += 1 }
        let number = number ?? free
        guard number >= 0 else { throw .generic("Parameter 'fdset-id' expects a non-negative value") }
        guard sets[number] == nil else { throw .generic("fdset-id \(number) is taken") }
        sets[number] = Entry(descriptor: descriptor, note: note)
        HandedDescriptors.add(descriptor.raw, as: Self.prefix + "\(number)")
        return ["fdset-id": .int(number), "fd": .int(Int64(descriptor.raw))]
    }

    func remove(_ number: Int64) throws(QMPError) {
        guard sets[number] != nil else { throw .generic("File descriptor named 'fdset-id:\(number)' not found") }
        HandedDescriptors.remove(Self.prefix + "\(number)")
        sets[number] = nil
    }

    /// The answer to `query-fdsets`.
    var list: JSONValue {
        .array(
            sets.sorted { $0.key < $1.key }.map { number, entry in
                var file: [String: JSONValue] = ["fd": .int(Int64(entry.descriptor.raw))]
                if let note = entry.note { file["opaque"] = .string(note) }
                return ["fdset-id": .int(number), "fds": [.object(file)]]
            })
    }

    /// The descriptor that a file's name stands for; nil for a name like any other.
    func descriptor(named path: String) throws(QMPError) -> Descriptor? {
        guard path.hasPrefix(Self.prefix) else { return nil }
        guard let number = Int64(path.dropFirst(Self.prefix.count)), let entry = sets[number] else {
            throw .generic("no file was handed over as '\(path)'; use add-fd first")
        }
        return entry.descriptor
    }

    /// Why a name did not open, with the way out where the sandbox is the reason.
    static func advice(_ message: String, _ path: String, isSandboxed: Bool) -> String {
        guard isSandboxed else { return message }
        return
            "'\(path)' cannot be opened from inside the VM's sandbox: open it yourself, hand it over with QMP's add-fd and "
            + "name it /dev/fdset/N; or start the VM without its sandbox ('sandbox: off' in a lab file, -sandbox off of "
            + "labctl run)"
    }
}
