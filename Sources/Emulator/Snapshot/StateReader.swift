/// Reads a saved state: header and table are checked at once, sections when they are asked for.
struct StateReader {
    let header: StateFormat.Header
    private let source: any StateSource

    /// - Throws: `badState` unless header and table are whole.
    init(_ source: any StateSource) throws(MachineError) {
        self.source = source
        let available = source.sizeBytes
        guard available >= UInt64(StateFormat.headerBytes) else {
            throw .badState("is no saved state: it has \(available) bytes, a header has \(StateFormat.headerBytes)")
        }
        let fixed = try Self.bytes(of: source, at: 0, count: StateFormat.headerBytes)
        if fixed.starts(with: StateFormat.qemuMagic) {
            throw .badState("is a state that QEMU saved; this machine restores its own states only")
        }
        guard fixed.starts(with: StateFormat.magic) else {
            throw .badState("is no saved state: it does not begin with LABSTATE")
        }
        let version = fixed.littleEndian(at: 8, as: UInt32.self)
        guard version == StateFormat.version else {
            throw .badState("has layout version \(version), this program knows \(StateFormat.version)")
        }
        let count = fixed.littleEndian(at: 12, as: UInt32.self)
        let total = fixed.littleEndian(at: 16, as: UInt64.self)
        guard count <= UInt32(StateFormat.maximumSections) else {
            throw .badState("has \(count) sections, at most \(StateFormat.maximumSections) can be")
        }
        let tableBytes = StateFormat.Header.byteCount(entries: Int(count))
        guard total <= available, UInt64(tableBytes) <= total else {
            throw .badState("is cut: it has \(available) bytes of \(max(total, UInt64(tableBytes)))")
        }
        var bytes = try Self.bytes(of: source, at: 0, count: tableBytes)
        let stored = bytes.littleEndian(at: 24, as: UInt64.self)
        bytes.replaceSubrange(24..<32, with: [UInt8](repeating: 0, count: 8))
        guard XXHash64.hash(bytes) == stored else { throw .badState("is damaged: the checksum of its header is wrong") }

        var header = StateFormat.Header(
            machineDigest: bytes.littleEndian(at: 32, as: UInt64.self),
            savedAt: bytes.littleEndian(at: 40, as: Int64.self),
            guestNanoseconds: bytes.littleEndian(at: 48, as: UInt64.self), totalBytes: total)
        // 146 years: times and differences of them fit into 64 bits.
        guard header.guestNanoseconds <= 1 << 62 else {
            throw .badState("has an impossible guest clock (\(header.guestNanoseconds) nanoseconds)")
        }
        for index in 0..<Int(count) {
            header.entries.append(try Self.entry(bytes, at: StateFormat.Header.byteCount(entries: index), total: total))
        }
        self.header = header
    }

    private static func entry(
        _ bytes: [UInt8], at offset: Int, total: UInt64
    ) throws(MachineError) -> StateFormat.Entry {
        let name = String(decoding: bytes[offset..<offset + StateFormat.nameBytes].prefix { $0 != 0 }, as: UTF8.self)
        let code = bytes.littleEndian(at: offset + 36, as: UInt32.self)
        let entry = StateFormat.Entry(
            name: name, version: bytes.littleEndian(at: offset + 32, as: UInt32.self),
            kind: StateFormat.Kind(rawValue: code) ?? .fields,
            offset: bytes.littleEndian(at: offset + 40, as: UInt64.self),
            length: bytes.littleEndian(at: offset + 48, as: UInt64.self),
            checksum: bytes.littleEndian(at: offset + 56, as: UInt64.self))
        guard StateFormat.Kind(rawValue: code) != nil else {
            throw .badState("has a section \(name) of kind \(code), which this program does not know")
        }
        guard entry.offset <= total, entry.length <= total - entry.offset else {
            throw .badState(
                "has a section \(name) that lies outside: \(entry.length) bytes at \(entry.offset) of \(total)")
        }
        let isPlaced = entry.kind != .memory || entry.offset % UInt64(StateFormat.blockBytes) == 0
        guard isPlaced, entry.kind == .memory || entry.length <= UInt64(StateFormat.maximumFieldBytes) else {
            throw .badState(
                "has a section \(name) with an impossible place or length (\(entry.offset), \(entry.length))")
        }
        return entry
    }

    private static func bytes(of source: any StateSource, at offset: UInt64, count: Int) throws(MachineError) -> [UInt8]
    {
        var bytes = [UInt8](repeating: 0, count: count)
        var failure: DiskBackendError?
        bytes.withUnsafeMutableBytes { buffer in
            do throws(DiskBackendError) { try source.read(into: buffer, at: offset) } catch { failure = error }
        }
        if let failure { throw .badState("cannot be read: \(failure.message)") }
        return bytes
    }

    func entry(_ name: String, _ kind: StateFormat.Kind) throws(MachineError) -> StateFormat.Entry {
        guard let entry = header.entries.first(where: { $0.name == name && $0.kind == kind }) else {
            throw .badState("has no section \(name)\(kind == .memory ? " of memory" : "")")
        }
        return entry
    }

    /// A section's bytes, verified.
    func contents(_ entry: StateFormat.Entry) throws(MachineError) -> [UInt8] {
        let bytes = try Self.bytes(of: source, at: entry.offset, count: Int(entry.length))
        guard XXHash64.hash(bytes) == entry.checksum else {
            throw .badState("is damaged: the checksum of section \(entry.name) is wrong")
        }
        return bytes
    }

    /// All sections of fields, verified.
    func sections() throws(MachineError) -> [StateSection] {
        var sections: [StateSection] = []
        for entry in header.entries where entry.kind == .fields {
            sections.append(StateSection(name: entry.name, version: entry.version, bytes: try contents(entry)))
        }
        return sections
    }

    /// A memory and the digest of each of its blocks.
    func memory(
        _ name: String, sizeBytes: UInt64
    ) throws(MachineError) -> (entry: StateFormat.Entry, digests: [UInt64]) {
        let memory = try entry(name, .memory), list = try entry(name, .digests)
        guard memory.length == sizeBytes else {
            throw .badState("has a memory \(name) of \(memory.length) bytes, the machine's has \(sizeBytes)")
        }
        let bytes = try contents(list)
        let blocks = (Int(sizeBytes) + StateFormat.blockBytes - 1) / StateFormat.blockBytes
        guard bytes.count == blocks * 8, memory.checksum == list.checksum else {
            throw .badState("is damaged: the digests of memory \(name) do not belong to it")
        }
        return (memory, (0..<blocks).map { bytes.littleEndian(at: $0 * 8, as: UInt64.self) })
    }

    /// Reads a part of a section.
    func read(
        _ entry: StateFormat.Entry, into buffer: UnsafeMutableRawBufferPointer, from start: Int
    ) throws(MachineError) {
        do throws(DiskBackendError) { try source.read(into: buffer, at: entry.offset + UInt64(start)) } catch {
            throw .badState("cannot be read: \(error.message)")
        }
    }

    /// Where a memory can be mapped from.
    var mappableDescriptor: Int32? { source.mappableDescriptor }

    /// Reads everything, memories included, and compares every checksum: what a restore leaves out for its speed.
    func verify() throws(MachineError) {
        _ = try sections()
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: StateFormat.blockBytes, alignment: 4096)
        defer { block.deallocate() }
        for entry in header.entries where entry.kind == .memory {
            let digests = try memory(entry.name, sizeBytes: entry.length).digests
            for (index, digest) in digests.enumerated() {
                let start = index * StateFormat.blockBytes
                let part = UnsafeMutableRawBufferPointer(
                    rebasing: block[0..<min(StateFormat.blockBytes, Int(entry.length) - start)])
                try read(entry, into: part, from: start)
                guard XXHash64.hash(UnsafeRawBufferPointer(part)) == digest else {
                    throw .badState("is damaged: memory \(entry.name) differs in the 2 MiB at \(start)")
                }
            }
        }
    }
}
