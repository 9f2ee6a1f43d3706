import Glibc
import VMProtocol

/// The keyboard of a running VM: for guests that nobody can talk to on a serial console.
public struct Keyboard: Sendable {
    private let vm: VMFolder

    public init(_ vm: VMFolder) { self.vm = vm }

    /// What people call keys, and QEMU's names.
    private static let otherNames = [
        "enter": "ret", "return": "ret", "space": "spc", "escape": "esc", "del": "delete", "ins": "insert",
        "control": "ctrl", "altgr": "alt_r", "win": "meta_l", "super": "meta_l", "meta": "meta_l", "pageup": "pgup",
        "pagedown": "pgdn", "bksp": "backspace", "capslock": "caps_lock", "numlock": "num_lock", "printscreen": "print",
        "period": "dot", "plus": "kp_add",
    ]

    /// How long keys that are typed stay down, in the guest's time; each is followed by a pause of 5 ms.
    private static let holdMilliseconds: Int64 = 20
    private static let pauseMilliseconds: Int64 = 5
    /// How long chords stay down.
    private static let chordMilliseconds: Int64 = 100
    /// So many keys are sent before it is waited for them: the VM keeps ten times as many.
    private static let batch = 100

    /// Chords such as `ctrl-alt-delete`, several with spaces between them.
    /// - Returns: the names of the keys of each; nil for text that is none.
    public static func chords(_ text: String) -> [[String]]? {
        let chords = text.split(whereSeparator: \.isWhitespace).map { chord -> [String] in
            let names = chord.lowercased().split(separator: "-", omittingEmptySubsequences: false)
            return names.map { otherNames[String($0)] ?? String($0) }
        }
        return chords.isEmpty || chords.contains { $0.contains("") } ? nil : chords
    }

    /// Presses chords, one after the other.
    public func press(_ chords: [[String]]) throws(OrchestratorError) {
        try send(chords, holdMilliseconds: Self.chordMilliseconds)
    }

    /// Types text as a person would who has a keyboard of this layout, which the guest has to be set to.
    /// - Throws: `.vm` for a character that the layout has no key for; nothing is typed then.
    public func type(_ text: String, layout: KeyboardLayout) throws(OrchestratorError) {
        var chords: [[String]] = []
        for character in text {
            guard let keys = layout.chords(for: character) else {
                let others = KeyboardLayout.allCases.filter { $0.chords(for: character) != nil }.map(\.rawValue)
                let way =
                    others.isEmpty
                    ? "no layout has" : "\(others.joined(separator: " and ")) ha\(others.count == 1 ? "s" : "ve")"
                throw OrchestratorError(
                    .vm, "the keyboard layout '\(layout.rawValue)' has no key for '\(character)'; \(way) one")
            }
            chords += keys
        }
        try send(chords, holdMilliseconds: Self.holdMilliseconds)
    }

    private func send(_ chords: [[String]], holdMilliseconds: Int64) throws(OrchestratorError) {
        let client = try QMPClient(vm)
        for (index, names) in chords.enumerated() {
            let keys = names.map { JSONValue.object(["type": "qcode", "data": .string($0)]) }
            try client.execute("send-key", ["keys": .array(keys), "hold-time": .int(holdMilliseconds)])
            guard index % Self.batch == Self.batch - 1 else { continue }
            usleep(UInt32(Int64(Self.batch) * (holdMilliseconds + Self.pauseMilliseconds) * 1000))
        }
    }
}
