/// Replicas: from the VMs of the file to the VMs that run.

/// One VM that runs: a VM of the file, or one of its replicas.
public struct VMInstance: Sendable, Equatable {
    /// Unique in the lab: `teacher`, `student-01`.
    public var name: String
    /// Its number in the group, from 1; nil where `replicas` is not written.
    public var number: Int?
    /// What the file says about it.
    public var spec: VM
    /// Instances that must be ready first, groups expanded, in file order.
    public var dependsOn: [String]
}

extension VM {
    /// Names of the VMs that this entry stands for: after the roster, or with numbers. Numbers have at least two digits, and as many as the largest needs.
    public var instanceNames: [String] {
        guard let replicas else { return [name] }
        if let roster { return roster.suffixes.map { "\(name)-\($0)" } }
        let width = max(2, String(replicas).count)
        return (0..<max(0, replicas)).map { index in
            let number = String(index + 1)
            return "\(name)-" + String(repeating: "0", count: width - number.count) + number
        }
    }
}

extension Lab {
    /// Every VM that runs, in file order.
    public func instances() -> [VMInstance] {
        let names = Dictionary(vms.map { ($0.name, $0.instanceNames) }, uniquingKeysWith: { first, _ in first })
        return vms.flatMap { vm in
            let dependsOn = vm.dependsOn.flatMap { names[$0] ?? [] }
            return vm.instanceNames.enumerated().map { index, name in
                VMInstance(
                    name: name, number: vm.replicas == nil ? nil : index + 1,
                    spec: vm.members.isEmpty ? vm : vm.members[index], dependsOn: dependsOn)
            }
        }
    }

    /// The instances that a name on the command line means: one VM, or all of a group. Empty when there is none.
    public func instances(named name: String) -> [VMInstance] {
        let all = instances()
        let group = all.filter { $0.spec.name == name }
        return group.isEmpty ? all.filter { $0.name == name } : group
    }
}
