/// Everything of a machine that has a section in a saved state, in the order in which it is restored.
struct DeviceList {
    let devices: [any BoardDevice]
    /// Pending events: restored last.
    let scheduler: Scheduler

    var names: [String] { (devices + [scheduler]).map(\.stateID) }

    /// - Parameter now: guest time, in nanoseconds.
    func saved(at now: UInt64) -> [StateSection] { (devices + [scheduler]).map { $0.savedState(now: now) } }

    /// Puts all into the state of the sections; the clock must already stand at their time.
    /// - Throws: `badState` when one does not fit; devices are in a mixture of states then.
    func apply(_ sections: [StateSection], at now: UInt64) throws(MachineError) {
        let byName = Dictionary(sections.map { ($0.name, $0) }) { first, _ in first }
        func restore(_ device: any BoardDevice) throws(MachineError) {
            guard let section = byName[device.stateID] else { throw .badState("has no section \(device.stateID)") }
            try device.restoreState(section, now: now)
        }
        // What a section of an older version does not have stays as a reset leaves it.
        for device in devices { device.reset() }
        for device in devices { try restore(device) }
        for device in devices { device.stateRestored() }
        // Devices that came to themselves may have set their alarms: those of the state count.
        try restore(scheduler)
        scheduler.stateRestored()
    }
}

extension PCBoard {
    var deviceList: DeviceList { DeviceList(devices: devices, scheduler: scheduler) }
}
