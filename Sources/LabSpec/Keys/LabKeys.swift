/// The top of the lab file, and `networks`.

/// The whole file before it is known to be whole.
struct LabDraft: Sendable {
    var name: String?
    var images: [ImageDraft] = []
    var networks: [Network] = []
    var vms: [VMDraft]?
    var defaults: [String: String] = [:]
    var spans = SectionSpans()

    /// What could be read, for the checks across sections.
    func lab(path: String) -> Lab {
        var lab = Lab(
            name: name ?? "", images: images.compactMap(\.image), networks: networks, vms: (vms ?? []).map(\.vm),
            path: path)
        lab.spans = spans
        return lab
    }

    /// The key whose values the others may use.
    static let variablesKey = "vars"

    static let table = SectionTable<LabDraft>(
        id: "lab", noun: "lab file", plural: "lab files",
        "A lab: golden images and the virtual PCs that run on overlays of them. Keys that begin with `x-` are left "
            + "alone, as a place for anchors.",
        spans: \.spans, ignoredPrefix: "x-",
        keys: [
            LabKey(
                "lab", .name, \.name, required: true, "The name of the lab.", synonyms: ["name", "title", "version"]),
            LabKey(
                variablesKey, VariableDefaults.type, \.defaults, defaultOf: LabDraft(),
                "Variables and what they mean where neither `--set`, the environment nor `--env-file` has them.",
                synonyms: ["variables", "env", "environment", "defaults"]),
            LabKey(
                "images",
                .named(
                    ImageDraft.table, maximumCount: 1000, fresh: { ImageDraft(name: $0) }, finish: { $0.finish($1) }),
                \.images, defaultOf: LabDraft(), "Golden images by name.", synonyms: ["disks", "volumes"]),
            LabKey(
                "networks",
                .named(networkTable, maximumCount: 1000, acceptsNull: true, fresh: { Network(name: $0) }),
                \.networks, defaultOf: LabDraft(), "Networks between the VMs of the lab, by name.", synonyms: ["nets"]),
            LabKey(
                "vms", VMDraft.group, \.vms, required: true, "Virtual PCs by name.",
                synonyms: ["services", "machines", "hosts"]),
        ])

    private static let networkTable = SectionTable<Network>(
        id: "network", noun: "network", plural: "networks", "An Ethernet segment that only this lab's VMs are on.",
        spans: \.spans, keys: [])
}
