/// CPUID leaves (SDM vol. 2, CPUID; AMD APM vol. 3, appendix E; hypervisor leaves as VMware and KVM define them).
struct CPUIDResult: Equatable {
    var eax: UInt32 = 0, ebx: UInt32 = 0, ecx: UInt32 = 0, edx: UInt32 = 0
}

extension CPU {
    private static let highestBasic: UInt32 = 0x16
    private static let highestHypervisor: UInt32 = 0x4000_0010
    private static let highestExtended: UInt32 = 0x8000_0008
    /// Twelve characters in EBX, ECX, EDX of leaf 4000_0000h: who runs this machine.
    private static let hypervisorSignature = "labctlVMlab "

    func cpuid(_ leaf: UInt32, _ subleaf: UInt32) -> CPUIDResult {
        switch leaf {
        case 0x4000_0000...0x4000_00FF where features.has(.hypervisor): return hypervisorLeaf(leaf)
        case 0x8000_0000...0x8000_FFFF: return extendedLeaf(leaf)
        // Beyond the last leaf Intel answers with the last one, which holds nothing that could be mistaken.
        default: return leaf > Self.highestBasic ? CPUIDResult() : basicLeaf(leaf, subleaf)
        }
    }

    private func basicLeaf(_ leaf: UInt32, _ subleaf: UInt32) -> CPUIDResult {
        switch leaf {
        case 0:
            let name = Self.words(features.vendor.rawValue)
            return CPUIDResult(eax: Self.highestBasic, ebx: name[0], ecx: name[2], edx: name[1])
        case 1:
            // OSXSAVE mirrors CR4; CLFLUSH works on lines of 8 * 8 bytes; APIC ID and logical processors of the package.
            var ecx = features.word(.leaf1ECX)
            if state.pointee.cr4 & CR4.osxsave != 0 { ecx |= 1 << 27 }
            var edx = features.word(.leaf1EDX)
            if let base = readDeviceMSR(0x1B), base & 0x800 == 0 { edx &= ~(1 << 9) }
            if topology.threadsPerSocket > 1 { edx |= 1 << 28 }
            let ebx = apicID << 24 | UInt32(topology.threadsPerSocket) << 16 | 0x0800
            return CPUIDResult(eax: features.signature, ebx: ebx, ecx: ecx, edx: edx)
        case 2 where features.vendor == .intel:
            // Descriptor FFh: see leaf 4.
            return CPUIDResult(eax: 0x00FF_FF01)
        case 4 where features.vendor == .intel: return cacheLeaf(subleaf)
        case 7 where subleaf == 0:
            return CPUIDResult(ebx: features.word(.leaf7EBX), ecx: features.word(.leaf7ECX))
        case 0xB where features.has(.x2APIC):
            return topologyLeaf(subleaf)
        case 0xD where features.has(.xsave): return extendedStateLeaf(subleaf)
        case 0x15:
            // TSC = crystal * EBX / EAX, so that a kernel knows both rates without measuring them. In lowest terms:
            // Linux
            // multiplies in 32 bits.
            let divisor = Self.greatestCommonDivisor(features.busKilohertz, features.tscKilohertz)
            return CPUIDResult(
                eax: features.busKilohertz / divisor, ebx: features.tscKilohertz / divisor,
                ecx: features.busKilohertz &* 1000)
        case 0x16:
            // Base, maximum and bus frequency in MHz; without it kernels time the processor against the PIT.
            let megahertz = features.tscKilohertz / 1000
            return CPUIDResult(eax: megahertz, ebx: megahertz, ecx: 100)
        default: return CPUIDResult()
        }
    }

    private static func greatestCommonDivisor(_ a: UInt32, _ b: UInt32) -> UInt32 {
        b == 0 ? max(a, 1) : greatestCommonDivisor(b, a % b)
    }

    /// Threads, then cores: how far to shift the x2APIC ID, which is in EDX, for the next level's; how many there are below it.
    private func topologyLeaf(_ subleaf: UInt32) -> CPUIDResult {
        switch subleaf {
        case 0:
            return CPUIDResult(
                eax: topology.threadBits, ebx: UInt32(topology.threadsPerCore), ecx: 1 << 8, edx: apicID)
        case 1:
            return CPUIDResult(
                eax: topology.socketShift, ebx: UInt32(topology.threadsPerSocket), ecx: 1 | 2 << 8, edx: apicID)
        default: return CPUIDResult(ecx: subleaf & 0xFF, edx: apicID)
        }
    }

    private var apicID: UInt32 { topology.apicID(of: index) }

    /// 32 KiB L1 data and code, 512 KiB unified L2; 8 ways, 64-byte lines.
    private func cacheLeaf(_ subleaf: UInt32) -> CPUIDResult {
        let (kind, level, sets): (UInt32, UInt32, UInt32)
        switch subleaf {
        case 0: (kind, level, sets) = (1, 1, 64)
        case 1: (kind, level, sets) = (2, 1, 64)
        case 2: (kind, level, sets) = (3, 2, 1024)
        default: return CPUIDResult()
        }
        let sharing = UInt32(topology.threadsPerCore - 1) << 14 | UInt32(topology.coresPerSocket - 1) << 26
        return CPUIDResult(eax: kind | level << 5 | 1 << 8 | sharing, ebx: 63 | 7 << 22, ecx: sets - 1, edx: 0)
    }

    /// XSAVE area: 512 bytes legacy, 64 bytes header, then 256 bytes of upper YMM halves.
    private func extendedStateLeaf(_ subleaf: UInt32) -> CPUIDResult {
        let hasAVX = features.has(.avx)
        switch subleaf {
        case 0:
            let enabled: UInt32 = state.pointee.xcr0 & 4 != 0 ? 832 : 576
            return CPUIDResult(eax: hasAVX ? 7 : 3, ebx: enabled, ecx: hasAVX ? 832 : 576, edx: 0)
        case 2 where hasAVX: return CPUIDResult(eax: 256, ebx: 576)
        default: return CPUIDResult()
        }
    }

    private func hypervisorLeaf(_ leaf: UInt32) -> CPUIDResult {
        switch leaf {
        case 0x4000_0000:
            let name = Self.words(Self.hypervisorSignature)
            return CPUIDResult(eax: Self.highestHypervisor, ebx: name[0], ecx: name[1], edx: name[2])
        case 0x4000_0010: return CPUIDResult(eax: features.tscKilohertz, ebx: features.busKilohertz)
        default: return CPUIDResult()
        }
    }

    private func extendedLeaf(_ leaf: UInt32) -> CPUIDResult {
        switch leaf {
        case 0x8000_0000:
            guard features.vendor == .amd else { return CPUIDResult(eax: Self.highestExtended) }
            let name = Self.words(features.vendor.rawValue)
            return CPUIDResult(eax: Self.highestExtended, ebx: name[0], ecx: name[2], edx: name[1])
        case 0x8000_0001:
            var edx = features.word(.extendedEDX)
            if features.vendor == .amd {
                // AMD repeats what leaf 1 says in the bits of the same numbers, but for SEP.
                edx |= features.word(.leaf1EDX) & 0x0183_F3FF
                // CmpLegacy: what leaf 1 counts are cores.
                let ecx = features.word(.extendedECX) | (topology.threadsPerSocket > 1 ? 2 : 0)
                return CPUIDResult(eax: features.signature, ecx: ecx, edx: edx)
            }
            // Intel shows SYSCALL in 64-bit mode only.
            if !state.pointee.is64Bit { edx &= ~(1 << 11) }
            return CPUIDResult(ecx: features.word(.extendedECX), edx: edx)
        case 0x8000_0002...0x8000_0004:
            let name = Self.words(features.brand, count: 12)
            let first = Int(leaf - 0x8000_0002) * 4
            return CPUIDResult(eax: name[first], ebx: name[first + 1], ecx: name[first + 2], edx: name[first + 3])
        case 0x8000_0005 where features.vendor == .amd:
            return CPUIDResult(eax: 0x01FF_01FF, ebx: 0x01FF_01FF, ecx: 0x2008_0140, edx: 0x2008_0140)
        case 0x8000_0006:
            // L2: 512 KiB, 8 ways (6), one line per tag, 64 bytes.
            return CPUIDResult(ecx: 0x0200_6140)
        case 0x8000_0007: return CPUIDResult(edx: features.has(.tsc) ? 1 << 8 : 0)
        case 0x8000_0008:
            let linear: UInt32 = features.has(.longMode) ? 48 : 32
            let cores = UInt32(topology.threadsPerSocket - 1) | topology.socketShift << 12
            return CPUIDResult(
                eax: linear << 8 | UInt32(features.physicalAddressBits), ecx: features.vendor == .amd ? cores : 0)
        default: return CPUIDResult()
        }
    }

    /// Text as little-endian words, padded with zeros.
    private static func words(_ text: String, count: Int = 3) -> [UInt32] {
        var words = [UInt32](repeating: 0, count: count)
        for (i, byte) in text.utf8.prefix(count * 4).enumerated() { words[i / 4] |= UInt32(byte) << UInt32(i % 4 * 8) }
        return words
    }
}
