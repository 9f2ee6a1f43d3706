import ArgumentParser
import LabSpec
import Orchestrator

/// `labctl inventory`: the lab as Ansible's inventory scripts say it ("Developing dynamic inventory").
struct InventoryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inventory", abstract: "Prints the VMs of a lab as a dynamic inventory for Ansible.",
        discussion: """
            Every VM is a host, every group of replicas a group ('-' in its name becomes '_'). Hosts are reached over their \
            consoles by the connection plugin of the Python package labctl; `python3 -m labctl.ansible` prints its folder.

            Ansible runs a script for that, which says which lab it is:

              #!/bin/sh
              exec labctl inventory "$(dirname "$0")/lab.yaml" "$@"
            """)

    @OptionGroup var lab: LabArguments

    @Flag(help: "Prints all hosts, groups and variables (the default).")
    var list = false

    @Option(help: ArgumentHelp("Prints the variables of one VM.", valueName: "NAME"))
    var host: String?

    func validate() throws {
        if list, let host { throw ValidationError("give --list or --host \(host), not both") }
    }

    func run() throws {
        try LabSession.run(lab, progress: .quiet) { session in
            let lab = session.orchestrator.lab
            let instances =
                try self.lab.vmNames.isEmpty
                ? lab.instances()
                : self.lab.vmNames.flatMap { name in
                    let found = lab.instances(named: name)
                    guard !found.isEmpty else { throw session.orchestrator.unknownVM(name) }
                    return found
                }
            let selection = self.lab.selection
            let inventory = AnsibleInventory(
                instances, lab: selection.labName.map(LabReference.name) ?? .file(lab.path),
                project: selection.effectiveProject, variables: selection.assignments)
            guard let host else { return JSONOutput.write(inventory) }
            guard let variables = inventory.hostVariables[host] else { throw session.orchestrator.unknownVM(host) }
            JSONOutput.write(variables)
        }
    }
}

/// How another labctl finds the lab again.
enum LabReference: Equatable {
    case file(String)
    case name(String)
}

/// A lab's VMs by Ansible's groups.
struct AnsibleInventory: Encodable {
    /// What the connection plugin needs to reach a VM; keys are Ansible variables.
    struct HostVariables: Encodable, Equatable {
        var ansible_connection = "labctl"
        var labctl_vm: String
        var labctl_file: String?
        var labctl_lab: String?
        var labctl_project: String?
        /// `NAME=VALUE` of `--set`.
        var labctl_set: [String]?
        /// Its number in the group, from 1.
        var labctl_number: Int?
    }

    private struct Key: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }
        init(_ text: String) { stringValue = text }
        init?(stringValue: String) { self.init(stringValue) }
        init?(intValue: Int) { nil }
    }

    private struct Meta: Encodable { var hostvars: [String: HostVariables] }

    private(set) var hostVariables: [String: HostVariables] = [:]
    /// Names of hosts by group; VMs that are no replicas are `ungrouped`.
    private(set) var groups: [String: [String]] = ["ungrouped": []]

    init(_ instances: [VMInstance], lab: LabReference, project: String?, variables: [String]) {
        for instance in instances {
            var host = HostVariables(
                labctl_vm: instance.name, labctl_project: project, labctl_set: variables.isEmpty ? nil : variables,
                labctl_number: instance.number)
            switch lab {
            case .file(let path): host.labctl_file = path
            case .name(let name): host.labctl_lab = name
            }
            hostVariables[instance.name] = host
            groups[Self.group(of: instance), default: []].append(instance.name)
        }
    }

    /// Ansible wants names of groups to be identifiers; `all` and `ungrouped` are its own.
    private static func group(of instance: VMInstance) -> String {
        guard instance.number != nil else { return "ungrouped" }
        let name = String(instance.spec.name.map { $0 == "-" ? "_" : $0 })
        return name.first?.isNumber == true || ["all", "ungrouped"].contains(name) ? "group_" + name : name
    }

    func encode(to encoder: any Encoder) throws {
        var top = encoder.container(keyedBy: Key.self)
        try top.encode(Meta(hostvars: hostVariables), forKey: Key("_meta"))
        try top.encode(["children": groups.keys.sorted()], forKey: Key("all"))
        for (group, hosts) in groups { try top.encode(["hosts": hosts], forKey: Key(group)) }
    }
}
