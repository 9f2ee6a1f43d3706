import Images
import LabSpec
import VMProtocol

/// Files of a VM that is off, read from its disks.
public struct PoweredOffDisks: Sendable {
    let vm: VMFolder

    public init(_ vm: VMFolder) { self.vm = vm }

    /// The content of a file on the first disk that has it.
    /// - Returns: nil where no disk has it.
    public func contents(of path: String) throws(OrchestratorError) -> [UInt8]? {
        // As long as it is held, nobody starts the VM.
        guard let lock = try withHostErrors({ () throws(HostError) in try FileLock.tryLock(vm.file(.lock)) }) else {
            throw OrchestratorError(.vm, "\(vm.name) was started just now")
        }
        defer { withExtendedLifetime(lock) {} }
        guard let description = vm.knownRun?.description else {
            throw OrchestratorError(.vm, "\(vm.name) has never been started: it has no disks yet")
        }
        var isReadable = false
        for disk in description.disks {
            let found: (contents: [UInt8]?, isReadable: Bool)
            do throws(ImageError) {
                found = try Self.look(for: path, on: disk)
            } catch {
                throw OrchestratorError(.image, "\(path) cannot be read from \(disk.slot.rawValue): \(error.sentence)")
            }
            if let contents = found.contents { return contents }
            isReadable = isReadable || found.isReadable
        }
        guard isReadable else {
            throw OrchestratorError(
                .image,
                "no disk of \(vm.name) has a file system that can be read while it is off (ext2, ext3, ext4, FAT)")
        }
        return nil
    }

    private static func look(
        for path: String, on disk: VMDescription.Disk
    ) throws(ImageError) -> (contents: [UInt8]?, isReadable: Bool) {
        let image = try DiskImage.open(disk.path, options: OpenOptions(format: disk.format, lock: .none))
        defer { try? image.close() }
        let files = try GuestDisk(image)
        return (try files.contents(of: path), !files.isEmpty)
    }
}
