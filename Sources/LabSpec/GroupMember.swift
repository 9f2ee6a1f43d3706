/// One VM of a group, as the variables in its entry see it.
struct GroupMember: Equatable {
    /// From 1.
    var index: Int
    /// The VM's whole name: `student-01`, `student-mueller`.
    var name: String
    /// Its row of the roster, by column; empty where there is none.
    var row: [String: String]
    /// Columns of the roster in its order.
    var columns: [String]

    private static let rowPrefix = "row."

    /// Whether a variable of this name is a VM's own value.
    static func isOwn(_ variable: String) -> Bool {
        variable == "index" || variable == "name" || variable.hasPrefix(rowPrefix)
    }

    /// What a variable of the VM's own means; nil for a column that there is not.
    func value(_ variable: String) -> String? {
        switch variable {
        case "index": String(index)
        case "name": name
        default: row[String(variable.dropFirst(Self.rowPrefix.count))]
        }
    }
}
