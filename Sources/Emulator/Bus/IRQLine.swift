/// One interrupt wire from a device to whoever listens (PIC and IO APIC inputs, a PCI router).
/// Setting a level that it already has does nothing, so sinks see edges only.
final class IRQLine {
    private(set) var level = false
    private let changed: (Bool) -> Void

    /// - Parameter changed: called on the CPU thread with the new level at each edge.
    init(_ changed: @escaping (Bool) -> Void) { self.changed = changed }

    func set(_ newLevel: Bool) {
        guard newLevel != level else { return }
        level = newLevel
        changed(newLevel)
    }

    /// The level of a saved state: whoever listens has its own memory of it.
    func restore(level saved: Bool) { level = saved }

    /// A low-high-low pulse for edge-triggered sources (PIT, RTC).
    func pulse() {
        set(true)
        set(false)
    }

    /// A wire that ends nowhere, for tests and absent controllers.
    static func unconnected() -> IRQLine { IRQLine { _ in } }
}
