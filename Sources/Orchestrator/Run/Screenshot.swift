import Glibc
import VMProtocol

/// A VM's screen as a picture file, whole or not at all.
public enum Screenshot {
    /// - Parameters:
    ///   - path: the file, replaced when it is there.
    ///   - format: `png` or `ppm`.
    public static func save(_ vm: VMFolder, to path: String, format: String) throws(OrchestratorError) {
        let temporary = "\(path).\(getpid()).tmp"
        let client = try QMPClient(vm)
        do throws(OrchestratorError) {
            let file = try withHostErrors { () throws(HostError) in
                try Descriptor.open(temporary, O_RDWR | O_CREAT | O_TRUNC, mode: 0o644)
            }
            try client.execute("screendump", on: file) { ["filename": .string($0), "format": .string(format)] }
            try withHostErrors { () throws(HostError) in
                guard rename(temporary, path) == 0 else { throw HostError("write", path) }
            }
        } catch {
            unlink(temporary)
            throw error
        }
    }
}
