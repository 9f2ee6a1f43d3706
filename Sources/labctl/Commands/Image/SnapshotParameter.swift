/// `-l` of `convert` and `measure`: a snapshot's name or id, or `snapshot.id=…,snapshot.name=…`.
enum SnapshotParameter {
    /// Refuses a list with anything else in it.
    static func check(_ text: String) throws {
        guard text.hasPrefix("snapshot."),
            let item = KeyValueList.parse(text).first(where: { item in
                item.key != "snapshot.id" && item.key != "snapshot.name"
            })
        else { return }
        ImageOutput.error("Invalid parameter '\(item.key)'")
        throw fail("Failed in parsing snapshot param '\(text)'")
    }
}
