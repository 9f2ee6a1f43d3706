/// What verbs of other tools are called here: Docker Compose, Vagrant, virsh, containerlab.
enum VerbHints {
    private static let table: [String: String] = [
        "ps": "'labctl status' shows the VMs of a lab",
        "inspect": "'labctl status --format json' says everything about a lab's VMs",
        "start": "'labctl up' starts VMs",
        "create": "'labctl up' makes and starts VMs",
        "deploy": "'labctl up' makes and starts VMs",
        "stop": "'labctl down' stops VMs; their disks stay",
        "halt": "'labctl down' stops VMs; their disks stay",
        "shutdown": "'labctl down' stops VMs; their disks stay",
        "kill": "'labctl down --timeout 0' stops VMs without asking them",
        "restart": "'labctl down' and 'labctl up' start VMs anew; 'labctl monitor VM system_reset' resets one",
        "reload": "'labctl up' applies what has changed in the lab file",
        "rm": "'labctl destroy' removes VMs with their disks",
        "delete": "'labctl destroy' removes VMs with their disks",
        "undefine": "'labctl destroy' removes VMs with their disks",
        "rebuild": "'labctl reset' gives VMs fresh disks",
        "ssh": "'labctl console VM' and 'labctl exec VM COMMAND' reach a VM without a network",
        "attach": "'labctl console VM' attaches to the console",
        "pause": "'labctl monitor VM stop' holds a VM",
        "suspend": "'labctl monitor VM stop' holds a VM",
        "unpause": "'labctl monitor VM cont' lets a VM go on",
        "resume": "'labctl monitor VM cont' lets a VM go on",
        "config": "'labctl validate' checks the lab file",
        "version": "'labctl --version' prints the version",
    ]

    /// What to do instead of a verb of another tool.
    static func hint(for verb: String) -> String? { table[verb] }
}
