/// Commands of the 82077AA (Intel 290166-007, table 5-1), told by the low bits of their first byte.
///
/// | value, mask | command | parameters |
/// | --- | --- | --- |
/// | see `rows` | MT 80h, MF 40h and SK 20h modify the data commands | bytes after the first |
enum FDCCommand: Equatable {
    case readTrack, specify, senseDrive, write, read, recalibrate, senseInterrupt, readID, format, seek, dumpRegisters
    case version, perpendicular, configure, lock, verify, partID, relativeSeek, invalid

    struct Row {
        let value: UInt8
        let mask: UInt8
        let command: FDCCommand
        let parameters: Int
    }

    static let rows = [
        Row(value: 0x02, mask: 0x9F, command: .readTrack, parameters: 8),
        Row(value: 0x03, mask: 0xFF, command: .specify, parameters: 2),
        Row(value: 0x04, mask: 0xFF, command: .senseDrive, parameters: 1),
        Row(value: 0x05, mask: 0x3F, command: .write, parameters: 8),
        Row(value: 0x09, mask: 0x3F, command: .write, parameters: 8),
        Row(value: 0x06, mask: 0x1F, command: .read, parameters: 8),
        Row(value: 0x0C, mask: 0x1F, command: .read, parameters: 8),
        Row(value: 0x07, mask: 0xFF, command: .recalibrate, parameters: 1),
        Row(value: 0x08, mask: 0xFF, command: .senseInterrupt, parameters: 0),
        Row(value: 0x0A, mask: 0xBF, command: .readID, parameters: 1),
        Row(value: 0x0D, mask: 0xBF, command: .format, parameters: 5),
        Row(value: 0x0F, mask: 0xFF, command: .seek, parameters: 2),
        Row(value: 0x0E, mask: 0xFF, command: .dumpRegisters, parameters: 0),
        Row(value: 0x10, mask: 0xFF, command: .version, parameters: 0),
        Row(value: 0x12, mask: 0xFF, command: .perpendicular, parameters: 1),
        Row(value: 0x13, mask: 0xFF, command: .configure, parameters: 3),
        Row(value: 0x14, mask: 0x7F, command: .lock, parameters: 0),
        Row(value: 0x16, mask: 0x1F, command: .verify, parameters: 8),
        Row(value: 0x18, mask: 0xFF, command: .partID, parameters: 0),
        Row(value: 0x8F, mask: 0xBF, command: .relativeSeek, parameters: 2),
    ]

    static func row(_ byte: UInt8) -> Row {
        rows.first { byte & $0.mask == $0.value } ?? Row(value: byte, mask: 0xFF, command: .invalid, parameters: 0)
    }
}

/// Result status bits (table 5-3 and following).
enum FDCStatus {
    // Status 0.
    static let abnormal: UInt8 = 0x40
    static let invalid: UInt8 = 0x80
    static let pollingChanged: UInt8 = 0xC0
    static let seekEnd: UInt8 = 0x20
    static let equipmentCheck: UInt8 = 0x10
    // Status 1.
    static let endOfCylinder: UInt8 = 0x80
    static let dataError: UInt8 = 0x20
    static let overrun: UInt8 = 0x10
    static let noData: UInt8 = 0x04
    static let notWritable: UInt8 = 0x02
    static let missingAddressMark: UInt8 = 0x01
    // Status 2.
    static let dataErrorInField: UInt8 = 0x20
    static let wrongCylinder: UInt8 = 0x10
}
