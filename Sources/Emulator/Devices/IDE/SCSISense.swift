/// Sense data (SPC-3, 4.5): why a packet command failed.
struct SCSISense: Equatable {
    private(set) var key: UInt8
    private(set) var code: UInt8
    private(set) var qualifier: UInt8

    mutating func exchange(_ c: StateCoder) {
        c.field("key", &key)
        c.field("code", &code)
        c.field("qualifier", &qualifier)
    }

    static let none = SCSISense(key: 0, code: 0, qualifier: 0)
    static let noMedium = SCSISense(key: 0x02, code: 0x3A, qualifier: 0x01)
    static let trayOpen = SCSISense(key: 0x02, code: 0x3A, qualifier: 0x02)
    static let unrecoveredRead = SCSISense(key: 0x03, code: 0x11, qualifier: 0x00)
    static let invalidOperation = SCSISense(key: 0x05, code: 0x20, qualifier: 0x00)
    static let addressOutOfRange = SCSISense(key: 0x05, code: 0x21, qualifier: 0x00)
    static let invalidField = SCSISense(key: 0x05, code: 0x24, qualifier: 0x00)
    static let incompatibleFormat = SCSISense(key: 0x05, code: 0x30, qualifier: 0x02)
    static let savingNotSupported = SCSISense(key: 0x05, code: 0x39, qualifier: 0x00)
    static let removalPrevented = SCSISense(key: 0x05, code: 0x53, qualifier: 0x02)
    static let mediumChanged = SCSISense(key: 0x06, code: 0x28, qualifier: 0x00)

    /// Fixed format, current error, as REQUEST SENSE returns it.
    var bytes: [UInt8] {
        var data = [UInt8](repeating: 0, count: 18)
        data[0] = 0x70
        data[2] = key
        data[7] = 10
        data[12] = code
        data[13] = qualifier
        return data
    }
}

/// Media events of GET EVENT STATUS NOTIFICATION (MMC-5, 6.7.5.5).
enum MediaEvent: UInt8 {
    case none = 0
    case ejectRequest = 1
    case newMedia = 2
    case removal = 3
}

/// INQUIRY texts: what the guest's logs and device links call the drive.
enum SCSIInquiry {
    static let vendor = "QEMU"
    static let product = "QEMU DVD-ROM"

    /// Text padded with blanks to its field.
    static func field(_ text: String, _ width: Int) -> [UInt8] {
        Array(text.utf8.prefix(width)) + Array(repeating: 0x20, count: max(0, width - text.utf8.count))
    }
}
