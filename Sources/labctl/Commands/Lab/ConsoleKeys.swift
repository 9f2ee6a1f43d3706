/// What is typed at an attached console: most of it is the guest's, two keys are labctl's.
///
/// | key | does |
/// | --- | --- |
/// | Ctrl-] (1Dh) | detaches |
/// | Ctrl-\ (1Ch) | opens the menu; the next key chooses from it |
struct ConsoleKeys {
    /// What a key of the menu does.
    enum Choice: UInt8, CaseIterable {
        case detach = 0x64  // d
        case scrollBack = 0x62  // b
        case readOnly = 0x72  // r
        case controlAltDelete = 0x63  // c
        case sendMenuKey = 0x5C  // backslash

        /// As the menu shows it.
        var words: String {
            switch self {
            case .detach: "d detach"
            case .scrollBack: "b scroll back"
            case .readOnly: "r typing on or off"
            case .controlAltDelete: "c Ctrl-Alt-Delete"
            case .sendMenuKey: #"\ the guest's Ctrl-\"#
            }
        }
    }

    enum Action: Equatable {
        /// For the guest.
        case type([UInt8])
        case detach
        /// Shows the menu.
        case menu
        case choose(Choice)
        /// A key that the menu does not have: nothing is done.
        case leaveMenu
    }

    static let detachKey: UInt8 = 0x1D
    static let menuKey: UInt8 = 0x1C

    /// The menu on one line.
    static var menu: String { Choice.allCases.map(\.words).joined(separator: " · ") + " · other keys: back" }

    private var isInMenu = false

    /// What typed bytes ask for, in order. Behind a detach nothing counts.
    mutating func take(_ bytes: some Sequence<UInt8>) -> [Action] {
        var actions: [Action] = []
        var run: [UInt8] = []
        func flush() {
            if !run.isEmpty { actions.append(.type(run)) }
            run = []
        }
        for byte in bytes {
            if byte == Self.detachKey {
                flush()
                return actions + [.detach]
            }
            if isInMenu {
                isInMenu = false
                let letter = (0x41...0x5A).contains(byte) ? byte | 0x20 : byte == Self.menuKey ? 0x5C : byte
                switch Choice(rawValue: letter) {
                case .detach: return actions + [.detach]
                case .sendMenuKey: run.append(Self.menuKey)
                case let choice?: actions.append(.choose(choice))
                case nil: actions.append(.leaveMenu)
                }
            } else if byte == Self.menuKey {
                flush()
                isInMenu = true
                actions.append(.menu)
            } else {
                run.append(byte)
            }
        }
        flush()
        return actions
    }
}
