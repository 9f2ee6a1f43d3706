/// Command codes of ATA/ATAPI-6, clause 8, that a disk knows, and how each one that moves sectors does it.
enum ATACommand: UInt8 {
    case nop = 0x00
    case dataSetManagement = 0x06
    case deviceReset = 0x08
    case recalibrate = 0x10
    case readSectors = 0x20
    case readSectorsNoRetry = 0x21
    case readSectorsExt = 0x24
    case readDMAExt = 0x25
    case readNativeMaxExt = 0x27
    case readMultipleExt = 0x29
    case writeSectors = 0x30
    case writeSectorsNoRetry = 0x31
    case writeSectorsExt = 0x34
    case writeDMAExt = 0x35
    case writeMultipleExt = 0x39
    case writeVerify = 0x3C
    case writeDMAFUAExt = 0x3D
    case verify = 0x40
    case verifyNoRetry = 0x41
    case verifyExt = 0x42
    case seek = 0x70
    case executeDiagnostics = 0x90
    case initializeParameters = 0x91
    case standbyImmediateOld = 0x94
    case idleImmediateOld = 0x95
    case standbyOld = 0x96
    case idleOld = 0x97
    case checkPowerOld = 0x98
    case sleepOld = 0x99
    case packet = 0xA0
    case identifyPacket = 0xA1
    case smart = 0xB0
    case readMultiple = 0xC4
    case writeMultiple = 0xC5
    case setMultiple = 0xC6
    case readDMA = 0xC8
    case readDMANoRetry = 0xC9
    case writeDMA = 0xCA
    case writeDMANoRetry = 0xCB
    case writeMultipleFUAExt = 0xCE
    case standbyImmediate = 0xE0
    case idleImmediate = 0xE1
    case standby = 0xE2
    case idle = 0xE3
    case checkPower = 0xE5
    case sleep = 0xE6
    case flush = 0xE7
    case flushExt = 0xEA
    case identify = 0xEC
    case setFeatures = 0xEF
    case readNativeMax = 0xF8
}

/// How a command moves sectors.
struct ATATransfer: Equatable {
    enum Kind: UInt8 { case read = 0, write, verify }
    /// Through the data port one sector at a time, as many as SET MULTIPLE said, or by the bus master.
    enum Path: UInt8 { case sectors = 0, multiple, dma }

    let kind: Kind
    let path: Path
    let isExt: Bool
    /// The data must be durable before the command ends.
    let forcesUnitAccess: Bool

    private static let rows: [(commands: [ATACommand], transfer: ATATransfer)] = [
        ([.readSectors, .readSectorsNoRetry], .init(.read, .sectors)),
        ([.readSectorsExt], .init(.read, .sectors, ext: true)),
        ([.readMultiple], .init(.read, .multiple)),
        ([.readMultipleExt], .init(.read, .multiple, ext: true)),
        ([.readDMA, .readDMANoRetry], .init(.read, .dma)),
        ([.readDMAExt], .init(.read, .dma, ext: true)),
        ([.writeSectors, .writeSectorsNoRetry, .writeVerify], .init(.write, .sectors)),
        ([.writeSectorsExt], .init(.write, .sectors, ext: true)),
        ([.writeMultiple], .init(.write, .multiple)),
        ([.writeMultipleExt], .init(.write, .multiple, ext: true)),
        ([.writeMultipleFUAExt], .init(.write, .multiple, ext: true, fua: true)),
        ([.writeDMA, .writeDMANoRetry], .init(.write, .dma)),
        ([.writeDMAExt], .init(.write, .dma, ext: true)),
        ([.writeDMAFUAExt], .init(.write, .dma, ext: true, fua: true)),
        ([.verify, .verifyNoRetry], .init(.verify, .sectors)),
        ([.verifyExt], .init(.verify, .sectors, ext: true)),
    ]

    private init(_ kind: Kind, _ path: Path, ext: Bool = false, fua: Bool = false) {
        self.kind = kind
        self.path = path
        isExt = ext
        forcesUnitAccess = fua
    }

    /// All of it as a number: kind in bits 0–1, path in bits 2–3, LBA48 4, forced unit access 5.
    var code: UInt8 { kind.rawValue | path.rawValue << 2 | (isExt ? 0x10 : 0) | (forcesUnitAccess ? 0x20 : 0) }

    /// Nil for a number that stands for none.
    init?(code: UInt8) {
        guard let kind = Kind(rawValue: code & 3), let path = Path(rawValue: code >> 2 & 3) else { return nil }
        self.init(kind, path, ext: code & 0x10 != 0, fua: code & 0x20 != 0)
    }

    /// Nil for a command that moves no sectors.
    init?(_ command: ATACommand) {
        guard let row = Self.rows.first(where: { $0.commands.contains(command) }) else { return nil }
        self = row.transfer
    }
}
