/// ATA/ATAPI-6 (T13/1410D), clause 7: the command block of one drive.
///
/// | port | read | write |
/// | --- | --- | --- |
/// | +0 | data, 16 or 32 bits | data |
/// | +1 | error | features |
/// | +2 | sector count (ATAPI: interrupt reason) | sector count |
/// | +3 | LBA 7:0, or sector | the same |
/// | +4 | LBA 15:8, or cylinder low (ATAPI: byte count low) | the same |
/// | +5 | LBA 23:16, or cylinder high (ATAPI: byte count high) | the same |
/// | +6 | device: bit 6 LBA, bit 4 drive, 3:0 head or LBA 27:24 | the same |
/// | +7 | status; clears the interrupt | command |
/// | control | alternate status | bit 7 HOB, bit 2 SRST, bit 1 nIEN |
///
/// Each of features, count and the three LBA registers is two deep: a write pushes the old byte into its "previous
/// content" place (`hob…`), which the 48-bit commands use as the high half.
struct TaskFile {
    var feature: UInt8 = 0
    var count: UInt8 = 0
    var lbaLow: UInt8 = 0
    var lbaMid: UInt8 = 0
    var lbaHigh: UInt8 = 0
    var hobFeature: UInt8 = 0
    var hobCount: UInt8 = 0
    var hobLow: UInt8 = 0
    var hobMid: UInt8 = 0
    var hobHigh: UInt8 = 0
    var device: UInt8 = 0xA0
    var status: UInt8 = 0
    var error: UInt8 = 0

    mutating func exchange(_ c: StateCoder) {
        c.field("feature", &feature)
        c.field("count", &count)
        c.field("lbaLow", &lbaLow)
        c.field("lbaMid", &lbaMid)
        c.field("lbaHigh", &lbaHigh)
        c.field("hobFeature", &hobFeature)
        c.field("hobCount", &hobCount)
        c.field("hobLow", &hobLow)
        c.field("hobMid", &hobMid)
        c.field("hobHigh", &hobHigh)
        c.field("device", &device)
        c.field("status", &status)
        c.field("error", &error)
    }

    /// 28-bit address in the registers.
    var lba28: UInt64 {
        UInt64(device & 0x0F) << 24 | UInt64(lbaHigh) << 16 | UInt64(lbaMid) << 8 | UInt64(lbaLow)
    }
    /// 48-bit address, high half from the previous content.
    var lba48: UInt64 {
        let high = UInt64(hobHigh) << 40 | UInt64(hobMid) << 32 | UInt64(hobLow) << 24
        return high | UInt64(lbaHigh) << 16 | UInt64(lbaMid) << 8 | UInt64(lbaLow)
    }
    var isLBA: Bool { device & 0x40 != 0 }
    /// Sectors asked for; zero means the maximum.
    var sectorCount28: Int { count == 0 ? 256 : Int(count) }
    var sectorCount48: Int {
        let value = Int(hobCount) << 8 | Int(count)
        return value == 0 ? 65536 : value
    }
}

/// Status register bits (7.15).
enum IDEStatus {
    static let busy: UInt8 = 0x80
    static let ready: UInt8 = 0x40
    /// Device fault or, in older standards' bit 4, seek complete: drivers expect the latter.
    static let seekComplete: UInt8 = 0x10
    static let dataRequest: UInt8 = 0x08
    static let error: UInt8 = 0x01
    static let idle: UInt8 = ready | seekComplete
}

/// Error register bits (7.9).
enum IDEError {
    static let uncorrectable: UInt8 = 0x40
    static let idNotFound: UInt8 = 0x10
    static let abort: UInt8 = 0x04
}

/// Device control register bits (7.8).
enum IDEControl {
    static let highOrderByte: UInt8 = 0x80
    static let softReset: UInt8 = 0x04
    static let interruptDisable: UInt8 = 0x02
}

/// How long things take, in guest nanoseconds. Real drives need milliseconds; a driver only must not see completion
/// before it has finished issuing the command.
enum IDETiming {
    static let command: UInt64 = 5_000
    static let nextBlock: UInt64 = 1_000
    static let softReset: UInt64 = 50_000
}
