import Glibc
import Images
import LabSpec
import VMProtocol

/// Frozen overlays: what snapshots and the VMs that go on from them stand on.
struct Layers: Sendable {
    let folder: LabFolder

    /// More of them are refused: each costs a descriptor, and a look for each read.
    static let most = 100

    /// Where the overlay of a slot goes when it is frozen.
    func path(of slot: DiskSlot, _ vm: String, number: UInt64) -> String {
        "\(folder.layersFolder)/\(vm).\(slot.rawValue).\(number).qcow2"
    }

    /// The files below an overlay of a VM, down to the last that an overlay of ours lies on.
    /// - Parameter golden: where to stop: the golden image's files are known otherwise.
    static func below(_ overlay: String, until golden: Set<String>) throws(OrchestratorError) -> [String] {
        var found: [String] = []
        var next = overlay
        while let base = try Overlays.base(of: next), !golden.contains(base.file), base.file.hasPrefix("/") {
            guard found.count <= most else {
                throw OrchestratorError(.image, "\(overlay) stands on more than \(most) snapshots")
            }
            found.append(base.file)
            next = base.file
        }
        return found
    }

    /// The files that an overlay of a VM may lead to besides those that the lab file names.
    static func declared(_ overlay: String, _ record: VMRecord.Overlay?) throws(OrchestratorError) -> [String] {
        guard let record else { return [] }
        let layers = try below(overlay, until: [record.basePath])
        return layers.isEmpty ? [] : layers + [record.basePath]
    }

    /// Removes frozen overlays on which nothing stands any more. Where that cannot be told, all stay.
    func collect() {
        let names = Folder.names(in: folder.layersFolder)
        guard !names.isEmpty else { return }
        var needed: Set<String> = []
        var left: [String] = []
        for vm in folder.vmNames.map({ folder.vm($0) }) {
            left += DiskSlot.allCases.map { vm.overlay($0) }.filter { Folder.exists($0) }
        }
        for name in folder.snapshotNames {
            guard let record = folder.snapshotReading(name).known else { return }
            left += record.vms.values.flatMap(\.layers.values)
        }
        while let path = left.popLast() {
            if path.hasPrefix(folder.layersFolder + "/"), !needed.insert(path).inserted { continue }
            do throws(OrchestratorError) {
                if let base = try Overlays.base(of: path)?.file, base.hasPrefix(folder.layersFolder + "/") {
                    left.append(base)
                }
            } catch {
                return
            }
        }
        for name in names where !needed.contains("\(folder.layersFolder)/\(name)") {
            HostCall.unlink("\(folder.layersFolder)/\(name)")
        }
    }
}
