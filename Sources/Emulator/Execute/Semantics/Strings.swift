import Glibc

/// MOVS, CMPS, STOS, LODS, SCAS, INS, OUTS with and without repeat prefixes (SDM vol. 2).
///
/// Repeated forms run page-sized pieces at memory speed where nothing can fault inside the piece, else element by
/// element with registers up to date, so that a fault or an interrupt in the middle resumes where it stopped.
extension CPU {
    /// Elements done before an interrupt may be looked at again.
    private static let burst = 4096

    private enum Kind: UInt16 { case movs, cmps, stos, lods, scas, ins, outs }

    @inline(never) func string(_ op: Op) -> Outcome {
        guard let kind = Kind(rawValue: op.pointee.sub) else { return undefinedOpcode() }
        if kind == .ins || kind == .outs {
            let port = UInt16(truncatingIfNeeded: state.gpr64(UInt8(Register.rdx)))
            guard ioPermitted(port, size: 1 << Int(op.pointee.size)) else { return .fault }
        }
        let isRepeated = !op.pointee.prefixes.isDisjoint(with: [.rep, .repne])
        if !isRepeated { return element(kind, op) ? .next : .fault }

        let shift = UInt64(op.pointee.addressShift)
        var done = 0
        // A single step ends after each element (SDM vol. 3, 17.3.1.4).
        let isStepped = state.pointee.stepArmed
        // Repetitions count as well: a slice ends after about as much work, whatever it is made of.
        let isWhole = runsRepetitionsWhole
        defer { if !isWhole { state.pointee.budget &-= done / 16 } }
        while true {
            let count = (state.gpr64(UInt8(Register.rcx)) << shift) >> shift
            if count == 0 { return .next }
            if done > 0, isStepped || !isWhole && (done >= Self.burst || state.pointee.budget <= 0) {
                // Not finished: come back to the same instruction after interrupts were looked at.
                state.pointee.rip = state.pointee.rip &- UInt64(op.pointee.length)
                return .leave
            }
            let moved = isStepped ? 0 : bulk(kind, op, count: count)
            if moved > 0 {
                done += moved
                setCounter(count &- UInt64(moved), shift)
                continue
            }
            guard element(kind, op) else { return .fault }
            done += 1
            setCounter(count &- 1, shift)
            if kind == .cmps || kind == .scas, state.zf != op.pointee.prefixes.contains(.rep) { return .next }
        }
    }

    private func setCounter(_ value: UInt64, _ shift: UInt64) { setIndex(UInt8(Register.rcx), value, shift) }

    /// Writes rCX, rSI or rDI with the address size's width.
    private func setIndex(_ register: UInt8, _ value: UInt64, _ shift: UInt64) {
        if shift == 48 {
            state.setRegister(register, UInt16(truncatingIfNeeded: value))
        } else {
            state.setGPR64(register, (value << shift) >> shift)
        }
    }

    private func index(_ register: Int, _ shift: UInt64) -> UInt64 {
        (state.gpr64(UInt8(register)) << shift) >> shift
    }

    /// ES:rDI; ES cannot be overridden.
    private func destinationLinear(_ op: Op, _ size: Int, write: Bool) -> UInt64? {
        let offset = index(Register.rdi, UInt64(op.pointee.addressShift))
        if state.pointee.is64Bit { return offset }
        return segmented(SegmentIndex.es, offset, size: UInt64(size), write: write)
    }

    private func sourceLinear(_ op: Op, _ size: Int) -> UInt64? {
        segmentLinear(
            op.pointee.segment, index(Register.rsi, UInt64(op.pointee.addressShift)), size: UInt64(size), write: false)
    }

    private func advance(_ register: Int, _ op: Op, elements: Int) {
        let shift = UInt64(op.pointee.addressShift)
        let bytes = UInt64(elements << Int(op.pointee.size))
        let isDown = state.pointee.flagsRest & RFLAGS.df != 0
        let old = index(register, shift)
        setIndex(UInt8(register), isDown ? old &- bytes : old &+ bytes, shift)
    }

    // MARK: One element

    private func element(_ kind: Kind, _ op: Op) -> Bool {
        let size = 1 << Int(op.pointee.size)
        switch kind {
        case .movs:
            guard let source = sourceLinear(op, size), let value = loadSized(source, size: size),
                let destination = destinationLinear(op, size, write: true), storeSized(destination, value, size: size)
            else { return false }
            advance(Register.rsi, op, elements: 1)
            advance(Register.rdi, op, elements: 1)
        case .stos:
            guard let destination = destinationLinear(op, size, write: true),
                storeSized(destination, state.gpr64(UInt8(Register.rax)), size: size)
            else { return false }
            advance(Register.rdi, op, elements: 1)
        case .lods:
            guard let source = sourceLinear(op, size), let value = loadSized(source, size: size) else { return false }
            setAccumulator(value, size)
            advance(Register.rsi, op, elements: 1)
        case .cmps:
            guard let source = sourceLinear(op, size), let a = loadSized(source, size: size),
                let destination = destinationLinear(op, size, write: false), let b = loadSized(destination, size: size)
            else { return false }
            compare(a, b, size)
            advance(Register.rsi, op, elements: 1)
            advance(Register.rdi, op, elements: 1)
        case .scas:
            guard let destination = destinationLinear(op, size, write: false),
                let b = loadSized(destination, size: size)
            else { return false }
            compare(state.gpr64(UInt8(Register.rax)), b, size)
            advance(Register.rdi, op, elements: 1)
        case .ins:
            // The destination must be writable before the port is read: reading may have side effects.
            guard let destination = destinationLinear(op, size, write: true),
                loadForStore(destination, size: size) != nil
            else { return false }
            let port = UInt16(truncatingIfNeeded: state.gpr64(UInt8(Register.rdx)))
            guard storeSized(destination, UInt64(ports.read(port, size: size)), size: size) else { return false }
            advance(Register.rdi, op, elements: 1)
        case .outs:
            guard let source = sourceLinear(op, size), let value = loadSized(source, size: size) else { return false }
            let port = UInt16(truncatingIfNeeded: state.gpr64(UInt8(Register.rdx)))
            ports.write(port, size: size, value: UInt32(truncatingIfNeeded: value))
            advance(Register.rsi, op, elements: 1)
        }
        return true
    }

    private func setAccumulator(_ value: UInt64, _ size: Int) {
        switch size {
        case 1: state.setRegister(0, UInt8(truncatingIfNeeded: value))
        case 2: state.setRegister(0, UInt16(truncatingIfNeeded: value))
        case 4: state.setRegister(0, UInt32(truncatingIfNeeded: value))
        default: state.setRegister(0, value)
        }
    }

    private func compare(_ a: UInt64, _ b: UInt64, _ size: Int) {
        func compare<T: Word>(_: T.Type) {
            let x = T(truncatingIfNeeded: a), y = T(truncatingIfNeeded: b)
            state.setSubFlags(x, y, x &- y)
        }
        switch size {
        case 1: compare(UInt8.self)
        case 2: compare(UInt16.self)
        case 4: compare(UInt32.self)
        default: compare(UInt64.self)
        }
    }

    // MARK: Many elements at once

    /// Moves as many elements as fit into one page of source and destination, forwards; 0 when that is not possible.
    private func bulk(_ kind: Kind, _ op: Op, count: UInt64) -> Int {
        guard kind == .movs || kind == .stos || kind == .ins || kind == .outs, count > 1,
            state.pointee.flagsRest & RFLAGS.df == 0
        else { return 0 }
        if kind == .ins || kind == .outs {
            let port = UInt16(truncatingIfNeeded: state.gpr64(UInt8(Register.rdx)))
            guard ports.device(at: port).movesInBulk(port) else { return 0 }
        }
        let size = 1 << Int(op.pointee.size)
        var elements = min(Int(clamping: count), Self.burst)
        var from: UnsafeMutableRawPointer?
        var to: UnsafeMutableRawPointer?
        if kind == .movs || kind == .outs {
            guard let place = piece(Register.rsi, op, size: size, elements: &elements, write: false) else { return 0 }
            from = place
        }
        if kind != .outs {
            guard let place = piece(Register.rdi, op, size: size, elements: &elements, write: true) else { return 0 }
            to = place
        }
        if elements < 2 { return 0 }
        let port = UInt16(truncatingIfNeeded: state.gpr64(UInt8(Register.rdx)))
        // SAFETY: `piece` vouches for `elements` elements inside one host page at each end.
        switch (kind, from, to) {
        case (.movs, let from?, let to?):
            let distance = to - from
            if distance > 0 && distance < elements * size {
                // Overlapping forwards copies repeat the pattern: each element reads what earlier ones wrote.
                if distance < size { return 0 }
                for i in 0..<elements { memcpy(to + i * size, from + i * size, size) }
            } else {
                memmove(to, from, elements * size)
            }
        case (.stos, _, let to?):
            fill(to, state.gpr64(UInt8(Register.rax)), size: size, elements: elements)
        case (.ins, _, let to?):
            ports.device(at: port).portReadBulk(port, size: size, count: elements, into: to)
        case (.outs, let from?, _):
            ports.device(at: port).portWriteBulk(port, size: size, count: elements, from: from)
        default:
            return 0
        }
        if from != nil { advance(Register.rsi, op, elements: elements) }
        if to != nil { advance(Register.rdi, op, elements: elements) }
        return elements
    }

    /// Host address of the next elements at rSI or rDI when all of them lie in one page that the TLB knows; trims `elements`
    /// to the page, the segment and the address size.
    private func piece(
        _ register: Int, _ op: Op, size: Int, elements: inout Int, write: Bool
    ) -> UnsafeMutableRawPointer? {
        let shift = UInt64(op.pointee.addressShift)
        let offset = index(register, shift)
        let linear: UInt64?
        // Only whole, unwrapped stretches: the last byte must not pass the end of the address size.
        let space = shift == 0 ? UInt64.max : (UInt64(1) << (64 - shift)) - offset
        elements = min(elements, Int(clamping: space) / size)
        if elements < 2 { return nil }
        let mark = state.pointee.fault
        if register == Register.rdi {
            linear = destinationLinear(op, size, write: write)
        } else {
            linear = sourceLinear(op, size)
        }
        guard let start = linear else {
            state.pointee.fault = mark
            return nil
        }
        elements = min(elements, Int(0x1000 - (start & 0xFFF)) / size)
        if elements < 2 { return nil }
        if !isFlatOperand(register, op) {
            // Check the last element's limit too; let the element path raise what must be raised.
            let last = offset + UInt64((elements - 1) * size)
            let segment = register == Register.rdi ? SegmentIndex.es : Int(op.pointee.segment & 7)
            if segmented(segment, last, size: UInt64(size), write: write) == nil {
                state.pointee.fault = mark
                return nil
            }
        }
        let table = write ? state.pointee.writeTLB : state.pointee.readTLB
        let entry = table[Int(start >> 12 & TLBTables.mask)]
        guard entry.tag == start & ~0xFFF else { return nil }
        return UnsafeMutableRawPointer(bitPattern: UInt(start &+ entry.addend))
    }

    private func isFlatOperand(_ register: Int, _ op: Op) -> Bool {
        if state.pointee.is64Bit { return true }
        return register == Register.rsi && op.pointee.segment == SegmentIndex.flat
            || register == Register.rdi && state.pointee.modeKey & ModeKey.flat != 0
    }

    private func fill(_ to: UnsafeMutableRawPointer, _ value: UInt64, size: Int, elements: Int) {
        let bytes = (value & 0xFF) &* 0x0101_0101_0101_0101
        if (value ^ bytes) << UInt64(64 - 8 * size) == 0 {
            memset(to, Int32(value & 0xFF), elements * size)
            return
        }
        switch size {
        case 2:
            for i in 0..<elements {
                to.storeBytes(of: UInt16(truncatingIfNeeded: value), toByteOffset: i * 2, as: UInt16.self)
            }
        case 4:
            for i in 0..<elements {
                to.storeBytes(of: UInt32(truncatingIfNeeded: value), toByteOffset: i * 4, as: UInt32.self)
            }
        default:
            for i in 0..<elements { to.storeBytes(of: value, toByteOffset: i * 8, as: UInt64.self) }
        }
    }
}
