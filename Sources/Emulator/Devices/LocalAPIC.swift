/// Local APIC of a processor (Intel SDM volume 3, chapter 11): in xAPIC mode in memory at FEE00000 or where
/// IA32_APIC_BASE puts it, in x2APIC mode as MSRs (X2APIC.swift).
///
/// | offset | register | offset | register |
/// | --- | --- | --- | --- |
/// | 020 | ID, bits 31–24 | 280 | error status: latched by a write |
/// | 030 | version 14h, six LVT entries | 300, 310 | interrupt command |
/// | 080 | task priority | 320 | LVT timer: 18–17 mode |
/// | 0A0 | processor priority | 330, 340 | LVT thermal, performance |
/// | 0B0 | EOI | 350, 360 | LVT LINT0, LINT1 |
/// | 0D0, 0E0 | logical destination, format | 370 | LVT error |
/// | 0F0 | spurious vector, bit 8 enable | 380, 390 | timer initial and current count |
/// | 100, 180, 200 | ISR, TMR, IRR: 8 × 32 bits each | 3E0 | timer divider |
///
/// The processor sees one wire (`interruptLineChanged`) and answers it with `acknowledgeInterrupt`. LINT0 carries the 8259
/// pair's INT to the boot processor: as ExtINT its request goes straight there, and that runs the 8259's acknowledge cycle here.
final class LocalAPIC: MMIODevice, BoardDevice {
    static let defaultBase: UInt64 = 0xFEE0_0000
    static let mappedBytes: UInt64 = 0x1000

    /// What an interrupt message asks for: bits 10–8 of LVT, ICR and I/O APIC entries.
    enum DeliveryMode: UInt32 { case fixed = 0, lowestPriority, smi, reserved, nmi, initialise, startup, external }

    private enum Masks {
        static let lvtMasked: UInt32 = 1 << 16
        static let softwareEnable: UInt32 = 1 << 8
        static let globalEnable: UInt64 = 1 << 11
        static let bootProcessor: UInt64 = 1 << 8
        static let x2APIC: UInt64 = 1 << 10
    }
    private enum ErrorBit {
        static let sendIllegalVector: UInt32 = 1 << 5, receiveIllegal: UInt32 = 1 << 6
        static let illegalRegister: UInt32 = 1 << 7
    }
    /// Indices into `lvt`, in register order from 320h.
    private enum LVT { static let timer = 0, thermal = 1, performance = 2, lint0 = 3, lint1 = 4, error = 5 }
    /// Writable bits of each LVT entry.
    private static let lvtWritable: [UInt32] = [0x7_00FF, 0x1_07FF, 0x1_07FF, 0x1_A7FF, 0x1_A7FF, 0x1_00FF]

    private let pic: PIC8259
    private let timer: APICTimer
    /// Number of the processor; 0 is the boot processor.
    let processorIndex: Int
    /// What the ID register holds after a reset, and in x2APIC mode always.
    let initialID: UInt32

    // MARK: Wires to the processor

    /// INTR: an interrupt can be taken as soon as the processor's IF allows.
    var interruptLineChanged: (Bool) -> Void = { _ in }
    var nmi: () -> Void = {}
    var initReceived: () -> Void = {}
    /// Startup IPI with its vector: the processor begins at vector << 12.
    var startupReceived: (UInt8) -> Void = { _ in }
    /// A message of the interrupt command register, for the bus.
    var commandSent: (InterruptMessage, APICBus.Shorthand) -> Void = { _, _ in }
    /// EOI of a level-triggered vector, for the I/O APIC.
    var endOfInterrupt: (UInt8) -> Void = { _ in }

    // MARK: Registers

    private var id: UInt32 = 0
    private var logicalDestination: UInt32 = 0
    private var destinationFormat: UInt32 = ~0
    private var spurious: UInt32 = 0xFF
    private var requested = VectorSet()
    private var inService = VectorSet()
    private var levelTriggered = VectorSet()
    private var errorStatus: UInt32 = 0
    private var pendingErrors: UInt32 = 0
    private var command: (low: UInt32, high: UInt32) = (0, 0)
    private var lvt: [UInt32] = []
    private var isPICRequesting = false
    private(set) var isLineAsserted = false

    /// TPR; CR8 is its high nibble.
    var taskPriority: UInt8 = 0 { didSet { if taskPriority != oldValue { update() } } }

    /// `mappedBase` changed: the board moves the mapping.
    var mappingChanged: () -> Void = {}
    /// What the processor offers.
    var offersX2APIC = true
    var physicalAddressBits: UInt64 = 40

    /// IA32_APIC_BASE: address, bit 11 global enable, bit 10 x2APIC mode, bit 8 boot processor.
    private(set) var baseMSR: UInt64 = 0 {
        didSet {
            guard baseMSR != oldValue else { return }
            if baseMSR & Masks.globalEnable == 0, oldValue & Masks.globalEnable != 0 { resetRegisters() }
            mappingChanged()
            update()
        }
    }

    /// Physical address of the registers; nil while they are not in memory.
    var mappedBase: UInt64? {
        isGloballyEnabled && !isX2APIC ? baseMSR & ~0xFFF : nil
    }

    /// WRMSR to IA32_APIC_BASE. False: reserved bits, or a change of mode that is not allowed (SDM vol. 3, figure 10-27).
    func writeBase(_ value: UInt64) -> Bool {
        var allowed = Masks.globalEnable | Masks.bootProcessor | ((1 << physicalAddressBits) - 1) & ~0xFFF
        if offersX2APIC { allowed |= Masks.x2APIC }
        guard value & ~allowed == 0 else { return false }
        let mode = Masks.globalEnable | Masks.x2APIC
        switch (baseMSR & mode, value & mode) {
        // x2APIC mode is entered from xAPIC mode and left by disabling.
        case (_, Masks.x2APIC), (0, mode), (mode, Masks.globalEnable): return false
        default: baseMSR = value
        }
        return true
    }

    /// IA32_TSC_DEADLINE; reads zero unless the timer is in that mode and armed.
    var tscDeadlineMSR: UInt64 {
        get { timer.tscDeadline }
        set { timer.tscDeadline = newValue }
    }

    /// The time-stamp counter that deadlines refer to: the processor connects its own.
    var tscNow: () -> UInt64 {
        get { timer.tscNow }
        set { timer.tscNow = newValue }
    }

    /// - Parameters:
    ///   - tscNow: the time-stamp counter.
    ///   - tscHertz: its frequency; with 1 GHz a tick is a guest nanosecond.
    init(
        pic: PIC8259, processorIndex: Int = 0, initialID: UInt32 = 0, scheduler: Scheduler, tscHertz: UInt64,
        tscNow: @escaping () -> UInt64
    ) {
        self.pic = pic
        self.processorIndex = processorIndex
        self.initialID = initialID
        timer = APICTimer(
            processorIndex == 0 ? "lapic" : "lapic\(processorIndex)", scheduler: scheduler, tscHertz: tscHertz,
            tscNow: tscNow)
        reset()
        timer.expired = { [weak self] in self?.timerExpired() }
        if isOfBootProcessor { pic.outputChanged = { [weak self] level in self?.picOutputChanged(level) } }
    }

    private var isOfBootProcessor: Bool { processorIndex == 0 }

    func reset() {
        baseMSR = Self.defaultBase | Masks.globalEnable | (isOfBootProcessor ? Masks.bootProcessor : 0)
        resetRegisters()
        isPICRequesting = isOfBootProcessor && pic.output
        update()
    }

    /// INIT: as after a reset, but for ID and IA32_APIC_BASE (SDM vol. 3, 10.4.7.3).
    func initialise() {
        let kept = id
        resetRegisters()
        id = kept
        update()
    }

    private func resetRegisters() {
        (id, logicalDestination, destinationFormat, spurious) = (initialID << 24, 0, ~0, 0xFF)
        (requested, inService, levelTriggered) = (VectorSet(), VectorSet(), VectorSet())
        (errorStatus, pendingErrors) = (0, 0)
        command = (0, 0)
        lvt = [UInt32](repeating: Masks.lvtMasked, count: 6)
        // The boot processor's LINT0 lets the 8259 through, as firmware leaves it.
        if isOfBootProcessor { lvt[LVT.lint0] = DeliveryMode.external.rawValue << 8 }
        taskPriority = 0
        timer.reset()
    }

    // MARK: Interrupts

    var isGloballyEnabled: Bool { baseMSR & Masks.globalEnable != 0 }
    var isX2APIC: Bool { baseMSR & Masks.x2APIC != 0 }
    /// Takes fixed interrupts.
    var isEnabled: Bool { isGloballyEnabled && spurious & Masks.softwareEnable != 0 }

    var processorPriority: UInt8 {
        let service = (inService.highest ?? 0) & 0xF0
        return taskPriority & 0xF0 >= service ? taskPriority : service
    }

    private var deliverable: UInt8? {
        guard isEnabled, let vector = requested.highest, vector & 0xF0 > processorPriority & 0xF0 else { return nil }
        return vector
    }

    private var passesPIC: Bool {
        guard isPICRequesting else { return false }
        guard isEnabled else { return true }
        return lvt[LVT.lint0] & (Masks.lvtMasked | 0x700) == DeliveryMode.external.rawValue << 8
    }

    private func update() {
        let level = passesPIC || deliverable != nil
        guard level != isLineAsserted else { return }
        isLineAsserted = level
        interruptLineChanged(level)
    }

    /// The processor takes an interrupt: its vector, or nil when the request went away in the meantime.
    func acknowledgeInterrupt() -> UInt8? {
        if let vector = deliverable {
            requested[vector] = false
            inService[vector] = true
            update()
            return vector
        }
        guard passesPIC else { return nil }
        return pic.acknowledge()
    }

    /// An interrupt message for this processor (from the I/O APIC, an MSI, the timer or itself).
    func deliver(vector: UInt8, mode: DeliveryMode, isLevel: Bool) {
        switch mode {
        case .fixed, .lowestPriority:
            guard isEnabled else { return }
            guard vector >= 16 else { return raiseError(ErrorBit.receiveIllegal) }
            requested[vector] = true
            levelTriggered[vector] = isLevel
            update()
        case .nmi: nmi()
        case .initialise: initReceived()
        case .startup: startupReceived(vector)
        case .smi, .reserved, .external: break
        }
    }

    /// Does a message concern us?
    func matches(_ message: InterruptMessage) -> Bool {
        guard isGloballyEnabled else { return false }
        guard message.isWide else {
            return matches(
                destination: UInt8(truncatingIfNeeded: message.destination), isLogical: message.isLogical)
        }
        if isX2APIC { return matches(wide: message.destination, isLogical: message.isLogical) }
        // A processor that was not switched to x2APIC mode has the low 8 bits of an ID only.
        guard message.destination <= 0xFE || message.destination == ~0 else { return false }
        return matches(
            destination: UInt8(truncatingIfNeeded: message.destination), isLogical: message.isLogical)
    }

    func matches(destination: UInt8, isLogical: Bool) -> Bool {
        if isX2APIC { return matches(wide: destination == 0xFF ? ~0 : UInt32(destination), isLogical: isLogical) }
        guard isLogical else { return destination == 0xFF || destination == UInt8(id >> 24) }
        let own = UInt8(logicalDestination >> 24)
        if destinationFormat >> 28 == 0xF { return destination & own != 0 }
        // Cluster model: the high nibble names the cluster, 15 all of them.
        let isCluster = destination >> 4 == 0xF || destination >> 4 == own >> 4
        return isCluster && destination & own & 0x0F != 0
    }

    private func fire(_ entry: Int) {
        guard lvt[entry] & Masks.lvtMasked == 0 else { return }
        let mode = entry == LVT.timer || entry == LVT.error ? .fixed : DeliveryMode(rawValue: lvt[entry] >> 8 & 7)
        deliver(vector: UInt8(lvt[entry] & 0xFF), mode: mode ?? .reserved, isLevel: false)
    }

    private func timerExpired() { fire(LVT.timer) }

    private func picOutputChanged(_ level: Bool) {
        isPICRequesting = level
        // As fixed or NMI input, LINT0 reacts to the rising edge.
        if level, isEnabled, lvt[LVT.lint0] & 0x700 != DeliveryMode.external.rawValue << 8 { fire(LVT.lint0) }
        update()
    }

    /// The LINT1 wire: NMI on a PC.
    func raiseLINT1() { fire(LVT.lint1) }

    private func raiseError(_ bit: UInt32) {
        let wasClear = pendingErrors & bit == 0
        pendingErrors |= bit
        if wasClear { fire(LVT.error) }
    }

    /// The ICR of x2APIC mode is one register: destination in the upper half.
    func writeCommand(low: UInt32, high: UInt32) {
        command = (low & 0x000C_CFFF, high)
        sendCommand()
    }

    private func endInterrupt() {
        guard let vector = inService.highest else { return }
        inService[vector] = false
        if levelTriggered[vector] { endOfInterrupt(vector) }
        update()
    }

    // MARK: Interrupt command register

    /// Bits: 7–0 vector, 10–8 mode, 11 logical, 14 level, 15 trigger, 19–18 shorthand (1 self, 2 all, 3 others).
    private func sendCommand() {
        let low = command.low
        guard let mode = DeliveryMode(rawValue: low >> 8 & 7) else { return }
        // INIT level de-assert only sets arbitration ids.
        if mode == .initialise, low & 0xC000 == 0x8000 { return }
        let vector = UInt8(low & 0xFF)
        if vector < 16, mode == .fixed || mode == .lowestPriority { return raiseError(ErrorBit.sendIllegalVector) }
        let message = InterruptMessage(
            destination: isX2APIC ? command.high : command.high >> 24, isWide: isX2APIC, isLogical: low & 0x800 != 0,
            mode: mode, vector: vector)
        commandSent(message, APICBus.Shorthand(rawValue: low >> 18 & 3) ?? .none)
    }

    // MARK: Memory-mapped registers

    func mmioRead(_ offset: UInt64, size: Int) -> UInt64 {
        guard mappedBase != nil else { return 0 }
        // Registers are 32 bits on 16-byte boundaries; parts of one can be read, what lies between is zero.
        guard offset & 0xF < 4 else { return 0 }
        return UInt64(readRegister(Int(offset >> 4)) >> UInt32((offset & 3) * 8))
    }

    func readRegister(_ index: Int) -> UInt32 {
        switch index {
        case 0x02: return id
        case 0x03: return 0x0005_0014
        case 0x08: return UInt32(taskPriority)
        case 0x0A: return UInt32(processorPriority)
        case 0x0D: return logicalDestination
        case 0x0E: return destinationFormat
        case 0x0F: return spurious
        case 0x10...0x17: return inService.register(index & 7)
        case 0x18...0x1F: return levelTriggered.register(index & 7)
        case 0x20...0x27: return requested.register(index & 7)
        case 0x28: return errorStatus
        case 0x30: return command.low
        case 0x31: return command.high
        case 0x32...0x37: return lvt[index - 0x32]
        case 0x38: return timer.initialCount
        case 0x39: return timer.currentCount
        case 0x3E: return timer.divider
        case 0x09, 0x0B, 0x0C: return 0
        default:
            raiseError(ErrorBit.illegalRegister)
            return 0
        }
    }

    func mmioWrite(_ offset: UInt64, size: Int, value: UInt64) {
        // The SDM allows only aligned 32-bit stores; a wider one writes its low half.
        guard mappedBase != nil, offset & 0xF == 0, size >= 4 else { return }
        writeRegister(Int(offset >> 4), UInt32(truncatingIfNeeded: value))
    }

    func writeRegister(_ index: Int, _ value: UInt32) {
        switch index {
        case 0x02: id = value & 0xFF00_0000
        case 0x08: taskPriority = UInt8(truncatingIfNeeded: value)
        case 0x0B: endInterrupt()
        case 0x0D: logicalDestination = value & 0xFF00_0000
        case 0x0E: destinationFormat = value | 0x0FFF_FFFF
        case 0x0F: writeSpurious(value)
        case 0x28:
            errorStatus = pendingErrors
            pendingErrors = 0
        case 0x30:
            command.low = value & 0x000C_CFFF
            sendCommand()
        case 0x31: command.high = value & 0xFF00_0000
        case 0x32...0x37: writeLVT(index - 0x32, value)
        case 0x38: timer.initialCount = value
        case 0x3E: timer.divider = value & 0x0B
        case 0x03, 0x09, 0x0A, 0x0C, 0x10...0x27, 0x39: break
        default: raiseError(ErrorBit.illegalRegister)
        }
    }

    private func writeSpurious(_ value: UInt32) {
        let wasEnabled = isEnabled
        spurious = value & 0x1FF
        // Disabling in software masks every LVT entry.
        if wasEnabled, !isEnabled { for entry in lvt.indices { lvt[entry] |= Masks.lvtMasked } }
        update()
    }

    private func writeLVT(_ entry: Int, _ value: UInt32) {
        var masked = value & Self.lvtWritable[entry]
        // While disabled in software the mask bits are stuck; LINT0 stays usable, because the 8259 passes then anyway.
        if !isEnabled, entry != LVT.lint0 { masked |= Masks.lvtMasked }
        lvt[entry] = masked
        if entry == LVT.timer { timer.mode = APICTimer.Mode(rawValue: masked >> 17 & 3) ?? .oneShot }
        update()
    }
}

extension LocalAPIC {
    var stateID: String { isOfBootProcessor ? "lapic" : "lapic\(processorIndex)" }

    func exchange(_ c: StateCoder) {
        // First, as turning the APIC off resets its registers; and without what its setters do, the wire being restored as well.
        c.field("baseMSR", baseMSR) { baseMSR = $0 }
        c.field("taskPriority", taskPriority) { taskPriority = $0 }
        c.field("id", &id)
        c.field("logicalDestination", &logicalDestination)
        c.field("destinationFormat", &destinationFormat)
        c.field("spurious", &spurious)
        c.group("requested") { requested.exchange(c) }
        c.group("inService") { inService.exchange(c) }
        c.group("levelTriggered") { levelTriggered.exchange(c) }
        c.field("errorStatus", &errorStatus)
        c.field("pendingErrors", &pendingErrors)
        c.field("commandLow", &command.low)
        c.field("commandHigh", &command.high)
        c.field("lvt", &lvt)
        c.field("isPICRequesting", &isPICRequesting)
        c.field("isLineAsserted", &isLineAsserted)
        c.group("timer") { timer.exchange(c) }
    }
}
