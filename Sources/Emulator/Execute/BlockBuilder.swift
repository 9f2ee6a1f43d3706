/// Decodes instructions into blocks.
extension CPU {
    /// The block at a linear address whose page is known, decoded and remembered; nil: a fault is pending.
    func build(
        _ linear: UInt64, _ physical: UInt64, _ host: UnsafeMutableRawPointer, _ mode: UInt32
    ) -> BlockCache.Pointer? {
        if blocks.reserve(Self.maxInstructions + 1) == nil { blocks.flush() }
        guard let block = blocks.reserve(Self.maxInstructions + 1) else { return nil }
        guard decode(block, at: state.pointee.rip, physical, host, mode) else {
            return crossing(linear, mode, physical: physical)
        }
        blocks.commit(block)
        if let tracer {
            // SAFETY: the block's bytes lie in the page that `host` points to.
            let bytes = (host + Int(physical & 0xFFF)).assumingMemoryBound(to: UInt8.self)
            tracer.block(
                UnsafeBufferPointer(start: bytes, count: Int(block.pointee.byteLength)), mode: mode,
                at: state.pointee.rip)
        }
        jumps.remember(linear, mode: mode, isGlobal: isGlobalFetch(linear, block), block)
        return block
    }

    /// Fills reserved space with the instructions at `pointer` (an offset in CS) up to a branch or the end of the page.
    /// - Returns: false when not even one instruction ends inside the page and the segment.
    func decode(
        _ block: BlockCache.Pointer, at pointer: UInt64, _ physical: UInt64, _ host: UnsafeMutableRawPointer,
        _ mode: UInt32
    ) -> Bool {
        let inPage = Int(physical & 0xFFF)
        var available = 4096 - inPage
        if mode & ModeKey.code64 == 0 {
            let limit = UInt64(state.pointee.segments[unchecked: SegmentIndex.cs].limit)
            available = min(available, Int(clamping: limit &- pointer &+ 1))
        }
        // SAFETY: the page's host memory is readable, `available` stays inside it.
        let bytes = (host + inPage).assumingMemoryBound(to: UInt8.self)
        let decodeMode = Decoder.Mode(key: mode, features: features.offered)
        var offset = 0
        var count = 0
        while count < Self.maxInstructions {
            var decoder = Decoder(bytes: bytes + offset, available: available - offset, mode: decodeMode)
            guard case .decoded = decoder.decode() else { break }
            var op = decoder.op
            if op.code == .pause, !givesUpTurns { op.code = .nop }
            op.offset = UInt16(offset)
            Self.rebase(&op, end: offset + Int(op.length))
            block.ops[count] = op
            count += 1
            offset += Int(op.length)
            guard op.code != .undefined, let row = decoder.row, !row.pointee.attributes.contains(.endsBlock) else {
                break
            }
            if offset >= available { break }
        }
        if count == 0 { return false }
        finish(block, physical, mode, count: count, length: offset)
        return true
    }

    private func finish(_ block: BlockCache.Pointer, _ physical: UInt64, _ mode: UInt32, count: Int, length: Int) {
        var end = DecodedOp(.endOfBlock)
        end.offset = UInt16(length)
        block.ops[count] = end
        block.initialize(
            to: Block(physical: physical, mode: mode, count: Int32(count), byteLength: UInt16(length)))
    }

    /// Makes positions relative to the block: branch targets and RIP-relative displacements count from the instruction's end.
    static func rebase(_ op: inout DecodedOp, end: Int) {
        if op.base == UInt8(Register.blockIP) { op.displacement &+= Int64(end) }
        switch op.code {
        case .jo, .jno, .jb, .jae, .je, .jne, .jbe, .ja, .js, .jns, .jp, .jnp, .jl, .jge, .jle, .jg,
            .jmpRelative, .callRelative64, .callRelativeGeneral, .loopFamily:
            op.immediate &+= Int64(end)
        default: break
        }
    }

    /// An instruction that goes on in the next page: a block of its own, listed in both pages. It is found again only
    /// where both pages are the same.
    private func crossing(_ linear: UInt64, _ mode: UInt32, physical: UInt64) -> BlockCache.Pointer? {
        guard let decoded = single(linear, mode, physical: physical) else { return nil }
        let length = UInt64(decoded.pointee.byteLength)
        guard (linear & 0xFFF) + length > 4096,
            let second = translateFetch(
                mode & ModeKey.code64 != 0 ? (linear | 0xFFF) &+ 1 : ((linear | 0xFFF) &+ 1) & 0xFFFF_FFFF),
            second.pointee.host != nil, let block = blocks.reserve(2)
        else { return decoded }
        let secondPage = second.pointee.physical & ~0xFFF
        block.ops[0] = decoded.ops[0]
        finish(block, physical, mode, count: 1, length: Int(length))
        block.pointee.secondPage = secondPage
        blocks.commit(block)
        jumps.remember(linear, mode: mode, isGlobal: isGlobalFetch(linear, block), block)
        return block
    }

    /// One instruction that is decoded anew each time it runs, into scratch space: a single step, or code that does not
    /// lie in plain memory.
    func single(_ linear: UInt64, _ mode: UInt32, physical: UInt64) -> BlockCache.Pointer? {
        var bytes = InlineArray<16, UInt8>(repeating: 0)
        var available = 0
        let limit = UInt64(state.pointee.segments[unchecked: SegmentIndex.cs].limit)
        let decodeMode = Decoder.Mode(key: mode, features: features.offered)
        while available < 15 {
            let pointer = state.pointee.rip &+ UInt64(available)
            if mode & ModeKey.code64 == 0, pointer > limit {
                generalProtection()
                return nil
            }
            let at =
                mode & ModeKey.code64 != 0 ? linear &+ UInt64(available) : (linear &+ UInt64(available)) & 0xFFFF_FFFF
            guard let page = translateFetch(at) else { return nil }
            let place = page.pointee.physical & ~0xFFF | at & 0xFFF
            bytes[available] = UInt8(truncatingIfNeeded: memory.read(place, size: 1))
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
                if op.code == .pause, !givesUpTurns { op.code = .nop }
                op.offset = 0
                Self.rebase(&op, end: Int(op.length))
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

    func logUndefined(_ op: Op) {
        let pointer = state.gpr64(UInt8(Register.blockIP)) &+ UInt64(op.pointee.offset)
        let base = state.pointee.is64Bit ? 0 : state.pointee.segments[SegmentIndex.cs].base
        var text = ""
        // The page was just fetched from; bytes beyond it are left out, as reaching for them may fault.
        for i in 0..<8 {
            let linear = base &+ pointer &+ UInt64(i)
            guard i == 0 || linear & 0xFFF != 0, let page = translateFetch(linear) else { break }
            text += hex(memory.read(page.pointee.physical & ~0xFFF | linear & 0xFFF, size: 1), 2) + " "
        }
        log("undefined opcode at \(hex(pointer, 8)): \(text)")
    }
}

/// `value` in at least `digits` hexadecimal digits.
func hex(_ value: some FixedWidthInteger, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
}
