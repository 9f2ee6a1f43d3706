import Emulator
import Glibc
import VMProtocol

/// What a description says about the firmware, as the machine takes it.
enum FirmwareContent {
    /// A file of the configuration device, read from the host.
    static func of(
        _ file: VMDescription.FirmwareFile
    ) throws(MachineError) -> (name: String, contents: [UInt8]) {
        let most = VMDescription.FirmwareFile.mostBytes
        guard (1...VMDescription.FirmwareFile.mostNameBytes).contains(file.name.utf8.count) else {
            throw .badConfiguration(
                "fw_cfg name '\(file.name)': it has 1 to \(VMDescription.FirmwareFile.mostNameBytes) bytes")
        }
        let contents: [UInt8]
        if let path = file.path {
            do {
                contents = try read(path, atMost: most + 1)
            } catch {
                throw .badConfiguration("fw_cfg \(file.name): \(error.description)")
            }
        } else {
            contents = Array((file.text ?? "").utf8)
        }
        guard contents.count <= most else {
            throw .badConfiguration("fw_cfg \(file.name): it has more than \(most) bytes")
        }
        return (file.name, contents)
    }

    /// A field of SMBIOS. UUIDs have their first three groups little-endian (DSP0134, 7.2.1).
    static func of(_ field: VMDescription.SMBIOSField) throws(MachineError) -> SMBIOSField {
        guard let offset = field.offset else {
            throw .badConfiguration("smbios type \(field.type) has no field '\(field.name)'")
        }
        guard field.name == "uuid" else {
            return SMBIOSField(type: field.type, offset: offset, bytes: Array(field.value.utf8) + [0])
        }
        let digits = field.value.filter { $0 != "-" }.map(\.hexDigitValue)
        let nibbles = digits.compactMap { $0.map(UInt8.init) }
        guard nibbles.count == 32, digits.count == 32 else {
            throw .badConfiguration("'\(field.value)' is not a UUID")
        }
        let bytes = stride(from: 0, to: 32, by: 2).map { nibbles[$0] << 4 | nibbles[$0 + 1] }
        return SMBIOSField(
            type: field.type, offset: offset,
            bytes: bytes[0..<4].reversed() + bytes[4..<6].reversed() + bytes[6..<8].reversed() + bytes[8...])
    }

    private static func read(_ path: String, atMost limit: Int) throws(HostError) -> [UInt8] {
        let file = try Descriptor.open(path, O_RDONLY)
        var bytes: [UInt8] = []
        while bytes.count < limit, case .bytes(let piece) = file.read() { bytes += piece }
        return bytes
    }
}
