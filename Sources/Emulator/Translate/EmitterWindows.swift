/// Accesses of loops by way of their own window (PageWindow.swift).
extension Emitter {
    /// R10 becomes the page's host minus guest address, or the slow path is taken. R11 is destroyed.
    ///
    /// - Returns: the slow path's number in `cold`.
    func throughWindow(
        _ number: Int, _ op: DecodedOp, low: Int64, bytes: Int, writes: Bool, _ path: Int, again: UInt64,
        isAligned: Bool
    ) -> Int {
        let r10 = HostRegister.r10, r11 = HostRegister.r11, window = StateOffset.window(number)
        address(r11, op, low, scratch: r10)
        if isAligned {
            asm.op(0xF6, 0, .register(r11), forceREX: true)
            asm.byte(15)
            interpretIf(HostCondition.notEqual, path)
        }
        asm.op(0x2B, r11, .state(window + StateOffset.pageInWindow), wide: true)
        asm.op(0x3B, r11, .state(window + StateOffset.limitInWindow), wide: true)
        let slot = asm.jump(HostCondition.aboveOrEqual)
        asm.load(r10, window + StateOffset.addendInWindow)
        let access = Access(op: op, offset: low, bytes: bytes, block: block)
        return addCold(slot, .moveWindow(number, again: again, access: access, writes: writes), path: path)
    }

    /// To the page of an access, if the TLB has it.
    func moveWindow(_ number: Int, _ access: Access, writes: Bool, path: Int, again: UInt64) {
        let r10 = HostRegister.r10, r11 = HostRegister.r11, window = StateOffset.window(number)
        address(of: access)
        asm.lea(r11, base: r10, Int32(access.bytes - 1))
        compareTag(writes: writes)
        let missing = asm.jump(HostCondition.notEqual)
        asm.store(window + StateOffset.pageInWindow, r11)
        loadAddend(writes: writes)
        asm.store(window + StateOffset.addendInWindow, r10)
        asm.storeConstant(window + StateOffset.limitInWindow, UInt64(4096 - access.bytes + 1))
        asm.op(0x80, 1, .state(StateOffset.openWindows(number)))
        asm.byte(1 << UInt8(number & 7))
        asm.arithmetic(5, .state(window + StateOffset.patienceInWindow), 1)
        asm.jump(HostCondition.notSign, to: again)
        jumpToHelper(path)
        asm.bind(missing)
        emitFill(access, path: path, again: again)
    }
}
