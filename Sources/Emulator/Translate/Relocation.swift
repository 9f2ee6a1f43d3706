/// Code that is right wherever its page is mapped.
///
/// Programs and libraries of users lie at another address in each process. Regions of theirs hold no linear address: they add to
/// `NativeState.codeBase`, which whoever comes from elsewhere sets on entering, while links inside the page skip that. Translated once, a
/// library runs in all processes (docs/decisions/0303-translator.md). Kernels, and programs linked to low addresses, keep constants.
enum Relocation {
    /// Where 64-bit programs of users are loaded at random addresses, and 32-bit ones are.
    private static let lowest64: UInt64 = 1 << 32
    private static let lowest32: UInt64 = 1 << 30
    /// `entryLinear` of relocatable code, which is no address of an instruction in user mode.
    static let anywhere = ~UInt64(0)

    static func isRelocatable(_ linear: UInt64, _ mode: UInt32) -> Bool {
        mode & ModeKey.user != 0 && linear >= (mode & ModeKey.code64 != 0 ? lowest64 : lowest32)
    }

    /// For what address a block's code is found: its own, or any.
    @inline(__always) static func place(_ linear: UInt64, _ mode: UInt32) -> UInt64 {
        isRelocatable(linear, mode) ? anywhere : linear
    }

    /// Host bytes of `preamble`, behind which links enter.
    static let preambleBytes: UInt64 = 23

    /// R10, the block's linear address XOR the jump key, gives the page's address.
    static func preamble(_ asm: inout Assembler, offset: UInt64) {
        let r10 = HostRegister.r10
        asm.op(0x33, r10, .state(StateOffset.jumpKey), wide: true)
        // Always with a 32-bit displacement, so that all preambles are of one length.
        asm.bytes(0x4D, 0x8D, 0x92)
        asm.int32(-Int32(offset))
        asm.store(StateOffset.codeBase, r10)
    }
}

extension Emitter {
    /// A linear address in or near the region's page. EFLAGS stay.
    func codeAddress(_ to: Int, _ linear: UInt64, wide: Bool = true) {
        guard region.isRelocatable else { return asm.constant(to, wide ? linear : linear & 0xFFFF_FFFF) }
        asm.load(to, StateOffset.codeBase)
        let distance = Int64(bitPattern: linear &- region.page)
        if let small = Int32(exactly: distance) { return asm.lea(to, base: to, small, wide: wide) }
        // Two branches of 2 GiB reach no farther; in 32-bit mode addresses wrap.
        asm.lea(to, base: to, Int32(truncatingIfNeeded: distance / 2))
        asm.lea(to, base: to, Int32(truncatingIfNeeded: distance - distance / 2), wide: wide)
    }

    /// Where a RIP-relative operand of relocatable code lies while the page is where it was translated.
    func relocatedAddress(_ op: DecodedOp) -> UInt64? {
        guard region.isRelocatable, Int(op.base) == Register.blockIP, op.index == UInt8(Register.zero),
            op.segment == SegmentIndex.flat, op.addressShift == 0
        else { return nil }
        return block.linear &+ UInt64(bitPattern: op.displacement)
    }

    /// An access whose place in its page is known, so that it cannot cross into the next.
    func accessRelocated(
        _ op: DecodedOp, _ target: UInt64, _ bytes: Int, _ writes: Bool, _ path: Int, again: UInt64, keepR11: Bool
    ) -> HostOperand {
        let r10 = HostRegister.r10, r11 = HostRegister.r11
        codeAddress(r11, target & ~0xFFF)
        asm.move(r10, r11)
        compareTag(writes: writes, ofPage: true)
        let slot = asm.jump(HostCondition.notEqual)
        loadAddend(writes: writes)
        pendingColds.append(
            addCold(
                slot, .fill(again: again, access: Access(op: op, offset: 0, bytes: bytes, block: block)), path: path))
        let offset = Int32(target & 0xFFF)
        if !keepR11 { return .memory(base: r10, index: r11, displacement: offset) }
        asm.op(0x8D, r10, .memory(base: r10, index: r11, displacement: offset), wide: true)
        return .memory(base: r10)
    }
}
