import Glibc

/// Firmware in memory of its own that the guest executes from: page-aligned, whole pages.
final class FirmwareROM {
    let base: UnsafeMutableRawPointer
    let sizeBytes: Int

    /// - Parameter contents: right-aligned in whole pages of 4096 bytes, as the end of a BIOS is at the end of memory.
    init(contents: [UInt8]) {
        sizeBytes = (contents.count + 4095) & ~4095
        base = UnsafeMutableRawPointer.allocate(byteCount: sizeBytes, alignment: 4096)
        // SAFETY: the allocation has sizeBytes bytes, at least as many as the contents.
        memset(base, 0xFF, sizeBytes)
        contents.withUnsafeBytes { bytes in
            (base + (sizeBytes - bytes.count)).copyMemory(
                from: bytes.baseAddress ?? UnsafeRawPointer(base), byteCount: bytes.count)
        }
    }

    deinit { base.deallocate() }
}

/// Finds and reads the firmware files that Debian's `seabios` package installs.
enum FirmwareLoader {
    static let directories = ["/usr/share/seabios", "/usr/share/qemu"]
    static let systemBIOS = "bios-256k.bin"
    static let vgaBIOS = "vgabios-stdvga.bin"
    /// The largest ROM that leaves the I/O APIC's page alone.
    private static let maximumBytes = 16 << 20

    /// The system BIOS: `path`, or SeaBIOS where Debian puts it.
    static func loadSystemBIOS(path: String?) throws(MachineError) -> FirmwareROM {
        let file: String
        if let path { file = path } else { file = try find(systemBIOS) }
        let contents = try HostFile.contents(of: file, maximumBytes: maximumBytes)
        guard contents.count >= 0x1_0000, contents.count % 0x1_0000 == 0 else {
            throw .badFile(
                path: file, reason: "a BIOS is a multiple of 64 KiB long, this file has \(contents.count) bytes")
        }
        return FirmwareROM(contents: contents)
    }

    /// The VGA BIOS for the display's expansion ROM.
    static func loadVGABIOS() throws(MachineError) -> [UInt8] {
        try HostFile.contents(of: find(vgaBIOS), maximumBytes: 1 << 20)
    }

    private static func find(_ name: String) throws(MachineError) -> String {
        for directory in directories where access("\(directory)/\(name)", R_OK) == 0 { return "\(directory)/\(name)" }
        throw .badFile(
            path: "\(directories[0])/\(name)",
            reason: "the firmware is not there; install it with `apt-get install seabios` or name another with -bios")
    }
}
