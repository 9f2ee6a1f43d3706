/// The run of a file or disk that was asked for last: asking walks the whole run (pages, table entries), so a run that is
/// worked off in pieces is asked for once, not once a piece.
struct KnownRun<Kind> {
    private var range: Range<UInt64> = 0..<0
    private var kind: Kind?

    /// What the bytes from `offset` on are, at most `limit` of them; `ask` tells it for an unlimited length.
    mutating func run(
        at offset: UInt64, limit: UInt64, ask: () throws(ImageError) -> (kind: Kind, length: UInt64)
    ) throws(ImageError) -> (kind: Kind, length: UInt64) {
        if let kind, range.contains(offset) { return (kind, min(limit, range.upperBound - offset)) }
        let answer = try ask()
        kind = answer.kind
        range = offset..<offset + answer.length
        return (answer.kind, min(limit, answer.length))
    }

    mutating func forget() { range = 0..<0 }
}
