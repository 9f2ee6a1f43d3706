/// One step of what is done with a running VM.
public struct LabStep: Sendable, Equatable {
    public enum Action: Sendable, Equatable {
        /// `wait`: until the serial console has said this.
        case wait(ConsolePattern)
        /// `screen`: until the screen shows this.
        case screen(ConsolePattern)
        /// `send`: types this text on the serial console (`\n` is Enter).
        case send(String)
        /// `keys`: presses chords on the keyboard, one after another.
        case keys([KeyChord])
        /// `run`: a command in the shell on the serial console, which has to end with 0.
        case run(String)
        /// `copy`: files of the host into the guest, through the shell on the serial console.
        case copy(CopyStep)
        /// `sleep`: does nothing.
        case sleep(LabDuration)
        /// `eject`: takes a disc out.
        case eject(RemovableSlot)
        /// `screenshot`: saves the screen as a picture.
        case screenshot(LabPath)
    }

    public var action: Action
    /// How long the step may take; nil: as long as there is.
    public var timeout: LabDuration?

    public init(_ action: Action, timeout: LabDuration? = nil) {
        self.action = action
        self.timeout = timeout
    }
}

/// Keys that are pressed together, by QEMU's names: `ctrl-alt-delete`, `ret`, `f2`.
public struct KeyChord: Sendable, Hashable {
    public var keys: [String]

    public init(keys: [String]) { self.keys = keys }

    /// As it is written.
    public var text: String { keys.joined(separator: "-") }
}

/// `copy: { from, to }`.
public struct CopyStep: Sendable, Equatable {
    /// A file or a folder of the host.
    public var from: LabPath
    /// Its path in the guest.
    public var to: String
    public var spans: SectionSpans

    public init(from: LabPath, to: String) {
        self.from = from
        self.to = to
        self.spans = SectionSpans()
    }
}

/// Drives that something can be taken out of.
public enum RemovableSlot: String, Sendable, Hashable, CaseIterable {
    case cdrom
}
