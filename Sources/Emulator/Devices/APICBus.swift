/// An interrupt message: what the I/O APIC and processors send to local APICs (SDM vol. 3, 10.6 and 10.7).
struct InterruptMessage: Equatable {
    /// 8 bits; 32 where `isWide` (x2APIC).
    var destination: UInt32
    var isWide = false
    var isLogical: Bool
    var mode: LocalAPIC.DeliveryMode
    var vector: UInt8
    var isLevel = false
}

/// Carries interrupt messages to the local APICs that they name.
final class APICBus {
    /// Bits 19–18 of an interrupt command.
    enum Shorthand: UInt32 { case none = 0, itself, all, others }

    let apics: [LocalAPIC]
    /// That of the processor which runs: memory accesses reach its registers.
    var current: LocalAPIC

    /// - Parameter apics: at least one, the boot processor's first.
    init(_ apics: [LocalAPIC]) {
        self.apics = apics
        current = apics[0]
        for apic in apics {
            apic.commandSent = { [unowned self, unowned apic] message, shorthand in
                send(message, shorthand, from: apic)
            }
        }
    }

    /// Whether some processor is meant.
    func isExpected(_ message: InterruptMessage) -> Bool { apics.contains { $0.matches(message) } }

    /// To all that the destination names, or to one of them.
    func send(_ message: InterruptMessage) { deliver(message) { $0.matches(message) } }

    private func send(_ message: InterruptMessage, _ shorthand: Shorthand, from sender: LocalAPIC) {
        switch shorthand {
        case .none: send(message)
        case .itself: deliver(message) { $0 === sender }
        case .all: deliver(message) { $0.isGloballyEnabled }
        case .others: deliver(message) { $0 !== sender && $0.isGloballyEnabled }
        }
    }

    private func deliver(_ message: InterruptMessage, where isMeant: (LocalAPIC) -> Bool) {
        if message.mode == .lowestPriority {
            var chosen: LocalAPIC?
            for apic in apics where isMeant(apic) && apic.isEnabled {
                if apic.processorPriority < chosen?.processorPriority ?? .max { chosen = apic }
            }
            chosen?.deliver(vector: message.vector, mode: message.mode, isLevel: message.isLevel)
        } else {
            for apic in apics where isMeant(apic) {
                apic.deliver(vector: message.vector, mode: message.mode, isLevel: message.isLevel)
            }
        }
    }
}
