/// What the board keeps in its one list: attached, reset, saved and restored in the same order.
protocol BoardDevice: AnyObject {
    /// Unique on the board, and the name of the device's section in a saved state.
    var stateID: String { get }
    /// Grows by one when a field is added or changes its meaning. A state of the version before is still restored.
    var stateVersion: UInt32 { get }
    /// Claims the device's fixed ports.
    func attach(to ports: PortBus)
    /// Power-on and system reset.
    func reset()
    /// Lists every field of the state, once: this both saves and restores. Nothing else may happen here, as other devices may not
    /// be restored yet.
    func exchange(_ coder: StateCoder)
    /// Every device has its state: work out what follows from one's own. Timers come back afterwards by themselves.
    func stateRestored()
}

extension BoardDevice {
    var stateVersion: UInt32 { 1 }
    func attach(to ports: PortBus) {}
    func stateRestored() {}

    /// The device's section.
    func savedState(now: UInt64) -> StateSection {
        let coder = StateCoder(saving: stateID, version: stateVersion, now: now)
        exchange(coder)
        return StateSection(name: stateID, version: stateVersion, bytes: coder.bytes)
    }

    /// - Throws: `badState` when the section does not fit; the device is in a mixture of states then.
    func restoreState(_ section: StateSection, now: UInt64) throws(MachineError) {
        guard section.version <= stateVersion, section.version + 1 >= stateVersion else {
            throw .badState(
                "has section \(stateID) in version \(section.version), this program restores "
                    + (stateVersion > 1 ? "\(stateVersion - 1) and \(stateVersion)" : "\(stateVersion)"))
        }
        let coder = try StateCoder(
            restoring: section.bytes, section: stateID, version: section.version, currentVersion: stateVersion, now: now
        )
        exchange(coder)
        try coder.finish()
    }
}

/// One device's part of a saved state.
struct StateSection: Equatable {
    let name: String
    let version: UInt32
    let bytes: [UInt8]
}
