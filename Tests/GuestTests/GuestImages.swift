import Foundation

/// The guests that `scripts/guests` makes from Debian packages.
enum GuestImage: String {
    case kernelAMD64 = "kernel-amd64"
    case kernelCloudAMD64 = "kernel-cloud-amd64"
    case kernelI386 = "kernel-i386"
    case initrdSmallAMD64 = "initrd-small-amd64"
    case initrdSmallI386 = "initrd-small-i386"
    case isolinuxCD = "isolinux-cd"
    case grubCD = "grub-cd"
    case grubRescueCD = "grub-rescue-cd"
    case grubDisk = "grub-disk"
    case extlinuxDisk = "extlinux-disk"
    case classroomDisk = "classroom-disk"

    /// Its path; makes it if it is not in the cache yet, which takes a network the first time.
    func path() throws -> String {
        let script = packageFolder.appending(path: "scripts/guests")
        let process = Process()
        process.executableURL = script
        process.arguments = [rawValue]
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let printed = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        let path = String(decoding: printed, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        guard process.terminationStatus == 0, !path.isEmpty else { throw GuestError.notMade(rawValue) }
        return path
    }
}

/// The checkout that these tests belong to.
let packageFolder = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

enum GuestError: Error, CustomStringConvertible {
    case notMade(String)
    case noProgram(String)
    case silent(awaited: String, said: String)

    var description: String {
        switch self {
        case .notMade(let name): "scripts/guests could not make '\(name)'; run it by hand to see why"
        case .noProgram(let path): "no program at \(path)"
        case .silent(let awaited, let said): "the guest did not say '\(awaited)'; it said last:\n\(said)"
        }
    }
}
