/// The local APIC's registers as MSRs 800h to 83Fh (Intel SDM volume 3, 10.12): register at offset n of the memory page is MSR
/// 800h + n / 16. What differs from there:
///
/// | MSR | what |
/// | --- | --- |
/// | 802 | ID, all 32 bits, read only |
/// | 80B, 828 | EOI and error status: only 0 may be written |
/// | 80D | logical destination, read only: cluster in bits 31–16, one bit of 15–0; 80E does not exist |
/// | 830 | interrupt command, 64 bits: destination in the upper half; 831 does not exist |
/// | 83F | self IPI, write only: a vector |
extension LocalAPIC {
    static let x2APICMSRs: ClosedRange<UInt32> = 0x800...0x83F

    private enum Index {
        static let id = 0x02, version = 0x03, processorPriority = 0x0A, endOfInterrupt = 0x0B
        static let logicalDestination = 0x0D, spurious = 0x0F, vectors = 0x10...0x27, errorStatus = 0x28
        static let command = 0x30, vectorTable = 0x32...0x37, initialCount = 0x38, currentCount = 0x39
        static let divider = 0x3E, selfInterrupt = 0x3F, taskPriority = 0x08
    }

    /// Bits that a write may set.
    private static func writable(_ index: Int) -> UInt64? {
        switch index {
        case Index.taskPriority: 0xFF
        case Index.endOfInterrupt, Index.errorStatus: 0
        case Index.spurious: 0x1FF
        case Index.command: 0xFFFF_FFFF_000C_CFFF
        case Index.vectorTable: 0x7_F7FF
        case Index.initialCount: 0xFFFF_FFFF
        case Index.divider: 0xB
        case Index.selfInterrupt: 0xFF
        default: nil
        }
    }

    /// Sixteen processors make a cluster (SDM vol. 3, 10.12.10.2).
    private var logicalID: UInt32 { (initialID >> 4) << 16 | 1 << (initialID & 15) }

    /// Does a message with this destination concern us in x2APIC mode?
    func matches(wide destination: UInt32, isLogical: Bool) -> Bool {
        if destination == ~0 { return true }
        guard isLogical else { return destination == initialID }
        return destination >> 16 == logicalID >> 16 && destination & logicalID & 0xFFFF != 0
    }

    /// RDMSR; nil: #GP.
    func readX2APIC(_ number: UInt32) -> UInt64? {
        guard isX2APIC else { return nil }
        let index = Int(number & 0x3F)
        switch index {
        case Index.id: return UInt64(initialID)
        case Index.logicalDestination: return UInt64(logicalID)
        case Index.command: return UInt64(readRegister(0x31)) << 32 | UInt64(readRegister(index))
        case Index.version, Index.taskPriority, Index.processorPriority, Index.spurious, Index.vectors,
            Index.errorStatus, Index.vectorTable, Index.initialCount, Index.currentCount, Index.divider:
            return UInt64(readRegister(index))
        default: return nil
        }
    }

    /// WRMSR; false: #GP.
    func writeX2APIC(_ number: UInt32, _ value: UInt64) -> Bool {
        let index = Int(number & 0x3F)
        guard isX2APIC, let mask = Self.writable(index), value & ~mask == 0 else { return false }
        switch index {
        case Index.command:
            writeCommand(low: UInt32(truncatingIfNeeded: value), high: UInt32(truncatingIfNeeded: value >> 32))
        case Index.selfInterrupt: deliver(vector: UInt8(value), mode: .fixed, isLevel: false)
        default: writeRegister(index, UInt32(truncatingIfNeeded: value))
        }
        return true
    }
}
