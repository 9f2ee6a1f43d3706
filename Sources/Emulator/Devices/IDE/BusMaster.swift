import Glibc

/// Bus Master IDE Controller, revision 1.0 (SFF-8038i): one channel's DMA engine.
///
/// | offset | size | register |
/// | --- | --- | --- |
/// | 0 | 1 | command: bit 0 start, bit 3 direction (1: into memory) |
/// | 2 | 1 | status: bit 0 active, 1 error (write 1 clears), 2 interrupt (write 1 clears), 5–6 drive is DMA capable |
/// | 4 | 4 | physical address of the descriptor table, bits 1:0 zero |
///
/// | descriptor offset | size | field |
/// | --- | --- | --- |
/// | 0 | 4 | physical address of the memory block, bit 0 zero |
/// | 4 | 2 | bytes, even; 0 means 65,536 |
/// | 6 | 2 | bit 15: last descriptor |
final class BusMaster {
    /// A table must not cross 64 KiB, which bounds a walk through one that has no end mark.
    static let maximumDescriptors = 65536 / 8

    private let memory: PhysicalMap
    /// Whether configuration space allows the function to master the bus.
    private let isAllowed: () -> Bool
    /// The host set the start bit.
    var started: () -> Void = {}
    private(set) var command: UInt8 = 0
    private(set) var status: UInt8 = 0
    private var table: UInt32 = 0

    private var nextDescriptor: UInt32 = 0
    private var descriptorsRead = 0
    private var isLastDescriptor = false
    private var blockAddress: UInt32 = 0
    private var blockLeft = 0

    init(memory: PhysicalMap, isAllowed: @escaping () -> Bool) {
        self.memory = memory
        self.isAllowed = isAllowed
    }

    var isActive: Bool { status & 1 != 0 }

    func reset() {
        command = 0
        status = 0
        table = 0
        rewind()
    }

    // MARK: Registers

    func read(_ offset: UInt16) -> UInt8 {
        switch offset {
        case 0: command
        case 2: status
        case 4...7: UInt8(truncatingIfNeeded: table >> (8 * UInt32(offset - 4)))
        default: 0xFF
        }
    }

    func write(_ offset: UInt16, _ value: UInt8) {
        switch offset {
        case 0:
            let wasStarted = command & 1 != 0
            command = value & 0x09
            if command & 1 == 0 {
                status &= ~1
            } else if !wasStarted {
                rewind()
                status |= 1
                started()
            }
        case 2: status = value & 0x60 | status & 1 | status & ~value & 0x06
        case 4...7:
            let shift = 8 * UInt32(offset - 4)
            table = (table & ~(0xFF << shift) | UInt32(value) << shift) & ~3
        default: break
        }
    }

    func interruptRaised() { status |= 4 }

    /// The transfer is over. The engine stays active when its descriptors describe more memory than the drive moved.
    func stop(leavingActive: Bool) { if !leavingActive { status &= ~1 } }

    /// Whether the descriptors describe more memory than has been moved.
    var hasMore: Bool { blockLeft > 0 || !isLastDescriptor }

    // MARK: Moving data

    /// Copies `data` to the memory that the descriptors name next; returns how many bytes there was room for.
    func copyToGuest(_ data: UnsafeRawBufferPointer) -> Int {
        walk(data.count) { address, done, count in
            memory.write(UInt64(address), from: UnsafeRawBufferPointer(rebasing: data[done..<done + count]))
        }
    }

    /// Fills `data` from the memory that the descriptors name next; returns how many bytes there were.
    func copyFromGuest(_ data: UnsafeMutableRawBufferPointer) -> Int {
        walk(data.count) { address, done, count in
            memory.read(UInt64(address), into: UnsafeMutableRawBufferPointer(rebasing: data[done..<done + count]))
        }
    }

    private func walk(_ length: Int, _ body: (UInt32, Int, Int) -> Void) -> Int {
        var done = 0
        while done < length {
            if blockLeft == 0, !fetchDescriptor() { break }
            let count = min(length - done, blockLeft)
            body(blockAddress, done, count)
            done += count
            blockLeft -= count
            blockAddress &+= UInt32(count)
        }
        return done
    }

    private func fetchDescriptor() -> Bool {
        guard isActive, isAllowed(), !isLastDescriptor, descriptorsRead < Self.maximumDescriptors else { return false }
        var raw: UInt64 = 0
        withUnsafeMutableBytes(of: &raw) { memory.read(UInt64(nextDescriptor), into: $0) }
        nextDescriptor &+= 8
        descriptorsRead += 1
        blockAddress = UInt32(truncatingIfNeeded: raw) & ~1
        let count = Int(raw >> 32 & 0xFFFE)
        blockLeft = count == 0 ? 65536 : count
        isLastDescriptor = raw >> 63 != 0
        return true
    }

    private func rewind() {
        nextDescriptor = table
        descriptorsRead = 0
        isLastDescriptor = false
        blockAddress = 0
        blockLeft = 0
    }
}

extension BusMaster {
    func exchange(_ c: StateCoder) {
        c.field("command", &command)
        c.field("status", &status)
        c.field("table", &table)
        c.field("nextDescriptor", &nextDescriptor)
        c.field("descriptorsRead", &descriptorsRead, in: 0...Self.maximumDescriptors)
        c.field("isLastDescriptor", &isLastDescriptor)
        c.field("blockAddress", &blockAddress)
        c.field("blockLeft", &blockLeft, in: 0...65536)
    }
}
