extension BlockDevice {
    /// What the disk bytes from `offset` on are when the whole chain is looked at: data somewhere, or zeros.
    func chainExtent(at offset: UInt64, limit: UInt64) throws(ImageError) -> (isZero: Bool, length: UInt64) {
        let own = try extent(at: offset, limit: limit)
        switch own.kind {
        case .data, .compressed:
            // A raw extent of a data file may still be a hole, but asking costs more than reading zeros.
            return (false, own.length)
        case .zero: return (true, own.length)
        case .unallocated:
            guard let backing, offset < backing.size else { return (true, own.length) }
            return try backing.chainExtent(at: offset, limit: min(own.length, backing.size - offset))
        }
    }
}

extension KnownRun<Bool> {
    /// `BlockDevice.chainExtent`, asked once for each run of a disk that is gone through in pieces.
    mutating func chainRun(
        of device: any BlockDevice, at offset: UInt64, limit: UInt64
    ) throws(ImageError) -> (isZero: Bool, length: UInt64) {
        let found = try run(at: offset, limit: limit) { () throws(ImageError) in
            let extent = try device.chainExtent(at: offset, limit: device.size - offset)
            return (extent.isZero, extent.length)
        }
        return (found.kind, found.length)
    }
}

extension BlockDevice {
    /// Where the disk bytes from `offset` on lie in a host file as they are; nil where they do not.
    func hostRange(at offset: UInt64, limit: UInt64) throws(ImageError) -> HostRange? {
        let own = try extent(at: offset, limit: limit)
        if own.kind == .data, let storage = plainStorage, let start = own.hostOffset {
            return HostRange(storage: storage, offset: start, count: own.length)
        }
        guard own.kind == .unallocated, let backing, offset < backing.size else { return nil }
        return try backing.hostRange(at: offset, limit: min(own.length, backing.size - offset))
    }
}

/// Several disks one behind the other, as `convert` takes them.
final class ConcatenatedDevices: @unchecked Sendable {
    private let parts: [(start: UInt64, device: any BlockDevice)]
    let size: UInt64

    init(_ devices: [any BlockDevice]) {
        var start: UInt64 = 0
        var parts: [(UInt64, any BlockDevice)] = []
        for device in devices {
            parts.append((start, device))
            start += device.size
        }
        self.parts = parts
        size = start
    }

    private func part(at offset: UInt64) -> (start: UInt64, device: any BlockDevice)? {
        parts.last { $0.start <= offset && offset < $0.start + $0.device.size }
    }

    func extent(
        at offset: UInt64, limit: UInt64, topLayerOnly: Bool
    ) throws(ImageError) -> (kind: Extent.Kind, length: UInt64) {
        guard let part = part(at: offset) else { return (.zero, limit) }
        let inside = offset - part.start
        let bounded = min(limit, part.device.size - inside)
        if topLayerOnly {
            let own = try part.device.extent(at: inside, limit: bounded)
            return (own.kind, own.length)
        }
        let found = try part.device.chainExtent(at: inside, limit: bounded)
        return (found.isZero ? .zero : .data, found.length)
    }

    func hostRange(at offset: UInt64, limit: UInt64) throws(ImageError) -> HostRange? {
        guard let part = part(at: offset) else { return nil }
        let inside = offset - part.start
        return try part.device.hostRange(at: inside, limit: min(limit, part.device.size - inside))
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
        var done = 0
        while done < buffer.count {
            guard let part = part(at: offset + UInt64(done)) else { return buffer.zero(from: done) }
            let inside = offset + UInt64(done) - part.start
            let count = Int(min(UInt64(buffer.count - done), part.device.size - inside))
            try part.device.read(into: buffer.part(done, count), at: inside)
            done += count
        }
    }
}
