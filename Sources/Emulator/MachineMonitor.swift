/// Where a processor sits.
public struct ProcessorPlace: Sendable, Equatable {
    public let socket: Int, core: Int, thread: Int
}

/// What a person at the machine can do and see besides its serial ports: keyboard, discs, screen. From any thread.
extension Machine {
    /// Whether QEMU's name stands for a key of the keyboard.
    public static func knowsKey(_ name: String) -> Bool { ScanCodes.key(named: name) != nil }

    /// Presses keys together, in order, and lets them go in reverse after a while.
    /// - Parameter names: QEMU's names; nothing is pressed when one of them is no key.
    public func pressKeys(_ names: [String], holdMilliseconds: Int = 100) {
        post { _ = $0.board.keys.press(names, holdMilliseconds: holdMilliseconds) }
    }

    /// Puts a disc into the CD-ROM drive of a slot (0 hda to 3 hdd), or takes it out with nil.
    public func changeDisc(slot: Int, to disc: (any DiskBackend)?) {
        post { machine in
            let drives = machine.board.ide.cdroms
            if drives.indices.contains(slot) { drives[slot]?.changeDisc(disc) }
        }
    }

    /// Takes a picture of the screen and hands it to `deliver` on the CPU thread.
    public func takeScreenshot(_ deliver: @escaping @Sendable (ScreenImage) -> Void) {
        post { deliver($0.board.vga.snapshot()) }
    }

    /// Looks at what can be read on the screen and hands it to `deliver` on the CPU thread.
    public func takeScreenContents(_ deliver: @escaping @Sendable (ScreenContents) -> Void) {
        post { deliver($0.board.vga.contents()) }
    }

    /// Where each processor sits, by its number.
    public var processorPlaces: [ProcessorPlace] {
        processors.cpus.map { cpu in
            let place = cpu.topology.place(of: cpu.index)
            return ProcessorPlace(socket: place.socket, core: place.core, thread: place.thread)
        }
    }

    /// Hands a processor's registers to `deliver` on the CPU thread, as text.
    public func queryRegisters(of processor: Int, _ deliver: @escaping @Sendable (String) -> Void) {
        post { machine in
            let cpus = machine.processors.cpus
            deliver(cpus.indices.contains(processor) ? cpus[processor].dump() : "")
        }
    }

    /// A non-maskable interrupt for all processors, as from a button on the board.
    public func injectNMI() {
        post { machine in for apic in machine.board.localAPICs { apic.raiseLINT1() } }
    }

    /// Hands what the translator did to `deliver` on the CPU thread; nil where everything is interpreted.
    public func queryTranslator(_ deliver: @escaping @Sendable (TranslatorCounters?) -> Void) {
        post { deliver($0.cpu.translator?.report) }
    }
}
