/// Keeps the local APICs' registers where IA32_APIC_BASE says, in front of memory. All processors have theirs at the same place: an
/// access reaches the one whose processor makes it.
final class LocalAPICMapping {
    /// One page of registers.
    private final class Window: MMIODevice {
        private let base: UInt64
        private unowned let bus: APICBus

        init(_ base: UInt64, _ bus: APICBus) {
            self.base = base
            self.bus = bus
        }

        /// Nil: the processor that runs has moved its registers elsewhere, and others have not.
        private var registers: LocalAPIC? { bus.current.mappedBase == base ? bus.current : nil }

        func mmioRead(_ offset: UInt64, size: Int) -> UInt64 { registers?.mmioRead(offset, size: size) ?? 0 }

        func mmioWrite(_ offset: UInt64, size: Int, value: UInt64) {
            registers?.mmioWrite(offset, size: size, value: value)
        }
    }

    private let bus: APICBus
    private let memory: PhysicalMap
    private var regions: [UInt64: PhysicalMap.RegionID] = [:]

    init(_ bus: APICBus, in memory: PhysicalMap) {
        self.bus = bus
        self.memory = memory
        for apic in bus.apics { apic.mappingChanged = { [unowned self] in update() } }
        update()
    }

    private func update() {
        let wanted = Set(bus.apics.compactMap(\.mappedBase))
        for (base, region) in regions where !wanted.contains(base) {
            memory.unmap(region)
            regions[base] = nil
        }
        for base in wanted.sorted() where regions[base] == nil {
            regions[base] = memory.map(
                "local APIC", at: base, length: LocalAPIC.mappedBytes, .device(Window(base, bus)))
        }
    }
}
