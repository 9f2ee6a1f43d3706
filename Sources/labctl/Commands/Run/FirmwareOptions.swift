import Foundation
import LabSpec
import VMProtocol

/// `-smbios` and `-fw_cfg`: what the firmware of the VM tells its guest.
extension VMRequest {
    /// `-smbios type=1,manufacturer=…,uuid=…`.
    mutating func addSMBIOS(_ text: String) throws(QEMUOptionError) {
        typealias Field = VMDescription.SMBIOSField
        let names = Field.table.map(\.name)
        var keys = try QEMUValues.keyList(text, known: ["type"] + names)
        let types = Set(Field.table.map(\.type)).sorted().map(String.init)
        guard let written = keys.removeValue(forKey: "type"), let type = UInt8(written) else {
            throw QEMUOptionError("give a type: type=\(types.joined(separator: " or type="))")
        }
        guard types.contains(written) else {
            throw QEMUOptionError("type \(type) is not supported; there are \(types.joined(separator: " and "))")
        }
        // In the order of the structure, so that equal lines make equal machines.
        for row in Field.table where row.type == type {
            guard let value = keys.removeValue(forKey: row.name) else { continue }
            if row.name == "uuid", LabSpec.SMBIOSField.uuidBytes(value) == nil {
                throw QEMUOptionError("'\(value)' is not a UUID")
            }
            vm.smbios =
                (vm.smbios ?? []).filter { ($0.type, $0.name) != (type, row.name) }
                + [Field(type: type, name: row.name, value: value)]
        }
        if let other = keys.keys.min() { throw QEMUOptionError("type \(type) has no '\(other)'") }
    }

    /// `-fw_cfg [name=]opt/org/name,file=PATH` or `string=TEXT`.
    mutating func addFirmwareFile(_ text: String) throws(QEMUOptionError) {
        typealias File = VMDescription.FirmwareFile
        let first = text.prefix { $0 != "," }
        let list = first.contains("=") ? text : "name=" + text
        let keys = try QEMUValues.keyList(list, known: ["name", "file", "string"])
        guard let name = keys["name"], (1...File.mostNameBytes).contains(name.utf8.count) else {
            throw QEMUOptionError("give a name of 1 to \(File.mostNameBytes) bytes, such as opt/org.example/name")
        }
        // What is not below opt/ is between the firmware and the machine: QEMU only warns, and a guest may not boot.
        guard name.hasPrefix("opt/") else {
            throw QEMUOptionError("the name '\(name)' has to begin with opt/: the others are the firmware's own")
        }
        let file: File
        switch (keys["file"], keys["string"]) {
        case (let path?, nil):
            file = File(name: name, path: URL(fileURLWithPath: path).path)
        case (nil, let string?): file = File(name: name, text: string)
        default: throw QEMUOptionError("give file=PATH or string=TEXT, and only one of them")
        }
        guard (vm.firmwareFiles ?? []).allSatisfy({ $0.name != name }) else {
            throw QEMUOptionError("there are two files '\(name)'")
        }
        guard (vm.firmwareFiles ?? []).count < File.mostFiles else {
            throw QEMUOptionError("there are more than \(File.mostFiles) files")
        }
        vm.firmwareFiles = (vm.firmwareFiles ?? []) + [file]
    }
}
