/// A floppy command that moves sectors, and how far it has come.
struct FDCTransfer {
    /// What the host wrote: all that does not change follows from it.
    let commandBytes: [UInt8]
    let command: FDCCommand
    let drive: Int
    let cylinder: Int
    let fillByte: UInt8
    let size: UInt8
    let lastSector: UInt8
    private let isMultiTrack: Bool
    private let select: UInt8
    private var headField: UInt8
    private(set) var head: Int
    private(set) var sector: UInt8
    private var cylinderField: UInt8
    var sectorsLeftToFormat = 0
    private var status: (UInt8, UInt8, UInt8) = (0, 0, 0)

    /// - Parameter bytes: the whole command. Data commands: cylinder, head, sector, size, last sector, gap, length;
    ///   FORMAT: size, sectors, gap, fill byte.
    init(_ bytes: [UInt8]) {
        commandBytes = bytes
        command = FDCCommand.row(bytes[0]).command
        select = bytes[1] & 7
        drive = Int(bytes[1] & 3)
        head = Int(bytes[1] >> 2 & 1)
        isMultiTrack = bytes[0] & 0x80 != 0
        if command == .format {
            cylinder = 0
            cylinderField = 0
            headField = UInt8(head)
            sector = 1
            size = bytes[2]
            lastSector = bytes[3]
            sectorsLeftToFormat = Int(bytes[3])
            fillByte = bytes[5]
        } else {
            cylinder = Int(bytes[2])
            cylinderField = bytes[2]
            headField = bytes[3]
            // READ TRACK begins at the index hole.
            sector = command == .readTrack ? 1 : bytes[4]
            size = bytes[5]
            lastSector = bytes[6]
            fillByte = 0
        }
    }

    /// The same for bytes of a saved state, as many as the command has; nil when it moves no sectors.
    init?(checking bytes: [UInt8]) {
        switch FDCCommand.row(bytes[0]).command {
        case .read, .write, .verify, .readTrack, .format: self.init(bytes)
        default: return nil
        }
    }

    mutating func exchange(_ c: StateCoder) {
        c.field("headField", &headField)
        c.field("head", &head, in: 0...1)
        c.field("sector", &sector)
        c.field("cylinderField", &cylinderField)
        c.field("sectorsLeftToFormat", &sectorsLeftToFormat, in: 0...255)
        c.field("status0", &status.0)
        c.field("status1", &status.1)
        c.field("status2", &status.2)
    }

    var isWrite: Bool { command == .write || command == .format }
    /// The head in the sector's ID is the head that reads it.
    var headMatches: Bool { Int(headField) == head }
    var hasFailed: Bool { status.0 & FDCStatus.abnormal != 0 }

    mutating func fail(_ first: UInt8, _ second: UInt8 = 0) {
        status.0 |= FDCStatus.abnormal
        status.1 |= first
        status.2 |= second
    }

    /// Moves on to the next sector (table 5-8: the address after the last sector of a track).
    /// - Parameter terminated: the DMA controller signalled its terminal count.
    /// - Returns: true when the command is over.
    mutating func advance(terminated: Bool) -> Bool {
        if sector != lastSector {
            sector &+= 1
            return terminated
        }
        sector = 1
        if isMultiTrack {
            headField ^= 1
            if head == 0 {
                // Status 0 names the head that was used last.
                if !terminated { head = 1 }
                return terminated
            }
        }
        cylinderField &+= 1
        // The host wanted more than the track has; VERIFY and READ TRACK end there by design.
        if !terminated, command != .verify, command != .readTrack { fail(FDCStatus.endOfCylinder) }
        return true
    }

    var result: [UInt8] {
        [status.0 | select & 3 | UInt8(head) << 2, status.1, status.2, cylinderField, headField, sector, size]
    }
}

/// Channel 2 of the board's DMA controller.
final class FloppyDMAChannel: FloppyDMA {
    private static let channel = 2
    private let controller: DMA8237

    init(_ controller: DMA8237) { self.controller = controller }

    func deviceToMemory(_ data: UnsafeRawBufferPointer) -> (moved: Int, isTerminal: Bool) {
        let (count, isDone) = controller.write(Self.channel, from: data)
        return (count, isDone)
    }

    func memoryToDevice(_ data: UnsafeMutableRawBufferPointer) -> (moved: Int, isTerminal: Bool) {
        let (count, isDone) = controller.read(Self.channel, into: data)
        return (count, isDone)
    }
}

/// DMA channel 2 as the floppy controller sees it.
protocol FloppyDMA: AnyObject {
    /// Moves bytes to memory. `moved` may be less than offered: the channel is masked, or its count has run out, which
    /// `isTerminal` tells.
    func deviceToMemory(_ data: UnsafeRawBufferPointer) -> (moved: Int, isTerminal: Bool)
    /// Fills `data` from memory, with the same answer.
    func memoryToDevice(_ data: UnsafeMutableRawBufferPointer) -> (moved: Int, isTerminal: Bool)
}
