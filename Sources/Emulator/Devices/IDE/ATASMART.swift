/// SMART (ATA/ATAPI-6, 8.55): a disk that is always well.
///
/// | feature | subcommand |
/// | --- | --- |
/// | D0, D1 | read data, read thresholds |
/// | D2, D4 | attribute autosave, off-line test |
/// | D5 | read log: 0 directory, 1 error summary, 6 self-test |
/// | D8, D9, DA | enable, disable, return status |
extension ATADisk {
    private struct Attribute {
        let id: UInt8
        let flags: UInt8
        let value: UInt8
        let threshold: UInt8
    }

    private static let attributes = [
        Attribute(id: 1, flags: 0x03, value: 100, threshold: 6),
        Attribute(id: 3, flags: 0x03, value: 100, threshold: 0),
        Attribute(id: 4, flags: 0x02, value: 100, threshold: 20),
        Attribute(id: 5, flags: 0x03, value: 100, threshold: 36),
        Attribute(id: 9, flags: 0x03, value: 100, threshold: 0),
        Attribute(id: 12, flags: 0x03, value: 100, threshold: 0),
    ]

    func smart() {
        guard registers.lbaMid == 0x4F, registers.lbaHigh == 0xC2 else { return failLater(IDEError.abort) }
        let feature = registers.feature
        if feature == 0xD8 || feature == 0xD9 {
            setSMART(feature == 0xD8)
            return finishLater()
        }
        guard isSMARTOn else { return failLater(IDEError.abort) }
        switch feature {
        case 0xD0: sendBlock(smartData())
        case 0xD1: sendBlock(smartThresholds())
        case 0xD5:
            switch registers.lbaLow {
            case 0: sendBlock(logDirectory)
            case 1, 6: sendBlock(checked { $0[0] = 1 })
            default: failLater(IDEError.abort)
            }
        // Status "good" is the signature that the host wrote, left as it is.
        case 0xD2, 0xD4, 0xDA: finishLater()
        default: failLater(IDEError.abort)
        }
    }

    private func smartData() -> [UInt8] {
        checked { page in
            page[0] = 1
            for (index, attribute) in Self.attributes.enumerated() {
                let at = 2 + index * 12
                page[at] = attribute.id
                page[at + 1] = attribute.flags
                page[at + 3] = attribute.value
                page[at + 4] = attribute.value
            }
            // Off-line collection finished; off-line immediate and logs supported; test times in minutes.
            page[362] = 0x02
            page[367] = 0x01
            page[368] = 0x03
            page[370] = 0x01
            page[372] = 2
            page[373] = 54
        }
    }

    /// Version 1, then the length of each log in sectors: log 1 and log 6 have one.
    private var logDirectory: [UInt8] {
        block { page in
            for place in [0, 2, 12] { page[place] = 1 }
        }
    }

    private func smartThresholds() -> [UInt8] {
        checked { page in
            page[0] = 1
            for (index, attribute) in Self.attributes.enumerated() {
                page[2 + index * 12] = attribute.id
                page[3 + index * 12] = attribute.threshold
            }
        }
    }

    private func block(_ fill: (inout [UInt8]) -> Void) -> [UInt8] {
        var page = [UInt8](repeating: 0, count: 512)
        fill(&page)
        return page
    }

    /// The last byte makes the sum of all 512 zero.
    private func checked(_ fill: (inout [UInt8]) -> Void) -> [UInt8] {
        var page = block(fill)
        page[511] = 0 &- page.reduce(0, &+)
        return page
    }
}
