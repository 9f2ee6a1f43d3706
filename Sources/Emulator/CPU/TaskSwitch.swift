/// Hardware task switches (SDM vol. 3, 7.3), and the layouts of the two TSSs they go between (7.2.1 and 7.6):
///
/// | | 32-bit TSS | 16-bit TSS |
/// | --- | --- | --- |
/// | link to the previous task | 00h | 00h |
/// | CR3 | 1Ch | – |
/// | IP, flags | 20h, 24h | 0Eh, 10h |
/// | AX CX DX BX SP BP SI DI | 28h, 4 bytes each | 12h, 2 bytes each |
/// | ES CS SS DS (FS GS) | 48h, 4 bytes each | 22h, 2 bytes each, four of them |
/// | LDT selector | 60h | 2Ah |
/// | T flag, I/O map base | 64h, 66h | – |
enum TaskSwitchCause {
    case jump, call, interruptReturn
    /// An interrupt or exception through a task gate; it nests like a call.
    case gate
}

/// What a TSS loads.
private struct TaskImage {
    var cr3: UInt64 = 0
    var ip: UInt64 = 0
    var flags: UInt32 = 0
    var registers = InlineArray<8, UInt64>(repeating: 0)
    var selectors = InlineArray<6, UInt16>(repeating: 0)
    var ldt: UInt16 = 0
    var trap = false
}

private struct TaskLayout {
    let word: Int
    let ip: UInt64, registers: UInt64, selectors: UInt64, ldt: UInt64
    let segmentCount: Int
    /// Last byte that the descriptor's limit must include.
    let lastByte: UInt32

    static let wide = TaskLayout(
        word: 4, ip: 0x20, registers: 0x28, selectors: 0x48, ldt: 0x60, segmentCount: 6, lastByte: 0x67)
    static let narrow = TaskLayout(
        word: 2, ip: 0x0E, registers: 0x12, selectors: 0x22, ldt: 0x2A, segmentCount: 4, lastByte: 0x2B)
}

extension CPU {
    /// Through a task gate of the IDT. The error code is pushed on the new task's stack.
    func switchTask(throughGate selector: UInt16, errorCode: UInt32?) -> Bool {
        guard switchTask(selector, .gate) else { return false }
        guard let errorCode, !state.pointee.fault.isPending else { return !state.pointee.fault.isPending }
        var stack = currentStack()
        guard push(&stack, UInt64(errorCode), size: state.pointee.tr.type & 8 != 0 ? 4 : 2) else { return false }
        commit(stack)
        return true
    }

    /// Switches to the task of a TSS selector. `rip` is what the old task continues at. False: a fault is pending
    /// that the
    /// old task raised; faults of the new task are delivered here, in its context.
    func switchTask(_ selector: UInt16, _ cause: TaskSwitchCause) -> Bool {
        let s = state
        let vector = cause == .interruptReturn ? Vector.ts : Vector.gp
        guard !selector.isNullSelector, selector & 4 == 0 else { return refuse(vector, selector) }
        guard let descriptor = readDescriptor(selector, orRaise: vector) else { return false }
        let wantsBusy = cause == .interruptReturn
        guard !descriptor.isCodeOrData, descriptor.type & 5 == 1, (descriptor.type & 2 != 0) == wantsBusy else {
            return refuse(vector, selector)
        }
        guard descriptor.isPresent else { return refuse(Vector.np, selector) }
        let layout: TaskLayout = descriptor.type & 8 != 0 ? .wide : .narrow
        guard descriptor.limit >= layout.lastByte else { return refuse(Vector.ts, selector) }
        guard let image = readTask(descriptor.base, layout), saveTask(cause) else { return false }
        if cause == .call || cause == .gate {
            guard storeSystem(descriptor.base, UInt64(s.pointee.tr.selector), size: 2) else { return false }
        } else {
            // The task that is left for good is no longer busy.
            guard let old = readDescriptor(s.pointee.tr.selector), setBusy(old, false) else { return false }
        }
        if cause != .interruptReturn {
            guard setBusy(descriptor, true) else { return false }
        }
        var segment = descriptor.segment(selector)
        segment.attributes |= 2
        s.pointee.tr = segment
        enterTask(image, layout, nested: cause == .call || cause == .gate)
        return true
    }

    private func refuse(_ vector: UInt8, _ selector: UInt16) -> Bool {
        fault(vector, selector: selector)
        return false
    }

    private func readTask(_ base: UInt64, _ layout: TaskLayout) -> TaskImage? {
        var image = TaskImage()
        let word = layout.word
        func read(_ offset: UInt64, _ size: Int) -> UInt64? { loadSystem(base &+ offset, size: size) }
        if word == 4 {
            guard let cr3 = read(0x1C, 4), let trap = read(0x64, 2) else { return nil }
            image.cr3 = cr3
            image.trap = trap & 1 != 0
        }
        guard let ip = read(layout.ip, word), let flags = read(layout.ip + UInt64(word), word),
            let ldt = read(layout.ldt, 2)
        else { return nil }
        image.ip = ip
        image.flags = UInt32(flags)
        image.ldt = UInt16(ldt)
        for i in 0..<8 {
            guard let value = read(layout.registers + UInt64(i * word), word) else { return nil }
            // A 16-bit TSS leaves the upper halves undefined; processors set them to ones.
            image.registers[i] = word == 2 ? value | 0xFFFF_0000 : value
        }
        for i in 0..<layout.segmentCount {
            guard let value = read(layout.selectors + UInt64(i * word), 2) else { return nil }
            image.selectors[i] = UInt16(value)
        }
        return image
    }

    /// Writes the dynamic fields of the running task's TSS.
    private func saveTask(_ cause: TaskSwitchCause) -> Bool {
        let s = state
        let tr = s.pointee.tr
        let layout: TaskLayout = tr.type & 8 != 0 ? .wide : .narrow
        guard tr.isPresent, tr.limit >= layout.lastByte else { return refuse(Vector.ts, tr.selector) }
        let word = layout.word
        var flags = s.flags
        if cause == .interruptReturn { flags &= ~RFLAGS.nt }
        guard storeSystem(tr.base &+ layout.ip, s.pointee.rip, size: word),
            storeSystem(tr.base &+ layout.ip &+ UInt64(word), UInt64(flags), size: word)
        else { return false }
        for i in 0..<8 {
            guard storeSystem(tr.base &+ layout.registers &+ UInt64(i * word), s.pointee.gpr[i], size: word) else {
                return false
            }
        }
        for i in 0..<layout.segmentCount {
            let selector = UInt64(s.pointee.segments[i].selector)
            guard storeSystem(tr.base &+ layout.selectors &+ UInt64(i * word), selector, size: 2) else { return false }
        }
        return true
    }

    /// Commits to the new task. What faults from here on belongs to it.
    private func enterTask(_ image: TaskImage, _ layout: TaskLayout, nested: Bool) {
        let s = state
        s.pointee.cr0 |= CR0.ts
        if layout.word == 4, s.pointee.isPaging {
            guard writeCR3(image.cr3) else { return failInNewTask(image) }
        }
        for i in 0..<8 { s.pointee.gpr[i] = image.registers[i] }
        s.pointee.rip = image.ip
        s.flags = image.flags | (nested ? RFLAGS.nt : 0)
        s.pointee.debugRegisters[7] &= ~DR7.localEnables
        debugRegistersChanged()
        // Selectors are visible before any is checked; nothing is usable yet.
        for i in 0..<6 { s.pointee.segments[i] = Self.nullSegment(image.selectors[i]) }
        s.pointee.ldtr = Self.nullSegment(image.ldt)
        guard loadLDTR(image.ldt, orRaise: Vector.ts), loadTaskSegments(image) else { return failInNewTask(image) }
        if image.trap { s.pointee.pendingDebug |= DR6.taskSwitch }
    }

    private func loadTaskSegments(_ image: TaskImage) -> Bool {
        let s = state
        if s.pointee.isVirtual8086 {
            for i in 0..<6 { loadRealSegment(i, image.selectors[i]) }
            updateMode()
            return true
        }
        let codeSelector = image.selectors[SegmentIndex.cs]
        let privilege = codeSelector.rpl
        s.pointee.segments[SegmentIndex.ss].attributes = UInt16(privilege) << 5
        updateMode()
        guard !codeSelector.isNullSelector else { return refuse(Vector.ts, codeSelector) }
        guard var code = readDescriptor(codeSelector, orRaise: Vector.ts) else { return false }
        let isAllowed = code.isConforming ? code.dpl <= privilege : code.dpl == privilege
        guard code.isCode, isAllowed else { return refuse(Vector.ts, codeSelector) }
        guard code.isPresent else { return refuse(Vector.np, codeSelector) }
        guard markAccessed(&code) else { return false }
        s.pointee.segments[SegmentIndex.cs] = code.segment(codeSelector)
        guard let stack = checkedStack(image.selectors[SegmentIndex.ss], privilege: privilege, orRaise: Vector.ts)
        else {
            return false
        }
        s.pointee.segments[SegmentIndex.ss] = stack
        for index in [SegmentIndex.es, SegmentIndex.ds, SegmentIndex.fs, SegmentIndex.gs] {
            guard let segment = checkedData(image.selectors[index]) else {
                if s.pointee.fault.vector == Vector.gp { s.pointee.fault.vector = Vector.ts }
                return false
            }
            s.pointee.segments[index] = segment
        }
        updateMode()
        return checkOffset(image.ip, in: code)
    }

    /// The fault is the new task's: it is delivered with the new task's instruction pointer.
    private func failInNewTask(_ image: TaskImage) {
        updateMode()
        deliverPendingFault()
    }
}
