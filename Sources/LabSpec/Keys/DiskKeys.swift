/// `disks` of a VM: the slots, and what a slot takes.

/// A disk before it is known to be whole.
struct DiskDraft: Sendable {
    var base: ImageReference?
    var image: ImageReference?
    var mode: Disk.Mode?
    var writeErrors = Disk.WriteErrors.enospc
    var spans = SectionSpans()

    /// The disk; nil after a mistake.
    func finish(_ scope: DecodingScope) -> Disk? {
        if base != nil, let mode, mode != .overlay {
            scope.report(
                .conflict, "'base' in \(scope.place) is an overlay, it cannot have 'mode: \(mode.rawValue)'",
                at: spans.value("mode"), notes: [.init("'base' is here", at: spans.key("base"))],
                help: "write `image` in place of `base`")
            return nil
        }
        if image != nil, base == nil, spans.entries["mode"] == nil {
            scope.report(
                .missingCompanion, "'image' in \(scope.place) does not say how it is used", at: spans.key("image"),
                help: "add `mode: read-only`, `mode: direct` (the VM writes to the file) or `mode: overlay`")
            return nil
        }
        guard let reference = base ?? image else { return nil }
        var disk = Disk(image: reference, mode: mode ?? .overlay)
        disk.writeErrors = writeErrors
        disk.spans = spans
        return disk
    }

    private static let modeSlips = [
        "ro": "read-only", "readonly": "read-only", "rw": "direct", "read-write": "direct", "cow": "overlay",
    ]

    static let table = SectionTable<DiskDraft>(
        id: "disk", noun: "disk", plural: "disks", title: "A slot of `disks`",
        "What is in a slot: a copy-on-write overlay of a golden image (`base`), or an image itself (`image`).",
        spans: \.spans, rules: [.exactlyOne(["base", "image"])],
        keys: [
            LabKey(
                "base", .imageReference, \.base,
                "The golden image under the VM's own overlay: the name of an entry of `images`, or a path.",
                synonyms: ["from", "backing", "backing_file", "parent"]),
            LabKey(
                "image", .imageReference, \.image,
                "An image used as it is: the name of an entry of `images`, or a path. Needs `mode`.",
                synonyms: ["path", "file", "source"]),
            LabKey(
                "mode", .choice(Disk.Mode.allCases, slips: modeSlips), \.mode,
                "`overlay`: the VM writes to a copy-on-write overlay of its own (always so with `base`). `direct`: it "
                    + "writes to the file; one writer in the whole lab, and never a golden image. `read-only`: it "
                    + "cannot write."),
            LabKey(
                "werror", .choice(Disk.WriteErrors.allCases), \.writeErrors, defaultOf: DiskDraft(),
                "What a write does that the host cannot do. `enospc`: a full disk pauses the VM until there is room, "
                    + "the VM is told of other errors. `report`: it is told of all. `stop`: it is paused until it is "
                    + "continued. `ignore`: it is not told."),
        ])
}

/// The four slots.
struct DiskSlots: Sendable {
    var disks: [DiskSlot: Disk] = [:]
    var spans = SectionSpans()

    private static let disk = ValueType<Disk>.section(
        DiskDraft.table, fresh: DiskDraft(), help: { "write { base: \($0) }" }, finish: { $0.finish($1) })

    static let table = SectionTable<DiskSlots>(
        id: "disks", noun: "disks", plural: "disks", "The IDE slots of a VM.", spans: \.spans,
        keys: [
            LabKey(
                "hda", disk, \.disks[.hda], "Primary master, the usual boot disk.",
                synonyms: ["sda", "vda", "disk0", "c"]),
            LabKey("hdb", disk, \.disks[.hdb], "Primary slave.", synonyms: ["sdb", "vdb", "disk1"]),
            LabKey(
                "hdc", disk, \.disks[.hdc], "Secondary master; excludes `cdrom`, which is the same slot.",
                synonyms: ["sdc", "vdc"]),
            LabKey("hdd", disk, \.disks[.hdd], "Secondary slave.", synonyms: ["sdd", "vdd"]),
        ])
}
