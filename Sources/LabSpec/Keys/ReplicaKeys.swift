/// `replicas`: how many VMs a group has, or who they are for.

/// `replicas` as it is written.
enum Replicas: Sendable, Equatable {
    case count(Int)
    case roster(Roster)
}

/// `replicas: { from, name }`.
struct RosterDraft: Sendable {
    var from: LabPath?
    var name: String?
    var spans = SectionSpans()

    func finish(_ scope: DecodingScope) -> Replicas? {
        guard let from else { return nil }
        let place = "the roster '\(from.written.clippedForMessage)'"
        func report(_ fault: Roster.Fault) {
            let line = fault.line.map { ", line \($0):" } ?? ""
            scope.report(
                .badRoster, "\(place)\(line) \(fault.message)", at: spans.value("from"),
                help: "a roster is a CSV file; its first line names the columns, every other one makes a VM")
        }
        do throws(Roster.Fault) {
            return .roster(try Roster(try scope.rosters.text(from.absolute).get(), nameColumn: name))
        } catch {
            report(error)
            return nil
        }
    }

    static let table = SectionTable<RosterDraft>(
        id: "roster", noun: "roster", plural: "rosters",
        "A CSV file whose first line names its columns: one VM for each other line. `${row.COLUMN}` in the VM's entry is its "
            + "value in a column.",
        spans: \.spans,
        keys: [
            LabKey(
                "from", .path, \.from, required: true, "The file, relative to the lab file's folder.",
                synonyms: ["file", "csv", "path"]),
            LabKey(
                "name", .text, \.name,
                "The column that VMs are named after; without it `name`, else the first one.",
                synonyms: ["column", "key", "id"]),
        ])
}

extension ValueType where Value == Replicas {
    /// A number, or a roster.
    static let replicas: ValueType = {
        let number = ValueType<Int>.integer(VMDraft.replicaCounts)
        let roster = ValueType<Replicas>.section(
            RosterDraft.table, fresh: RosterDraft(), finish: { draft, scope in draft.finish(scope) })
        let shape = ValueShape.anyOf([number.shape, roster.shape])
        return ValueType(shape) { node, scope in
            if case .mapping = node.content {
                var inner = scope
                inner.place = "'replicas' of \(scope.place)"
                return roster.decode(node, inner)
            }
            if case .scalar(let scalar) = node.content, scalar.text.lowercased().hasSuffix(".csv") {
                scope.reportWrongType(node, expected: shape, help: "write { from: \(scalar.text.clippedForMessage) }")
                return nil
            }
            return number.decode(node, scope).map(Replicas.count)
        }
    }()
}

extension VMDraft {
    /// `vms`. An entry with values of its own VMs in it is decoded once for each of them.
    static let group: ValueType<[VMDraft]> = {
        let plain = ValueType<[VMDraft]>.named(
            table, minimumCount: 1, maximumCount: maximumCount, fresh: { VMDraft(name: $0) },
            finish: { vm, scope in vm.finish(scope) })
        return ValueType(plain.shape) { node, scope in
            guard case .mapping(var pairs) = node.content, let expansion = scope.expansion, node.isDeferred else {
                return plain.decode(node, scope)
            }
            var others: [Int: [VM]] = [:]
            for index in pairs.indices where pairs[index].value.isDeferred {
                let pair = pairs[index]
                let inner = scope.entering(table.shape.noun, named: pair.key)
                let expanded = members(of: pair, inner).map { expansion.expand(pair.value, of: $0) }
                guard let first = expanded.first else { continue }
                pairs[index].value = first
                others[index] = expanded.dropFirst().compactMap { value in
                    var copy = pair
                    copy.value = value
                    return plain.decode(
                        Node(content: .mapping([copy]), span: node.span, weight: node.weight), scope)?.first?.vm
                }
            }
            guard
                var drafts = plain.decode(
                    Node(content: .mapping(pairs), span: node.span, weight: node.weight), scope)
            else { return nil }
            for (index, rest) in others where drafts.indices.contains(index) {
                // As VMs of their own: what the group says about itself is not said of each.
                drafts[index].vm.members = ([drafts[index].vm] + rest).map { vm in
                    var vm = vm
                    (vm.replicas, vm.roster) = (nil, nil)
                    return vm
                }
            }
            return drafts
        }
    }()

    /// The VMs that an entry stands for. One whose `replicas` has a mistake, which is reported, counts as one VM.
    private static func members(of pair: Node.Pair, _ scope: DecodingScope) -> [GroupMember] {
        var vm = VM(name: pair.key)
        if case .mapping(let keys) = pair.value.content,
            let written = keys.first(where: { $0.key == "replicas" })?.value, !written.isDeferred, !written.isBroken
        {
            var inner = scope
            inner.key = "replicas"
            vm.set(ValueType<Replicas>.replicas.decode(written, inner))
        }
        return vm.instanceNames.enumerated().map { index, name in
            GroupMember(
                index: index + 1, name: name, row: vm.roster?.rows[index] ?? [:], columns: vm.roster?.columns ?? [])
        }
    }
}

extension VM {
    /// Takes over what `replicas` says.
    mutating func set(_ written: Replicas?) {
        switch written {
        case nil: break
        case .count(let count): replicas = count
        case .roster(let roster):
            replicas = roster.rows.count
            self.roster = roster
        }
    }
}
