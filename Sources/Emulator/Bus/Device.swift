extension FixedWidthInteger where Self: UnsignedInteger {
    /// The low `size` bytes: what fits on the wires of an access. The buses cut every device's answer with this, so that
    /// nobody who asks for a byte has to expect more.
    @inline(__always) func clipped(toBytes size: Int) -> Self {
        size * 8 >= Self.bitWidth ? self : self & (1 << Self(truncatingIfNeeded: size * 8) &- 1)
    }
}

/// A device that answers I/O port accesses. Ports are absolute; `size` is 1, 2 or 4 bytes.
///
/// The bus never splits an access: a device that only knows bytes answers wider ones through
/// `PortBus.splitRead`/`splitWrite`. Called on the CPU thread only.
protocol PortDevice: AnyObject {
    func portRead(_ port: UInt16, size: Int) -> UInt32
    func portWrite(_ port: UInt16, size: Int, value: UInt32)

    /// Whether the two calls below take a whole page at once. Only ports that do nothing but move data may: on others each
    /// access may take long or change the machine, and the processor looks around between them.
    func movesInBulk(_ port: UInt16) -> Bool

    /// `rep ins`: fills `count` elements of `size` bytes from one port. The default reads one by one;
    /// a device with a data FIFO (IDE) overrides it with a bulk copy.
    func portReadBulk(_ port: UInt16, size: Int, count: Int, into buffer: UnsafeMutableRawPointer)
    /// `rep outs`: the same in the other direction.
    func portWriteBulk(_ port: UInt16, size: Int, count: Int, from buffer: UnsafeRawPointer)
}

extension PortDevice {
    func movesInBulk(_ port: UInt16) -> Bool { false }

    func portReadBulk(_ port: UInt16, size: Int, count: Int, into buffer: UnsafeMutableRawPointer) {
        for i in 0..<count {
            let value = portRead(port, size: size)
            // SAFETY: the caller hands a buffer of size * count bytes.
            switch size {
            case 1: buffer.storeBytes(of: UInt8(truncatingIfNeeded: value), toByteOffset: i, as: UInt8.self)
            case 2: buffer.storeBytes(of: UInt16(truncatingIfNeeded: value), toByteOffset: i * 2, as: UInt16.self)
            default: buffer.storeBytes(of: value, toByteOffset: i * 4, as: UInt32.self)
            }
        }
    }

    func portWriteBulk(_ port: UInt16, size: Int, count: Int, from buffer: UnsafeRawPointer) {
        for i in 0..<count {
            // SAFETY: the caller hands a buffer of size * count bytes.
            let value: UInt32
            switch size {
            case 1: value = UInt32(buffer.loadUnaligned(fromByteOffset: i, as: UInt8.self))
            case 2: value = UInt32(buffer.loadUnaligned(fromByteOffset: i * 2, as: UInt16.self))
            default: value = buffer.loadUnaligned(fromByteOffset: i * 4, as: UInt32.self)
            }
            portWrite(port, size: size, value: value)
        }
    }
}

/// A device whose registers or memory sit in physical address space. `offset` is relative to the start of
/// the region it was mapped at; `size` is 1, 2, 4 or 8 bytes. Called on the CPU thread only.
protocol MMIODevice: AnyObject {
    func mmioRead(_ offset: UInt64, size: Int) -> UInt64
    func mmioWrite(_ offset: UInt64, size: Int, value: UInt64)
}
