/// "Did you mean …?": the nearest of the words that would have been right.
public enum Suggestion {
    /// The nearest candidate, if it is near enough to be a slip; of equally near ones the first that is as long.
    public static func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
        let typed = Array(word.lowercased().unicodeScalars.prefix(64))
        let bound = max(1, typed.count / 3)
        var best: (distance: Int, word: String, isAsLong: Bool)?
        for candidate in candidates {
            let target = Array(candidate.lowercased().unicodeScalars.prefix(64))
            var distance = editDistance(typed, target)
            // A word that was cut short or carried on is a slip too: `depends` for `depends_on`.
            if distance > bound, typed.count >= 3, target.starts(with: typed) || typed.starts(with: target) {
                distance = bound
            }
            // Most slips keep the number of letters.
            let isAsLong = target.count == typed.count
            guard distance <= bound else { continue }
            if let best, best.distance < distance || best.distance == distance && (best.isAsLong || !isAsLong) {
                continue
            }
            best = (distance, candidate, isAsLong)
        }
        return best?.word
    }

    /// Optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours, each one step.
    static func editDistance(_ left: [Unicode.Scalar], _ right: [Unicode.Scalar]) -> Int {
        var before: [Int] = []
        var previous = Array(0...right.count)
        for row in left.indices {
            var current = [row + 1]
            current.reserveCapacity(right.count + 1)
            for column in right.indices {
                let same = left[row] == right[column]
                var best = min(previous[column] + (same ? 0 : 1), previous[column + 1] + 1, current[column] + 1)
                if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
                    best = min(best, before[column - 1] + 1)
                }
                current.append(best)
            }
            before = previous
            previous = current
        }
        return previous[right.count]
    }
}
