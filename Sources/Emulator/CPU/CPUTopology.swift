/// How the processors of a machine are packed: what `-smp` asks for, and what CPUID, the MADT and the APIC IDs say (SDM vol. 3,
/// 8.9.1).
///
/// An APIC ID is made of fields, each as wide as its largest number needs: package | core | thread. So the IDs have gaps where a
/// number is no power of two.
public struct CPUTopology: Sendable, Equatable {
    /// Most processors of a machine. Their IDs stay below 255, which means all of them.
    public static let maximumCount = 64

    public let sockets: Int
    public let coresPerSocket: Int
    public let threadsPerCore: Int

    public init(sockets: Int = 1, coresPerSocket: Int = 1, threadsPerCore: Int = 1) {
        self.sockets = max(sockets, 1)
        self.coresPerSocket = max(coresPerSocket, 1)
        self.threadsPerCore = max(threadsPerCore, 1)
    }

    /// Processors, as an operating system counts them.
    public var count: Int { sockets * coresPerSocket * threadsPerCore }
    var threadsPerSocket: Int { coresPerSocket * threadsPerCore }

    /// Bits of an APIC ID below the core's number, and below the package's.
    var threadBits: UInt32 { Self.bits(threadsPerCore) }
    var socketShift: UInt32 { threadBits + Self.bits(coresPerSocket) }

    private static func bits(_ count: Int) -> UInt32 { UInt32(Int.bitWidth - (count - 1).leadingZeroBitCount) }

    /// Where a processor sits, counting threads first.
    func place(of index: Int) -> (socket: Int, core: Int, thread: Int) {
        (index / threadsPerSocket, index / threadsPerCore % coresPerSocket, index % threadsPerCore)
    }

    func apicID(of index: Int) -> UInt32 {
        let place = place(of: index)
        return UInt32(place.socket) << socketShift | UInt32(place.core) << threadBits | UInt32(place.thread)
    }

    /// All APIC IDs are below.
    var apicIDLimit: UInt32 { apicID(of: count - 1) + 1 }
}
