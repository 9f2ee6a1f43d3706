/// Every place where the lab refers to an image.
struct ImageUse {
    enum Purpose: Equatable {
        /// A disk of a VM, with its mode.
        case disk(Disk.Mode)
        /// A CD or a floppy: read only.
        case medium
        /// The input of a recipe.
        case recipe
    }

    var reference: ImageReference
    var purpose: Purpose
    /// "'base' of 'hda' of VM 'student'".
    var place: String
    var span: SourceSpan
    /// The VM that uses it; nil for recipes.
    var vm: VM?

    /// CDs and floppies have no format: raw is not a guess there.
    var isRawByNature: Bool { purpose == .medium || place.hasPrefix("'cdrom'") }

    /// All uses, in file order of their sections.
    static func all(in lab: Lab) -> [ImageUse] {
        lab.images.flatMap(uses(ofRecipe:)) + lab.distinctVMs.flatMap(uses(of:))
    }

    /// What the recipe of an image takes in.
    static func uses(ofRecipe image: Image) -> [ImageUse] {
        func use(_ key: String, _ reference: ImageReference, _ section: String, _ spans: SectionSpans) -> ImageUse {
            ImageUse(
                reference: reference, purpose: .recipe, place: "'\(key)' of '\(section)' of image '\(image.name)'",
                span: spans.value(key))
        }
        switch image.source {
        case .file, .download, .create: return []
        case .convert(let recipe): return [use("from", recipe.from, "convert", recipe.spans)]
        case .build(let recipe):
            var uses: [ImageUse] = []
            if case .image(let from) = recipe.start { uses.append(use("from", from, "build", recipe.spans)) }
            if let cdrom = recipe.cdrom { uses.append(use("cdrom", cdrom, "build", recipe.spans)) }
            return uses
        }
    }

    /// What a VM has in its slots and drives.
    static func uses(of vm: VM) -> [ImageUse] {
        var uses: [ImageUse] = []
        for (slot, disk) in vm.disks.sorted(by: { $0.key < $1.key }) {
            let key = disk.spans.entries["base"] == nil ? "image" : "base"
            uses.append(
                ImageUse(
                    reference: disk.image, purpose: .disk(disk.mode), place: "'\(key)' of '\(slot)' of VM '\(vm.name)'",
                    span: disk.spans.value(key), vm: vm))
        }
        for (key, reference) in [("cdrom", vm.cdrom), ("fda", vm.floppy)] {
            guard let reference else { continue }
            uses.append(
                ImageUse(
                    reference: reference, purpose: .medium, place: "'\(key)' of VM '\(vm.name)'",
                    span: vm.spans.value(key), vm: vm))
        }
        return uses
    }
}
