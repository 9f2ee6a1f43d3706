/// From an instruction pointer to a decoded block: jump cache, then translation and block cache, then the decoder.
extension CPU {
    /// Longest block. Long enough for any straight run that pays, short enough for prompt interrupts.
    private static let maxInstructions = 64

    /// Linear address of `rip`.
    private var linearPointer: UInt64 {
        let s = state.pointee
        let linear = s.segments[SegmentIndex.cs].base &+ s.rip
        return s.modeKey & ModeKey.code64 != 0 ? s.rip : linear & 0xFFFF_FFFF
    }

    /// Keeps `rip` in the width of the code segment after it ran off a block's end.
    func maskPointer() {
        let key = state.pointee.modeKey
        if key & ModeKey.code64 == 0 { state.pointee.rip &= key & ModeKey.code32 != 0 ? 0xFFFF_FFFF : 0xFFFF }
    }

    /// Whether an indirect near target may be fetched from; otherwise #GP(0) is pending.
    @inline(__always) func isNearTarget(_ target: UInt64) -> Bool {
        if state.pointee.modeKey & ModeKey.code64 != 0 {
            let canonical = UInt64(bitPattern: Int64(bitPattern: target &<< 16) &>> 16)
            if canonical == target { return true }
        } else if target <= UInt64(state.pointee.segments[unchecked: SegmentIndex.cs].limit) {
            return true
        }
        generalProtection()
        return false
    }

    /// The next block by way of the jump cache; nil: a fault is pending.
    @inline(__always) func jump() -> BlockCache.Pointer? {
        let linear = linearPointer
        let entry = blocks.jumps + BlockCache.jumpIndex(linear)
        if entry.pointee.linear == linear, entry.pointee.tag == blocks.tag(mode: state.pointee.modeKey),
            let block = entry.pointee.block, block.pointee.isLive, !blocks.flushRequested
        {
            return block
        }
        return lookup()
    }

    /// The block at `rip`, decoded if need be; nil: a fault is pending.
    @inline(never) func lookup() -> BlockCache.Pointer? {
        if blocks.flushRequested { blocks.flush() }
        maskPointer()
        let mode = state.pointee.modeKey
        if mode & ModeKey.code64 == 0, state.pointee.rip > UInt64(state.pointee.segments[SegmentIndex.cs].limit) {
            generalProtection()
            return nil
        }
        let linear = linearPointer
        guard let (physical, host) = translateFetch(linear) else { return nil }
        if singleStepping { return single(linear, mode, physical: physical) }
        if let found = blocks.find(physical, mode: mode), isInsideLimit(found) {
            remember(linear, mode, found)
            return found
        }
        guard let host else { return single(linear, mode, physical: physical) }
        return build(linear, physical, host, mode)
    }

    private func isInsideLimit(_ block: BlockCache.Pointer) -> Bool {
        let s = state.pointee
        if s.modeKey & ModeKey.code64 != 0 { return true }
        return s.rip + UInt64(max(block.pointee.byteLength, 1)) - 1 <= UInt64(s.segments[SegmentIndex.cs].limit)
    }

    private func remember(_ linear: UInt64, _ mode: UInt32, _ block: BlockCache.Pointer) {
        blocks.jumps[BlockCache.jumpIndex(linear)] = BlockCache.Jump(
            linear: linear, tag: blocks.tag(mode: mode), block: block)
    }

    /// Links two blocks of one page, so that the next time no lookup is needed. The link holds wherever the page is mapped, as both
    /// ends move together; 16-bit code is left out because its pointer may wrap between them.
    func link(_ from: BlockCache.Pointer, _ to: BlockCache.Pointer, _ start: UInt64, taken: Bool) {
        guard from != scratch, to != scratch, from.pointee.isLive, to.pointee.isLive,
            from.pointee.mode == to.pointee.mode, from.pointee.mode & (ModeKey.code32 | ModeKey.code64) != 0,
            from.pointee.physical >> 12 == to.pointee.physical >> 12,
            (start ^ from.pointee.physical) & 0xFFF == (state.pointee.rip ^ to.pointee.physical) & 0xFFF,
            start &- (from.pointee.physical & 0xFFF) == state.pointee.rip &- (to.pointee.physical & 0xFFF)
        else { return }
        if taken { from.pointee.taken = to } else { from.pointee.next = to }
    }

    // MARK: Building

    private func build(
        _ linear: UInt64, _ physical: UInt64, _ host: UnsafeMutableRawPointer, _ mode: UInt32
    ) -> BlockCache.Pointer? {
        // Code outside of RAM's numbering or of page lists would never be invalidated; ROM is fine.
        if blocks.reserve(Self.maxInstructions + 1) == nil { blocks.flush() }
        guard let block = blocks.reserve(Self.maxInstructions + 1) else { return nil }
        let inPage = Int(physical & 0xFFF)
        let limit = UInt64(state.pointee.segments[SegmentIndex.cs].limit)
        var available = 4096 - inPage
        if mode & ModeKey.code64 == 0 { available = min(available, Int(clamping: limit &- state.pointee.rip &+ 1)) }
        // SAFETY: the page's host memory is readable, `available` stays inside it.
        let bytes = (host + inPage).assumingMemoryBound(to: UInt8.self)
        let decodeMode = Decoder.Mode(key: mode)
        var offset = 0
        var count = 0
        while count < Self.maxInstructions {
            var decoder = Decoder(bytes: bytes + offset, available: available - offset, mode: decodeMode)
            guard case .decoded = decoder.decode() else { break }
            var op = decoder.op
            op.offset = UInt16(offset)
            rebase(&op, end: offset + Int(op.length))
            block.ops[count] = op
            count += 1
            offset += Int(op.length)
            if op.code == .undefined || decoder.row?.attributes.contains(.endsBlock) ?? true { break }
            if offset >= available { break }
        }
        if count == 0 { return single(linear, mode, physical: physical) }
        finish(block, physical, mode, count: count, length: offset)
        blocks.commit(block)
        tracer?.block(UnsafeBufferPointer(start: bytes, count: offset), mode: mode, at: state.pointee.rip)
        remember(linear, mode, block)
        return block
    }

    private func finish(_ block: BlockCache.Pointer, _ physical: UInt64, _ mode: UInt32, count: Int, length: Int) {
        var end = DecodedOp(.endOfBlock)
        end.offset = UInt16(length)
        block.ops[count] = end
        block.initialize(
            to: Block(
                physical: physical, mode: mode, count: Int32(count), byteLength: UInt16(length), isLive: true,
                next: nil, taken: nil, hashNext: nil, pageNext: nil))
    }

    /// Makes positions relative to the block: branch targets and RIP-relative displacements count from the instruction's end.
    private func rebase(_ op: inout DecodedOp, end: Int) {
        if op.base == UInt8(Register.blockIP) { op.displacement &+= Int64(end) }
        switch op.code {
        case .jo, .jno, .jb, .jae, .je, .jne, .jbe, .ja, .js, .jns, .jp, .jnp, .jl, .jge, .jle, .jg,
            .jmpRelative, .callRelative64, .callRelativeGeneral, .loopFamily:
            op.immediate &+= Int64(end)
        default: break
        }
    }

    /// One instruction that cannot be cached: it crosses into another page, or does not lie in plain memory. It is
    /// decoded into scratch space each time it runs.
    func single(_ linear: UInt64, _ mode: UInt32, physical: UInt64) -> BlockCache.Pointer? {
        var bytes = InlineArray<16, UInt8>(repeating: 0)
        var available = 0
        let limit = UInt64(state.pointee.segments[SegmentIndex.cs].limit)
        let decodeMode = Decoder.Mode(key: mode)
        while available < 15 {
            let pointer = state.pointee.rip &+ UInt64(available)
            if mode & ModeKey.code64 == 0, pointer > limit {
                generalProtection()
                return nil
            }
            let at =
                mode & ModeKey.code64 != 0 ? linear &+ UInt64(available) : (linear &+ UInt64(available)) & 0xFFFF_FFFF
            guard let (physicalByte, _) = translateFetch(at) else { return nil }
            bytes[available] = UInt8(truncatingIfNeeded: memory.read(physicalByte, size: 1))
            available += 1
            // Fetch byte by byte, so that a fault is raised only for bytes that the instruction really has.
            var op: DecodedOp?
            let result = withUnsafePointer(to: &bytes) { pointer in
                pointer.withMemoryRebound(to: UInt8.self, capacity: 16) { start in
                    var decoder = Decoder(bytes: start, available: available, mode: decodeMode)
                    let result = decoder.decode()
                    op = decoder.op
                    return result
                }
            }
            if case .decoded = result, var op {
                op.offset = 0
                rebase(&op, end: Int(op.length))
                scratch.ops[0] = op
                finish(scratch, physical, mode, count: 1, length: Int(op.length))
                return scratch
            }
            if case .tooLong = result { break }
        }
        generalProtection()
        return nil
    }

    // MARK: Logging

    func logUndefined(_ op: Op, _ block: BlockCache.Pointer) {
        let at = block.pointee.physical &+ UInt64(op.pointee.offset)
        var text = ""
        for i in 0..<8 { text += hex(memory.read(at &+ UInt64(i), size: 1), 2) + " " }
        log("undefined opcode at \(hex(state.gpr64(UInt8(Register.blockIP)) &+ UInt64(op.pointee.offset), 8)): \(text)")
    }
}

/// `value` in at least `digits` hexadecimal digits.
func hex(_ value: some FixedWidthInteger, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
}
