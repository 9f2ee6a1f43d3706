/// Loading of ES, SS, DS, FS and GS (SDM vol. 3, 3.4 and 5.5–5.7; vol. 2, MOV and POP). CS changes by far transfers
/// only.
extension CPU {
    /// Attributes of a present, writable, accessed data segment of privilege 0: what real mode works with.
    static let realAttributes: UInt16 = 0x93
    /// The same with DPL 3: virtual-8086 mode.
    static let virtualAttributes: UInt16 = 0xF3

    /// Loads a data or stack segment register in any mode. False: a fault is pending and nothing has changed.
    ///
    /// The caller leaves the block when `modeKey` has changed by it.
    func loadSegment(_ index: Int, _ selector: UInt16) -> Bool {
        if state.pointee.usesRealSegments {
            loadRealSegment(index, selector)
        } else {
            guard let segment = index == SegmentIndex.ss ? checkedStack(selector) : checkedData(selector) else {
                return false
            }
            state.pointee.segments[index] = segment
        }
        updateMode()
        return true
    }

    /// Real and virtual-8086 mode: base is 16 times the selector. Real mode keeps limit and size, so that a segment
    /// made big in
    /// protected mode stays big ("unreal mode").
    func loadRealSegment(_ index: Int, _ selector: UInt16) {
        var segment = state.pointee.segments[index]
        segment.selector = selector
        segment.base = UInt64(selector) << 4
        if state.pointee.isVirtual8086 {
            segment.limit = 0xFFFF
            segment.attributes = Self.virtualAttributes
        } else {
            if !segment.isPresent { segment.limit = 0xFFFF }
            segment.attributes = segment.attributes & 0xC000 | Self.realAttributes
        }
        state.pointee.segments[index] = segment
    }

    /// What a null selector leaves in a data segment register: unusable, base 0.
    static func nullSegment(_ selector: UInt16) -> Segment { Segment(selector: selector) }

    /// SS of 64-bit mode below privilege 3 may be null; its DPL still is the privilege level.
    static func nullStack(privilege: UInt8) -> Segment {
        Segment(selector: UInt16(privilege), attributes: UInt16(privilege) << 5 | 0x4000, limit: 0, base: 0)
    }

    /// Checks for ES, DS, FS, GS in protected mode; nil: fault pending.
    func checkedData(_ selector: UInt16) -> Segment? {
        if selector.isNullSelector { return Self.nullSegment(selector) }
        guard var descriptor = readDescriptor(selector) else { return nil }
        guard descriptor.isReadable,
            descriptor.isConforming || max(selector.rpl, state.pointee.cpl) <= descriptor.dpl
        else {
            fault(Vector.gp, selector: selector)
            return nil
        }
        guard descriptor.isPresent else {
            fault(Vector.np, selector: selector)
            return nil
        }
        guard markAccessed(&descriptor) else { return nil }
        return descriptor.segment(selector)
    }

    /// Checks for SS by MOV, POP and LSS; nil: fault pending.
    private func checkedStack(_ selector: UInt16) -> Segment? {
        let cpl = state.pointee.cpl
        if selector.isNullSelector {
            guard state.pointee.is64Bit, cpl < 3, selector.rpl == cpl else {
                generalProtection()
                return nil
            }
            return Self.nullStack(privilege: cpl)
        }
        return checkedStack(selector, privilege: cpl, orRaise: Vector.gp)
    }

    /// Checks for a stack segment that shall serve `privilege`: writable data with RPL and DPL equal to it.
    ///
    /// - Parameter vector: raised for what is wrong with it, with the selector; a segment that is not present is
    ///   always #SS.
    func checkedStack(_ selector: UInt16, privilege: UInt8, orRaise vector: UInt8) -> Segment? {
        if selector.isNullSelector {
            raise(vector, errorCode: 0)
            return nil
        }
        guard var descriptor = readDescriptor(selector, orRaise: vector) else { return nil }
        guard selector.rpl == privilege, descriptor.isWritableData, descriptor.dpl == privilege else {
            fault(vector, selector: selector)
            return nil
        }
        guard descriptor.isPresent else {
            fault(Vector.ss, selector: selector)
            return nil
        }
        guard markAccessed(&descriptor) else { return nil }
        return descriptor.segment(selector)
    }

    /// A return to less privileged code must not leave it segments that it could not have loaded (SDM vol. 3, 5.8.6).
    ///
    /// Such selectors, and null ones of any RPL, become 0. The hidden base stays: FS and GS have one of their own in 64-bit mode.
    func dropPrivilegedSegments() {
        let cpl = state.pointee.cpl
        for index in [SegmentIndex.es, SegmentIndex.ds, SegmentIndex.fs, SegmentIndex.gs] {
            let segment = state.pointee.segments[index]
            if !segment.isPresent || !segment.isConforming && segment.dpl < cpl {
                state.pointee.segments[index] = Segment(base: segment.base)
            }
        }
    }

    /// LLDT, and LDTR of a task switch. Null is allowed and makes the LDT unusable.
    func loadLDTR(_ selector: UInt16, orRaise vector: UInt8 = Vector.gp) -> Bool {
        if selector.isNullSelector {
            state.pointee.ldtr = Self.nullSegment(selector)
            return true
        }
        guard selector & 4 == 0 else {
            fault(vector, selector: selector)
            return false
        }
        guard let short = readDescriptor(selector, orRaise: vector) else { return false }
        guard !short.isCodeOrData, short.type == SystemType.ldt else {
            fault(vector, selector: selector)
            return false
        }
        guard let descriptor = widened(short, selector, orRaise: vector) else { return false }
        guard descriptor.isPresent else {
            fault(vector == Vector.gp ? Vector.np : vector, selector: selector)
            return false
        }
        guard isCanonical(descriptor.base) else {
            fault(vector, selector: selector)
            return false
        }
        state.pointee.ldtr = descriptor.segment(selector)
        return true
    }

    /// LTR: an available TSS in the GDT, which becomes busy.
    func loadTaskRegister(_ selector: UInt16) -> Bool {
        guard !selector.isNullSelector else {
            generalProtection()
            return false
        }
        guard selector & 4 == 0 else {
            fault(Vector.gp, selector: selector)
            return false
        }
        guard let short = readDescriptor(selector) else { return false }
        let isAvailable = short.type == SystemType.tss32 || short.type == SystemType.tss16 && !state.pointee.isLongMode
        guard !short.isCodeOrData, isAvailable else {
            fault(Vector.gp, selector: selector)
            return false
        }
        guard let descriptor = widened(short, selector) else { return false }
        guard descriptor.isPresent else {
            fault(Vector.np, selector: selector)
            return false
        }
        guard isCanonical(descriptor.base) else {
            fault(Vector.gp, selector: selector)
            return false
        }
        guard setBusy(descriptor, true) else { return false }
        var segment = descriptor.segment(selector)
        segment.attributes |= 2
        state.pointee.tr = segment
        return true
    }
}
