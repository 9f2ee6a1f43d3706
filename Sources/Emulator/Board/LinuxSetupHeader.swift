/// The setup header of a bzImage (Linux Documentation/arch/x86/boot, "The Real-Mode Kernel Header").
///
/// | offset | size | field | offset | size | field |
/// | --- | --- | --- | --- | --- | --- |
/// | 1F1 | 1 | setup sectors, 0 means 4 | 22C | 4 | highest byte of the initrd (2.03) |
/// | 1FE | 2 | AA55 | 230 | 4 | alignment (2.05) |
/// | 202 | 4 | `HdrS` | 234 | 1 | relocatable (2.05) |
/// | 206 | 2 | protocol version | 238 | 4 | command-line bytes (2.06) |
/// | 211 | 1 | flags: 0 loaded high | 258 | 8 | preferred address (2.10) |
/// | 214 | 4 | 32-bit entry | 260 | 4 | memory needed while it unpacks (2.10) |
struct LinuxSetupHeader {
    private static let sectorBytes = 512
    /// What has to be read to know the header.
    static let prefixBytes = 0x280
    private static let defaultInitrdLimit: UInt32 = 0x37FF_FFFF

    let version: UInt16
    /// Bytes of boot sector and setup code in front of the protected-mode kernel.
    let setupBytes: Int
    /// Where the protected-mode kernel goes; it is entered at its first byte.
    let loadAddress: UInt32
    /// Memory that the kernel uses from `loadAddress` on before it looks at the memory map; 0 unknown.
    let initBytes: UInt32
    let initrdLimit: UInt32
    let commandLineLimit: Int
    /// The header itself, from 1F1, to be copied into the boot parameters.
    let bytes: [UInt8]

    /// Whether a file has the header, of whatever version.
    static func isPresent(in path: String) throws(MachineError) -> Bool {
        let prefix = try HostFile(path).read(0x206, at: 0)
        return prefix.count == 0x206 && Array(prefix[0x202...]) == Array("HdrS".utf8)
    }

    /// - Parameter prefix: the file's first `prefixBytes` bytes.
    /// - Throws: `badFile` when it is no bzImage, or one from before protocol 2.00.
    init(prefix: [UInt8], path: String) throws(MachineError) {
        func get<T: FixedWidthInteger>(_ offset: Int, _ type: T.Type) -> T {
            (0..<T.bitWidth / 8).reduce(0) { $0 | T(truncatingIfNeeded: UInt64(prefix[offset + $1]) << UInt64(8 * $1)) }
        }
        guard prefix.count >= Self.prefixBytes, get(0x1FE, UInt16.self) == 0xAA55,
            get(0x202, UInt32.self) == 0x5372_6448
        else { throw .badFile(path: path, reason: "not a Linux kernel (bzImage): the boot header is missing") }
        version = get(0x206, UInt16.self)
        guard version >= 0x0200, prefix[0x211] & 1 != 0 else {
            throw .badFile(path: path, reason: "this kernel loads low (zImage); only bzImages are supported")
        }
        let sectors = prefix[0x1F1] == 0 ? 4 : Int(prefix[0x1F1])
        setupBytes = (sectors + 1) * Self.sectorBytes
        let isRelocatable = version >= 0x020A && prefix[0x234] != 0
        let preferred = get(0x258, UInt64.self)
        loadAddress = isRelocatable && preferred < 0x4000_0000 ? UInt32(max(preferred, 0x10_0000)) : 0x10_0000
        initBytes = version >= 0x020A ? get(0x260, UInt32.self) : 0
        initrdLimit = version >= 0x0203 ? get(0x22C, UInt32.self) : Self.defaultInitrdLimit
        commandLineLimit = version >= 0x0206 ? Int(get(0x238, UInt32.self)) : 255
        // The byte at 201 is a jump's displacement: the header ends where it lands.
        let end = min(0x202 + Int(prefix[0x201]), Self.prefixBytes)
        bytes = Array(prefix[0x1F1..<max(end, 0x1F1)])
    }
}
