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
    var images: ImageStore
    /// The lab file, to be kept when the lab is brought up.
    let kept: KeptLabFile?
    /// Which of several copies of the lab it is.
    let project: String?
    /// Whether verbs wait for another labctl that changes the lab.
    public var waitsForLock = false

    /// - Parameters:
    ///   - folder: where the lab's state is; nil where a lab file of this name and path has it.
    ///   - kept: the lab file, so that the lab can be worked with when the file is gone.
    public init(
        lab: Lab, state: StateDirectory, folder: LabFolder? = nil, project: String? = nil, kept: KeptLabFile? = nil,
        interruption: StopSignal, progress: @escaping ProgressSink
    ) {
        self.lab = lab
        self.state = state
        self.interruption = interruption
        self.progress = progress
        let place = folder ?? state.folder(of: lab, project: project)
        self.project = project
        self.folder = place
        self.kept = kept
        images = ImageStore(
            state: state, interruption: interruption, progress: progress, allowed: ImageFolders(lab), folder: place)
    }

    /// The VMs that names on the command line mean; all of them when there are none.
    public func instances(_ names: [String]) throws(OrchestratorError) -> [VMInstance] {
        guard !names.isEmpty else { return lab.instances() }
        var chosen: Set<String> = []
        for name in names {
            let found = lab.instances(named: name)
            guard !found.isEmpty else { throw unknownVM(name) }
            chosen.formUnion(found.map(\.name))
        }
        return lab.instances().filter { chosen.contains($0.name) }
    }

    /// The error for a name that means no VM: with the nearest that does, and the groups.
    public func unknownVM(_ name: String) -> OrchestratorError {
        let names = lab.instances().map(\.name) + lab.vms.map(\.name)
        let near = Suggestion.nearest(to: name, among: names).map { "did you mean '\($0)'?" }
        let known = lab.vms.map { vm in vm.replicas.map { "\(vm.name) (\($0) VMs)" } ?? vm.name }
        let some = known.prefix(20).joined(separator: ", ") + (known.count > 20 ? ", …" : "")
        return OrchestratorError(.vm, "the lab has no VM '\(name)'; \(near ?? "it has \(some)")")
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
        if observation.isRunning {
            observation.condition = VMCondition.read(in: vm.path)
            observation.restarts = RestartRecord.read(in: vm.path)
        }
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
        let graph = try ImageGraph(lab: lab, needing: lab.imageReferences(of: instances))
        let finding = try images.survey(graph)
        let resolved = finding.images
        let rules = try imageRules(instances, resolved)
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
            observations[instance.name] = observation
            // A VM whose images cannot be used is refused; others go on.
            guard lab.imageReferences(of: [instance]).allSatisfy({ resolved[$0] != nil }) else { continue }
            definitions[instance.name] = try VMDefinition(instance, folder: vm) {
                reference throws(OrchestratorError) in
                guard let image = resolved[reference] else {
                    throw OrchestratorError(.image, "image '\(reference.label)' is not known")
                }
                return (image.path, pinnedFormat(image, of: instance.name, observation.record) ?? image.format)
            }
            definitions[instance.name]?.description.imageRules = rules(instance)
            for (slot, disk) in instance.spec.disks where disk.mode == .overlay {
                bases[instance.name, default: [:]][slot] = resolved[disk.image]?.path
            }
        }
        let missing = graph.nodes.filter { resolved[$0.reference]?.isPresent == false }
        let plan = Planner.plan(
            instances: instances, missingImages: missing, definitions: definitions, bases: bases,
            observations: observations, failures: reasons(finding.failures, instances),
            orphans: orphans().filter(\.isRunning).map(\.name))
        return Survey(plan: plan, images: resolved, definitions: definitions)
    }

    /// Why VMs cannot run, by name: images that they need cannot be used.
    func reasons(_ failures: [ImageReference: String], _ instances: [VMInstance]) -> [String: String] {
        guard !failures.isEmpty else { return [:] }
        var reasons: [String: String] = [:]
        for instance in instances {
            let found = lab.imageReferences(of: [instance]).compactMap { failures[$0] }
            if !found.isEmpty { reasons[instance.name] = found.joined(separator: "; ") }
        }
        return reasons
    }

    /// Images of the lab that cannot be used, with a sentence each: what `up` would say.
    public func unusableImages() throws(OrchestratorError) -> [ImageReference: String] {
        let graph = try ImageGraph(lab: lab, needing: lab.imageReferences(of: lab.instances()))
        return try images.survey(graph).failures.merging(FormatLimits(lab).failures(in: state.cache)) { first, _ in
            first
        }
    }

    /// What the images of each VM may lead to; refuses VMs that would write to a file of a golden image.
    private func imageRules(
        _ instances: [VMInstance], _ resolved: [ImageReference: ResolvedImage]
    ) throws(OrchestratorError) -> (VMInstance) -> VMDescription.ImageRules {
        let allowed = images.allowed
        var golden: [VMDescription.FileNumber] = []
        if lab.distinctVMs.contains(where: { $0.disks.values.contains { $0.mode == .direct } }) {
            let guardian = GoldenGuard(self, resolved)
            try guardian.check(instances, resolved)
            golden = guardian.fileNumbers
        }
        return { instance in
            let disks = instance.spec.disks.values
            // What an overlay of ours names is what it was made on.
            let bases = disks.filter { $0.mode == .overlay }.compactMap { resolved[$0.image]?.path }
            return VMDescription.ImageRules(
                folders: allowed.folders, files: Set(allowed.files).union(bases).sorted(),
                golden: disks.contains { $0.mode == .direct } ? golden : [])
        }
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
