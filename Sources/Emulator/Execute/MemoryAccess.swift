/// Guest memory as instructions see it: effective address, segment, TLB, then host memory.
///
/// Loads return nil and stores false when the access faulted; the fault is then pending in the state and the
/// instruction must leave registers as they were.
extension CPUPointer {
    @inline(__always) var raw: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self) }

    /// The CPU behind the state, for slow paths.
    @inline(__always) var cpu: CPU {
        // SAFETY: set at allocation, and the CPU owns this state.
        pointee.owner.unsafelyUnwrapped._withUnsafeGuaranteedRef { $0 }
    }

    // MARK: Registers (`gpr` is the first field of the state)

    @inline(__always) func gpr64(_ index: UInt8) -> UInt64 {
        raw.load(fromByteOffset: Int(index) &* 8, as: UInt64.self)
    }
    @inline(__always) func setGPR64(_ index: UInt8, _ value: UInt64) {
        raw.storeBytes(of: value, toByteOffset: Int(index) &* 8, as: UInt64.self)
    }

    /// A register operand as DecodedOp numbers it: index, or byte offset for 8-bit operands.
    @inline(__always) func register<T: FixedWidthInteger & UnsignedInteger>(_ operand: UInt8, as: T.Type) -> T {
        // SAFETY: the decoder only makes operands that lie in `gpr`.
        if T.bitWidth == 8 { return raw.load(fromByteOffset: Int(operand), as: T.self) }
        return raw.load(fromByteOffset: Int(operand) &* 8, as: T.self)
    }

    /// Writes a register operand: 32-bit writes clear the upper half, 8- and 16-bit ones keep the rest.
    @inline(__always) func setRegister<T: FixedWidthInteger & UnsignedInteger>(_ operand: UInt8, _ value: T) {
        // SAFETY: as in `register`.
        if T.bitWidth == 8 {
            raw.storeBytes(of: value, toByteOffset: Int(operand), as: T.self)
        } else if T.bitWidth == 16 {
            raw.storeBytes(of: value, toByteOffset: Int(operand) &* 8, as: T.self)
        } else {
            raw.storeBytes(of: UInt64(truncatingIfNeeded: value), toByteOffset: Int(operand) &* 8, as: UInt64.self)
        }
    }

    // MARK: Addresses

    /// Offset of the memory operand in its segment.
    @inline(__always) func effectiveOffset(_ op: UnsafePointer<DecodedOp>) -> UInt64 {
        let sum =
            gpr64(op.pointee.base) &+ (gpr64(op.pointee.index) &<< UInt64(op.pointee.scale))
            &+ UInt64(bitPattern: op.pointee.displacement)
        let shift = UInt64(op.pointee.addressShift)
        return (sum &<< shift) &>> shift
    }

    /// Linear address of the memory operand for an access of `size` bytes; nil: a segment fault is pending.
    @inline(__always) func linear(_ op: UnsafePointer<DecodedOp>, size: UInt64, write: Bool) -> UInt64? {
        let offset = effectiveOffset(op)
        let segment = op.pointee.segment
        if segment == SegmentIndex.flat { return offset }
        if segment & SegmentIndex.baseOnly != 0 {
            return offset &+ pointee.segments[unchecked: Int(segment & 7)].base
        }
        return cpu.segmented(Int(segment), offset, size: size, write: write)
    }

    // MARK: Linear memory

    @inline(__always) func load<T: FixedWidthInteger & UnsignedInteger>(_ linear: UInt64, as type: T.Type) -> T? {
        let size = UInt64(T.bitWidth / 8)
        let entry = pointee.readTLB + Int(truncatingIfNeeded: (linear >> 12) & TLBTables.mask)
        if (linear &+ (size &- 1)) & ~0xFFF == entry.pointee.tag {
            // SAFETY: a TLB hit means that all bytes lie in one host page of guest memory.
            let host = UnsafeRawPointer(bitPattern: UInt(linear &+ entry.pointee.addend)).unsafelyUnwrapped
            return host.loadUnaligned(as: T.self)
        }
        guard let value = cpu.loadSlow(linear, size: Int(size)) else { return nil }
        return T(truncatingIfNeeded: value)
    }

    @inline(__always) func store<T: FixedWidthInteger & UnsignedInteger>(_ linear: UInt64, _ value: T) -> Bool {
        let size = UInt64(T.bitWidth / 8)
        let entry = pointee.writeTLB + Int(truncatingIfNeeded: (linear >> 12) & TLBTables.mask)
        if (linear &+ (size &- 1)) & ~0xFFF == entry.pointee.tag {
            // SAFETY: as in `load`.
            let host = UnsafeMutableRawPointer(bitPattern: UInt(linear &+ entry.pointee.addend)).unsafelyUnwrapped
            host.storeBytes(of: value, as: T.self)
            return true
        }
        return cpu.storeSlow(linear, UInt64(truncatingIfNeeded: value), size: Int(size))
    }

    /// Load-modify-store with one permission check up front: `body` runs only when the store cannot fault.
    @inline(__always) func modify<T: FixedWidthInteger & UnsignedInteger>(
        _ linear: UInt64, as type: T.Type, _ body: (T) -> T
    ) -> Bool {
        let size = UInt64(T.bitWidth / 8)
        let entry = pointee.writeTLB + Int(truncatingIfNeeded: (linear >> 12) & TLBTables.mask)
        if (linear &+ (size &- 1)) & ~0xFFF == entry.pointee.tag {
            // SAFETY: as in `load`.
            let host = UnsafeMutableRawPointer(bitPattern: UInt(linear &+ entry.pointee.addend)).unsafelyUnwrapped
            host.storeBytes(of: body(host.loadUnaligned(as: T.self)), as: T.self)
            return true
        }
        guard let old = cpu.loadForStore(linear, size: Int(size)) else { return false }
        return cpu.storeSlow(linear, UInt64(truncatingIfNeeded: body(T(truncatingIfNeeded: old))), size: Int(size))
    }

    // MARK: Memory operands

    @inline(__always) func load<T: FixedWidthInteger & UnsignedInteger>(
        _ op: UnsafePointer<DecodedOp>, as type: T.Type
    ) -> T? {
        guard let address = linear(op, size: UInt64(T.bitWidth / 8), write: false) else { return nil }
        return load(address, as: T.self)
    }

    @inline(__always) func store<T: FixedWidthInteger & UnsignedInteger>(
        _ op: UnsafePointer<DecodedOp>, _ value: T
    ) -> Bool {
        guard let address = linear(op, size: UInt64(T.bitWidth / 8), write: true) else { return false }
        return store(address, value)
    }

    @inline(__always) func modify<T: FixedWidthInteger & UnsignedInteger>(
        _ op: UnsafePointer<DecodedOp>, as type: T.Type, _ body: (T) -> T
    ) -> Bool {
        guard let address = linear(op, size: UInt64(T.bitWidth / 8), write: true) else { return false }
        return modify(address, as: T.self, body)
    }
}
