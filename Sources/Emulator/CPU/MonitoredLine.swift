/// The line of memory that MONITOR named, as it was then: MWAIT sleeps until it is another (SDM vol. 3, 8.10.5).
///
/// Who stores there, another processor or a device, tells nobody; whoever decides whose turn it is looks. A store of the same value is
/// not noticed, which MWAIT's users, who look at the value, cannot tell.
struct MonitoredLine {
    static let byteCount = 64
    private let host: UnsafeMutableRawPointer
    private let words: InlineArray<8, UInt64>
    /// MWAIT waits for it.
    var isAwaited = false

    /// - Parameter host: any byte of the line in guest memory.
    init(_ host: UnsafeMutableRawPointer) {
        let line = UnsafeMutableRawPointer(bitPattern: UInt(bitPattern: host) & ~UInt(Self.byteCount - 1)) ?? host
        self.host = line
        // SAFETY: guest memory is mapped in whole pages, so that the line lies in the page of one of its bytes.
        words = InlineArray { line.load(fromByteOffset: $0 * 8, as: UInt64.self) }
    }

    var hasChanged: Bool {
        // SAFETY: as in `init`; memory outlives the processors.
        for index in 0..<8 where host.load(fromByteOffset: index * 8, as: UInt64.self) != words[index] { return true }
        return false
    }
}
