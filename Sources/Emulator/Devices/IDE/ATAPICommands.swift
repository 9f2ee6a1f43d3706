/// Packet commands of a CD/DVD-ROM drive (MMC-5 and SPC-3), by operation code.
enum PacketCommand: UInt8 {
    case testUnitReady = 0x00
    case requestSense = 0x03
    case inquiry = 0x12
    case startStop = 0x1B
    case preventAllow = 0x1E
    case readCapacity = 0x25
    case read10 = 0x28
    case seek = 0x2B
    case readTOC = 0x43
    case getConfiguration = 0x46
    case getEventStatus = 0x4A
    case readDiscInformation = 0x51
    case modeSense10 = 0x5A
    case read12 = 0xA8
    case readDVDStructure = 0xAD
    case setSpeed = 0xBB
    case mechanismStatus = 0xBD
    case readCD = 0xBE

    /// May run while a unit attention waits (MMC-5, 4.1.6.1).
    var ignoresUnitAttention: Bool {
        switch self {
        case .requestSense, .inquiry, .getConfiguration, .getEventStatus: true
        default: false
        }
    }

    var needsMedium: Bool {
        switch self {
        case .testUnitReady, .readCapacity, .read10, .read12, .seek, .readTOC, .readDiscInformation, .readCD,
            .readDVDStructure:
            true
        default: false
        }
    }
}

extension ATAPIDrive {
    /// Discs longer than this (80 minutes) are DVDs.
    private static let maximumCDBlocks: UInt64 = 80 * 60 * 75
    private var isDVD: Bool { totalBlocks > Self.maximumCDBlocks }

    func executePacket(_ packet: [UInt8]) {
        guard let command = PacketCommand(rawValue: packet[0]) else { return fail(.invalidOperation) }
        if let attention = unitAttention, !command.ignoresUnitAttention {
            unitAttention = nil
            return fail(attention)
        }
        if command == .requestSense {
            let answer = sense == .none ? unitAttention ?? .none : sense
            if sense == .none { unitAttention = nil }
            sense = .none
            return reply(answer.bytes, limit: Int(packet[4]))
        }
        sense = .none
        if command.needsMedium, loadedDisc == nil { return fail(isTrayOpen ? .trayOpen : .noMedium) }
        switch command {
        case .testUnitReady, .setSpeed: succeed()
        case .requestSense: break
        case .inquiry: inquiry(packet)
        case .startStop: startStop(packet)
        case .preventAllow:
            isLocked = packet[4] & 1 != 0
            succeed()
        case .readCapacity:
            reply(be32(UInt32(clamping: totalBlocks == 0 ? 0 : totalBlocks - 1)) + be32(2048), limit: 8)
        case .read10: readSectors(lba: get32(packet, 2), count: Int(get16(packet, 7)), layout: .userData)
        case .read12: readSectors(lba: get32(packet, 2), count: Int(get32(packet, 6)), layout: .userData)
        case .readCD: readCD(packet)
        case .seek: UInt64(get32(packet, 2)) < totalBlocks ? succeed() : fail(.addressOutOfRange)
        case .readTOC: readTOC(packet)
        case .getConfiguration: getConfiguration(packet)
        case .getEventStatus: getEventStatus(packet)
        case .readDiscInformation: readDiscInformation(packet)
        case .modeSense10: modeSense(packet)
        case .readDVDStructure: readDVDStructure(packet)
        case .mechanismStatus:
            reply([0, isTrayOpen ? 0x10 : 0, 0, 0, 0, 1, 0, 0], limit: Int(get16(packet, 8)))
        }
    }

    // MARK: Reading

    private func readSectors(lba: UInt32, count: Int, layout: CDSectorLayout) {
        if count == 0 { return succeed() }
        guard UInt64(lba) < totalBlocks, UInt64(count) <= totalBlocks - UInt64(lba) else {
            return fail(.addressOutOfRange)
        }
        replySectors(from: UInt64(lba), count: count, layout: layout)
    }

    private func readCD(_ packet: [UInt8]) {
        let count = Int(packet[6]) << 16 | Int(get16(packet, 7))
        // Byte 9: which parts of the sector; Mode 1 sectors exist only as user data alone or whole.
        switch packet[9] & 0xF8 {
        case 0x00: succeed()
        case 0x10: readSectors(lba: get32(packet, 2), count: count, layout: .userData)
        case 0xF8: readSectors(lba: get32(packet, 2), count: count, layout: .raw)
        default: fail(.invalidField)
        }
    }

    private func startStop(_ packet: [UInt8]) {
        let loadEject = packet[4] & 2 != 0
        let start = packet[4] & 1 != 0
        // Power conditions in the high nibble have nothing to act on.
        if packet[4] & 0xF0 != 0 || !loadEject { return succeed() }
        if !start, isLocked, !isTrayOpen { return fail(.removalPrevented) }
        moveTray(open: !start)
        succeed()
    }

    // MARK: Describing the drive

    private func inquiry(_ packet: [UInt8]) {
        let limit = Int(get16(packet, 3))
        if packet[1] & 1 != 0 { return vitalProductData(page: packet[2], limit: limit) }
        guard packet[2] == 0 else { return fail(.invalidField) }
        var data: [UInt8] = [0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0]
        data += SCSIInquiry.field(SCSIInquiry.vendor, 8) + SCSIInquiry.field(SCSIInquiry.product, 16)
        data += SCSIInquiry.field(ATADisk.firmware, 4)
        reply(data, limit: limit)
    }

    private func vitalProductData(page: UInt8, limit: Int) {
        switch page {
        case 0x00: reply([0x05, 0x00, 0, 2, 0x00, 0x83], limit: limit)
        case 0x83:
            // One vendor-specific designator in ASCII: the serial number.
            let name = Array(serial.utf8.prefix(20))
            let designator: [UInt8] = [0x02, 0x00, 0, UInt8(name.count)] + name
            reply([0x05, 0x83, 0, UInt8(designator.count)] + designator, limit: limit)
        default: fail(.invalidField)
        }
    }

    private func modeSense(_ packet: [UInt8]) {
        guard packet[2] >> 6 != 3 else { return fail(.savingNotSupported) }
        let wanted = packet[2] & 0x3F
        let pages = modePages.filter { wanted == 0x3F || $0[0] == wanted }.joined()
        guard !pages.isEmpty else { return fail(.invalidField) }
        // Medium type: 01h data disc, 70h door closed without disc, 71h door open.
        let medium: UInt8 = isTrayOpen ? 0x71 : disc == nil ? 0x70 : 0x01
        reply(be16(UInt16(6 + pages.count)) + [medium, 0, 0, 0, 0, 0] + pages, limit: Int(get16(packet, 7)))
    }

    private var modePages: [[UInt8]] {
        // 01h error recovery: five retries. 0Eh audio control. 2Ah capabilities: reads CD-R/RW/DVD, locks, ejects,
        // tray, 706 kB/s (4×), 512 KiB buffer.
        [
            [0x01, 6, 0, 5, 0, 0, 0, 0],
            [0x0E, 14, 4, 0, 0, 0, 0, 0, 1, 0xFF, 2, 0xFF, 0, 0, 0, 0],
            [0x2A, 18, 0x3B, 0, 0x70, 0x60, 0x29 | (isLocked ? 2 : 0), 0] + be16(706) + be16(2) + be16(512)
                + be16(706) + [0, 0, 0, 0, 0, 0],
        ]
    }

    private func getConfiguration(_ packet: [UInt8]) {
        let filter = packet[1] & 3
        guard filter != 3 else { return fail(.invalidField) }
        let start = get16(packet, 2)
        let hasDisc = loadedDisc != nil
        let profile: UInt16 = !hasDisc ? 0 : isDVD ? 0x10 : 0x08
        func feature(_ code: UInt16, version: UInt8, current: Bool, persistent: Bool, _ data: [UInt8]) -> Feature {
            let flags = version << 2 | (persistent ? 2 : 0) | (current ? 1 : 0)
            return Feature(code: code, isCurrent: current, bytes: be16(code) + [flags, UInt8(data.count)] + data)
        }
        let features = [
            // Profiles, the highest first: DVD-ROM and CD-ROM.
            feature(
                0x0000, version: 0, current: true, persistent: true,
                be16(0x10) + [profile == 0x10 ? 1 : 0, 0] + be16(0x08) + [profile == 0x08 ? 1 : 0, 0]),
            // Core: ATAPI, device busy events.
            feature(0x0001, version: 2, current: true, persistent: true, be32(2) + [1, 0, 0, 0]),
            // Removable medium: tray, ejects, locks.
            feature(0x0003, version: 0, current: true, persistent: true, [0x29, 0, 0, 0]),
            feature(0x0010, version: 0, current: hasDisc, persistent: false, be32(2048) + be16(1) + [1, 0]),
            feature(0x001E, version: 2, current: profile == 0x08, persistent: false, [0, 0, 0, 0]),
            feature(0x001F, version: 1, current: profile == 0x10, persistent: false, [0, 0, 0, 0]),
        ]
        let chosen = features.filter { row in
            switch filter {
            case 0: row.code >= start
            case 1: row.code >= start && row.isCurrent
            default: row.code == start
            }
        }
        let body = [0, 0] + be16(profile) + chosen.flatMap(\.bytes)
        reply(be32(UInt32(body.count)) + body, limit: Int(get16(packet, 7)))
    }

    private struct Feature {
        let code: UInt16
        let isCurrent: Bool
        let bytes: [UInt8]
    }

    private func getEventStatus(_ packet: [UInt8]) {
        // Only polled notification exists on ATAPI.
        guard packet[1] & 1 != 0 else { return fail(.invalidField) }
        let mediaClass: UInt8 = 4
        let limit = Int(get16(packet, 7))
        guard packet[4] & 1 << mediaClass != 0 else { return reply([0, 2, 0x80, 1 << mediaClass], limit: limit) }
        let state: UInt8 = (isTrayOpen ? 1 : 0) | (loadedDisc != nil ? 2 : 0)
        let event = mediaEvent
        mediaEvent = .none
        reply([0, 6, mediaClass, 1 << mediaClass, event.rawValue, state, 0, 0], limit: limit)
    }

    // MARK: Describing the disc

    private func readDiscInformation(_ packet: [UInt8]) {
        guard packet[1] & 7 == 0 else { return fail(.invalidField) }
        var data = [UInt8](repeating: 0, count: 34)
        data[1] = 32
        // Finalised disc, last session complete; one session with one track; unrestricted use.
        data[2] = 0x0E
        data[3] = 1
        data[4] = 1
        data[5] = 1
        data[6] = 1
        data[7] = 0x20
        reply(data, limit: Int(get16(packet, 7)))
    }

    /// READ TOC/PMA/ATIP: one data track and the lead-out (MMC-5, 6.26).
    private func readTOC(_ packet: [UInt8]) {
        let isMSF = packet[1] & 2 != 0
        // Drivers older than MMC put the format into the last byte.
        let format = packet[2] & 0x0F != 0 ? packet[2] & 0x0F : packet[9] >> 6
        let first = packet[6]
        let limit = Int(get16(packet, 7))
        func place(_ lba: UInt64) -> [UInt8] {
            guard isMSF else { return be32(UInt32(clamping: lba)) }
            let time = CDSectorLayout.msf(lba)
            return [0, time.minute, time.second, time.frame]
        }
        switch format {
        case 0:
            guard first <= 1 || first == 0xAA else { return fail(.invalidField) }
            let track: [UInt8] = first <= 1 ? [0, 0x14, 1, 0] + place(0) : []
            let leadOut: [UInt8] = [0, 0x16, 0xAA, 0] + place(totalBlocks)
            let body = [1, 1] + track + leadOut
            reply(be16(UInt16(body.count)) + body, limit: limit)
        case 1:
            reply([0, 10, 1, 1, 0, 0x14, 1, 0] + place(0), limit: limit)
        case 2:
            // Points A0 (first track), A1 (last track), A2 (lead-out), 1; the address is always MSF here.
            let end = CDSectorLayout.msf(totalBlocks)
            let start = CDSectorLayout.msf(0)
            let rows: [[UInt8]] = [
                [1, 0x14, 0, 0xA0, 0, 0, 0, 0, 1, 0, 0],
                [1, 0x14, 0, 0xA1, 0, 0, 0, 0, 1, 0, 0],
                [1, 0x14, 0, 0xA2, 0, 0, 0, 0, end.minute, end.second, end.frame],
                [1, 0x14, 0, 1, 0, 0, 0, 0, start.minute, start.second, start.frame],
            ]
            let body = [1, 1] + Array(rows.joined())
            reply(be16(UInt16(body.count)) + body, limit: limit)
        default: fail(.invalidField)
        }
    }

    private func readDVDStructure(_ packet: [UInt8]) {
        guard isDVD else { return fail(.incompatibleFormat) }
        guard packet[1] & 0x0F == 0, packet[6] == 0 else { return fail(.invalidField) }
        let body: [UInt8]
        switch packet[7] {
        case 0x00:
            // Physical format: DVD-ROM, 120 mm, one layer; data from 30000h to the end.
            var layer = [UInt8](repeating: 0, count: 2048)
            layer[0] = 1
            layer[1] = 0x0F
            layer[2] = 1
            let last = UInt32(clamping: totalBlocks - 1)
            layer.replaceSubrange(4..<8, with: be32(0x30000))
            layer.replaceSubrange(8..<12, with: be32(0x30000 &+ last))
            body = layer
        case 0x01: body = [0, 0, 0, 0]
        case 0x04: body = [UInt8](repeating: 0, count: 2048)
        case 0xFF:
            // The formats that exist: code, "readable", length of the answer.
            let formats: [(code: UInt8, length: UInt16)] = [(0x00, 2052), (0x01, 8), (0x04, 2052), (0xFF, 20)]
            body = formats.flatMap { [$0.code, 0x40] + be16($0.length) }
        default: return fail(.invalidField)
        }
        reply(be16(UInt16(body.count + 2)) + [0, 0] + body, limit: Int(get16(packet, 8)))
    }

    // MARK: Big-endian fields

    private func get16(_ bytes: [UInt8], _ at: Int) -> UInt16 { UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1]) }
    private func get32(_ bytes: [UInt8], _ at: Int) -> UInt32 {
        UInt32(get16(bytes, at)) << 16 | UInt32(get16(bytes, at + 2))
    }
    private func be16(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)] }
    private func be32(_ value: UInt32) -> [UInt8] {
        be16(UInt16(value >> 16)) + be16(UInt16(truncatingIfNeeded: value))
    }
}
