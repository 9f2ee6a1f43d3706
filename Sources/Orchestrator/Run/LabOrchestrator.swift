import Glibc
import LabSpec
import VMProtocol

/// One lab and what can be done to it. Every verb of labctl that changes or reads a lab is a method here.
public struct LabOrchestrator: Sendable {
    public let lab: Lab
    public let state: StateDirectory
    public let folder: LabFolder
    let interruption: StopSignal
    let progress: ProgressSink
    let images: ImageStore

    public init(lab: Lab, state: StateDirectory, interruption: StopSignal, progress: @escaping ProgressSink) {
        self.lab = lab
        self.state = state
        self.interruption = interruption
        self.progress = progress
        folder = state.folder(of: lab)
        images = ImageStore(
            state: state, interruption: interruption, progress: progress, declaredFiles: Self.declaredFiles(of: lab))
    }

    /// Every image file that the lab file names.
    private static func declaredFiles(of lab: Lab) -> Set<String> {
        // A lab whose images contradict one another is refused when it is used; until then it declares nothing.
        guard let graph = try? ImageGraph(lab: lab, needing: lab.imageReferences(of: lab.instances())) else {
            return []
        }
        return Set(
            graph.nodes.compactMap { node in
                if case .file(let path, _, _) = node.recipe { path } else { nil }
            })
    }

    /// The VMs that names on the command line mean; all of them when there are none.
    public func instances(_ names: [String]) throws(OrchestratorError) -> [VMInstance] {
        guard !names.isEmpty else { return lab.instances() }
        var chosen: Set<String> = []
        for name in names {
            let found = lab.instances(named: name)
            guard !found.isEmpty else {
                let known = lab.vms.map(\.name).joined(separator: ", ")
                throw OrchestratorError(.vm, "the lab has no VM '\(name)'; it has \(known)")
            }
            chosen.formUnion(found.map(\.name))
        }
        return lab.instances().filter { chosen.contains($0.name) }
    }

    /// Instances and everything that they depend on, in the order of the lab file.
    func withDependencies(_ instances: [VMInstance]) -> [VMInstance] {
        let all = lab.instances()
        var wanted = Set(instances.map(\.name))
        var left = instances
        while let next = left.popLast() {
            for name in next.dependsOn where wanted.insert(name).inserted {
                left += all.filter { $0.name == name }
            }
        }
        return all.filter { wanted.contains($0.name) }
    }

    /// Looks at a VM on the host.
    /// - Parameter checksGolden: whether golden images are compared, reading them where their times differ.
    func observe(_ vm: VMFolder, checksGolden: Bool) throws(OrchestratorError) -> VMObservation {
        let reading = vm.recordReading
        var observation = VMObservation(
            isRunning: vm.isRunning, record: reading.known, fault: reading.fault, exit: vm.readExitRecord())
        for slot in DiskSlot.allCases where Folder.exists(vm.overlay(slot)) { observation.overlays.insert(slot) }
        for (name, overlay) in observation.record?.overlays ?? [:] {
            guard let slot = DiskSlot(rawValue: name) else { continue }
            observation.drift[slot] = try images.drift(overlay, mayRead: checksGolden)
        }
        return observation
    }

    /// VMs with a folder that the lab file no longer has.
    func orphans() -> [VMFolder] {
        let known = Set(lab.instances().map(\.name))
        return folder.vmNames.filter { !known.contains($0) }.map { folder.vm($0) }
    }

    /// Everything that a plan was made from.
    struct Survey: Sendable {
        var plan: Plan
        var images: [ImageReference: ResolvedImage]
        var definitions: [String: VMDefinition]
    }

    /// Looks at images and VMs and decides what `up` has to do.
    /// - Parameter adopting: whether overlays without a usable record get one first.
    func survey(_ instances: [VMInstance], adopting: Bool = false) throws(OrchestratorError) -> Survey {
        let problems = Support.problems(of: instances)
        guard problems.isEmpty else { throw OrchestratorError(.unsupported, problems.joined(separator: "\n")) }
        let graph = try ImageGraph(lab: lab, needing: lab.imageReferences(of: instances))
        let resolved = try images.survey(graph)
        if adopting {
            let adoption = Adoption(self, resolved)
            for instance in instances { try adoption.adopt(instance) }
        }
        var definitions: [String: VMDefinition] = [:]
        var bases: [String: [DiskSlot: String]] = [:]
        var observations: [String: VMObservation] = [:]
        for instance in instances {
            let vm = folder.vm(instance.name)
            let observation = try observe(vm, checksGolden: true)
            definitions[instance.name] = try VMDefinition(instance, folder: vm) {
                reference throws(OrchestratorError) in
                guard let image = resolved[reference] else {
                    throw OrchestratorError(.image, "image '\(reference.label)' is not known")
                }
                return (image.path, pinnedFormat(image, of: instance.name, observation.record) ?? image.format)
            }
            for (slot, disk) in instance.spec.disks where disk.mode == .overlay {
                bases[instance.name, default: [:]][slot] = resolved[disk.image]?.path
            }
            observations[instance.name] = observation
        }
        let missing = graph.nodes.filter { resolved[$0.reference]?.isPresent == false }
        let plan = Planner.plan(
            instances: instances, missingImages: missing, definitions: definitions, bases: bases,
            observations: observations, orphans: orphans().filter(\.isRunning).map(\.name))
        return Survey(plan: plan, images: resolved, definitions: definitions)
    }

    /// The format of a disk that the lab file does not give one for: what it was used as before, whatever a guest has
    /// written into it since; raw at first when nothing better is recognised, which is said.
    private func pinnedFormat(_ image: ResolvedImage, of name: String, _ record: VMRecord?) -> String? {
        guard !image.isPinned else { return nil }
        if let known = record?.run?.description.disks.first(where: { $0.path == image.path })?.format { return known }
        guard image.format == nil else { return nil }
        progress(.warning("\(name): no format is recognised in \(image.path), it is used as raw from now on"))
        return "raw"
    }

    /// What `up` would do. Changes nothing in the lab.
    public func plan(_ names: [String]) throws(OrchestratorError) -> Plan {
        try survey(withDependencies(instances(names))).plan
    }
}
