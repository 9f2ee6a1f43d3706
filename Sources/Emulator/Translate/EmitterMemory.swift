/// Memory operands: guest address, TLB check, host operand.
extension Emitter {
    /// An address that is known now: nothing but a displacement, or RIP-relative.
    func constantAddress(_ op: DecodedOp) -> UInt64? {
        guard op.index == UInt8(Register.zero), Int(op.base) >= Register.zero, op.segment == SegmentIndex.flat else {
            return nil
        }
        if Int(op.base) == Register.blockIP, region.isRelocatable { return nil }
        let base = Int(op.base) == Register.blockIP ? block.linear : 0
        let sum = base &+ UInt64(bitPattern: op.displacement)
        return op.addressShift == 32 ? sum & 0xFFFF_FFFF : sum
    }

    /// The linear address of a memory operand plus `offset` in `to`. Destroys EFLAGS where a segment has a base, and where
    /// two registers of the state have to be added without another register.
    ///
    /// - Parameter scratch: another register that may be used; `to` itself: none.
    func address(_ to: Int, _ op: DecodedOp, _ offset: Int64, scratch: Int, withSegment: Bool = true) {
        let wide = op.addressShift == 0
        let full = op.displacement &+ offset
        let displacement = Int32(truncatingIfNeeded: full)
        let hasIndex = op.index != UInt8(Register.zero)
        let index = Int(op.index), base = Int(op.base), scale = Int(op.scale)
        let hostIndex = hasIndex ? HostRegister.of(guest: index) : nil
        if base == Register.blockIP, region.isRelocatable {
            codeAddress(to, block.linear &+ UInt64(bitPattern: full), wide: wide)
        } else if base >= Register.zero {
            let known = (base == Register.blockIP ? block.linear : 0) &+ UInt64(bitPattern: full)
            if !hasIndex {
                asm.constant(to, wide ? known : known & 0xFFFF_FFFF)
            } else {
                let register = hostIndex ?? to
                if hostIndex == nil { asm.load(to, StateOffset.gpr(index)) }
                asm.op(
                    0x8D, to, .memory(base: -1, index: register, scale: scale, displacement: displacement), wide: wide)
            }
        } else if let hostBase = HostRegister.of(guest: base) {
            if hasIndex, hostIndex == nil { asm.load(to, StateOffset.gpr(index)) }
            let register = hasIndex ? hostIndex ?? to : -1
            asm.op(
                0x8D, to, .memory(base: hostBase, index: register, scale: scale, displacement: displacement), wide: wide
            )
        } else if !hasIndex {
            asm.load(to, StateOffset.gpr(base))
            if displacement != 0 || !wide { asm.lea(to, base: to, displacement, wide: wide) }
        } else if let hostIndex {
            asm.load(to, StateOffset.gpr(base))
            asm.op(0x8D, to, .memory(base: to, index: hostIndex, scale: scale, displacement: displacement), wide: wide)
        } else if scratch == to {
            asm.load(to, StateOffset.gpr(index))
            asm.op(0x8D, to, .memory(base: -1, index: to, scale: scale, displacement: displacement), wide: wide)
            asm.op(0x03, to, .state(StateOffset.gpr(base)), wide: wide)
        } else {
            asm.load(to, StateOffset.gpr(index))
            asm.load(scratch, StateOffset.gpr(base))
            asm.op(0x8D, to, .memory(base: scratch, index: to, scale: scale, displacement: displacement), wide: wide)
        }
        if withSegment, op.segment != SegmentIndex.flat {
            // Outside of 64-bit mode linear addresses wrap at 32 bits.
            asm.op(
                0x03, to, .state(StateOffset.segmentBase(Int(op.segment & 7))),
                wide: op.segment & SegmentIndex.baseOnly != 0)
        }
    }

    /// The stack as a memory operand: `[rsp + offset]` or, for LEAVE, `[rbp]`.
    func stackOperand(_ register: Int, _ offset: Int) -> DecodedOp {
        var op = DecodedOp(.nop)
        op.base = UInt8(register)
        op.displacement = Int64(offset)
        op.addressShift = is64 ? 0 : 32
        return op
    }

    /// Finds the host's address of a memory operand: the result holds R10, and R11 unless that is to be kept.
    ///
    /// - Parameters:
    ///   - membership: the group that it belongs to.
    ///   - keepR11: R11 is needed for something else.
    func access(
        _ op: DecodedOp, bytes: Int, writes: Bool, membership: AccessPlan.Membership?, keepR11: Bool,
        isAligned: Bool = false
    ) -> HostOperand {
        if usesGroups, let membership {
            if !membership.isLeader {
                asm.load(HostRegister.r10, StateOffset.groups + 8 * membership.group)
                return addressed(op, keepR11: keepR11)
            }
            return lead(op, membership, keepR11: keepR11)
        }
        guardFlags()
        let path = makePath(bytes: bytes, writes: writes)
        let again = asm.here
        requirePlainSegment(op, path)
        if let known = constantAddress(op), !isAligned || known & 15 == 0 {
            return accessConstant(op, known, bytes, writes, path, again: again, keepR11: keepR11)
        }
        if let target = relocatedAddress(op), target & 0xFFF + UInt64(bytes) <= 4096, !isAligned || target & 15 == 0 {
            return accessRelocated(op, target, bytes, writes, path, again: again, keepR11: keepR11)
        }
        pendingColds.append(check(op, low: 0, bytes: bytes, writes: writes, path, again: again, isAligned: isAligned))
        return addressed(op, keepR11: keepR11)
    }

    /// The first access of a group: the check spans all of them, and the page is remembered.
    private func lead(_ op: DecodedOp, _ membership: AccessPlan.Membership, keepR11: Bool) -> HostOperand {
        guardFlags()
        let span = Int(membership.high - membership.low)
        let path = makePath(last: membership.last, bytes: span, writes: membership.writes, isGroup: true)
        var whole = op
        whole.displacement = 0
        let again = asm.here
        let cold = check(whole, low: membership.low, bytes: span, writes: membership.writes, path, again: again)
        asm.store(StateOffset.groups + 8 * membership.group, HostRegister.r10)
        groupEnds.append((cold, membership.last))
        return addressed(op, keepR11: keepR11)
    }

    /// R10 becomes the page's host minus guest address, or the slow path is taken.
    private func check(
        _ op: DecodedOp, low: Int64, bytes: Int, writes: Bool, _ path: Int, again: UInt64, isAligned: Bool = false
    ) -> Int {
        if usesWindows, let window = translator.takeWindow(for: path) {
            return throughWindow(
                window, op, low: low, bytes: bytes, writes: writes, path, again: again, isAligned: isAligned)
        }
        let r10 = HostRegister.r10, r11 = HostRegister.r11
        address(r10, op, low, scratch: r11)
        if isAligned {
            asm.op(0xF6, 0, .register(r10), forceREX: true)
            asm.byte(15)
            // No translation helps here: the interpreter raises #GP.
            interpretIf(HostCondition.notEqual, path)
        }
        let isDirect =
            op.base < 16 && HostRegister.of(guest: Int(op.base)) != nil && op.index == UInt8(Register.zero)
            && op.segment == SegmentIndex.flat && op.addressShift == 0
        if isDirect, let base = HostRegister.of(guest: Int(op.base)) {
            asm.lea(r11, base: base, Int32(truncatingIfNeeded: op.displacement &+ low &+ Int64(bytes - 1)))
        } else if bytes > 1 {
            asm.lea(r11, base: r10, Int32(bytes - 1))
        } else {
            asm.move(r11, r10)
        }
        compareTag(writes: writes)
        let slot = asm.jump(HostCondition.notEqual)
        loadAddend(writes: writes)
        let access = Access(op: op, offset: low, bytes: bytes, block: block)
        return addCold(slot, .fill(again: again, access: access), path: path)
    }

    /// The look-up itself: R10 holds an access's first address and becomes the place of its TLB entry, R11 holds the address of its last byte and
    /// becomes the page. Not equal: it is not in the TLB, or lies across two pages.
    ///
    /// - Parameter ofPage: both hold the page.
    func compareTag(writes: Bool, ofPage: Bool = false) {
        let r10 = HostRegister.r10, r11 = HostRegister.r11
        asm.op(0xC1, 5, .register(r10), wide: true)  // shr r10, 8
        asm.byte(8)
        if !ofPage { asm.arithmetic(4, .register(r11), -4096) }
        asm.op(0x81, 4, .register(r10))
        asm.int32(Int32(TLBTables.mask << 4))
        let table = Int32(StateOffset.tlb(user: isUser, write: writes))
        asm.op(0x3B, r11, .memory(base: HostRegister.rsp, index: r10, displacement: table), wide: true)
    }

    /// R10, the place of a TLB entry, becomes its host minus guest address.
    func loadAddend(writes: Bool) {
        let r10 = HostRegister.r10
        let table = Int32(StateOffset.tlb(user: isUser, write: writes))
        asm.op(0x8B, r10, .memory(base: HostRegister.rsp, index: r10, displacement: table + 8), wide: true)
    }

    /// The operand once R10 holds the page: R10 plus the guest's address.
    private func addressed(_ op: DecodedOp, keepR11: Bool) -> HostOperand {
        let r10 = HostRegister.r10, r11 = HostRegister.r11
        if op.segment == SegmentIndex.flat, op.addressShift == 0, op.base < 16,
            let base = HostRegister.of(guest: Int(op.base))
        {
            if op.index == UInt8(Register.zero) {
                return .memory(base: r10, index: base, displacement: Int32(truncatingIfNeeded: op.displacement))
            }
        }
        address(r11, op, 0, scratch: r11)
        if !keepR11 { return .memory(base: r10, index: r11) }
        asm.op(0x8D, r10, .memory(base: r10, index: r11), wide: true)
        return .memory(base: r10)
    }

    private func accessConstant(
        _ op: DecodedOp, _ known: UInt64, _ bytes: Int, _ writes: Bool, _ path: Int, again: UInt64, keepR11: Bool
    ) -> HostOperand {
        let r10 = HostRegister.r10, r11 = HostRegister.r11
        let tag = (known &+ UInt64(bytes - 1)) & ~0xFFF
        let entry = StateOffset.tlb(user: isUser, write: writes) + Int(known >> 12 & TLBTables.mask) * 16
        if let small = Int32(exactly: Int64(bitPattern: tag)) {
            asm.op(0x81, 7, .state(entry), wide: true)
            asm.int32(small)
        } else {
            asm.constant(r10, tag)
            asm.op(0x3B, r10, .state(entry), wide: true)
        }
        let slot = asm.jump(HostCondition.notEqual)
        asm.load(r10, entry + 8)
        let access = Access(op: op, offset: 0, bytes: bytes, block: block)
        pendingColds.append(addCold(slot, .fill(again: again, access: access), path: path))
        if let small = Int32(exactly: Int64(bitPattern: known)) {
            return .memory(base: r10, displacement: small)
        }
        asm.constant(r11, known)
        if !keepR11 { return .memory(base: r10, index: r11) }
        asm.op(0x8D, r10, .memory(base: r10, index: r11), wide: true)
        return .memory(base: r10)
    }

    /// FS and GS outside of 64-bit mode: only while they are flat but for their base.
    func requirePlainSegment(_ op: DecodedOp, _ path: Int) {
        guard op.segment != SegmentIndex.flat, op.segment & SegmentIndex.baseOnly == 0 else { return }
        asm.compareByte(Int(op.segment) == SegmentIndex.fs ? StateOffset.plainFS : StateOffset.plainGS, 0)
        interpretIf(HostCondition.equal, path)
    }
}
