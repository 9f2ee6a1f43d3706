import Glibc

/// What the host's processor offers (SDM vol. 2, CPUID): translated code may hold nothing else.
enum HostFeatures {
    /// Found at first use, which must be before the process gives up making code.
    static let offered: CPUFeatureSet = {
        var set = CPUFeatureSet()
        #if arch(x86_64)
            // push rbx; mov eax, esi; mov ecx, edx; cpuid; mov [rdi], eax … edx; pop rbx; ret
            let code: [UInt8] = [
                0x53, 0x89, 0xF0, 0x89, 0xD1, 0x0F, 0xA2, 0x89, 0x07, 0x89, 0x5F, 0x04, 0x89, 0x4F, 0x08, 0x89, 0x57,
                0x0C, 0x5B, 0xC3,
            ]
            let bytes = 4096
            guard let page = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                page != MAP_FAILED
            else { return set }
            defer { munmap(page, bytes) }
            code.withUnsafeBytes { page.copyMemory(from: $0.baseAddress.unsafelyUnwrapped, byteCount: $0.count) }
            guard mprotect(page, bytes, PROT_READ | PROT_EXEC) == 0 else { return set }
            typealias Identify = @convention(c) (UnsafeMutablePointer<UInt32>, UInt32, UInt32) -> Void
            // SAFETY: the page holds a complete function of this signature, which writes four words.
            let identify = unsafeBitCast(page, to: Identify.self)
            var words: [UInt32] = [0, 0, 0, 0]
            func leaf(_ number: UInt32) -> [UInt32] {
                words.withUnsafeMutableBufferPointer { identify($0.baseAddress.unsafelyUnwrapped, number, 0) }
                return words
            }
            let first = leaf(1)
            let seventh = leaf(0)[0] >= 7 ? leaf(7) : [0, 0, 0, 0]
            let extended = leaf(0x8000_0000)[0] >= 0x8000_0001 ? leaf(0x8000_0001) : [0, 0, 0, 0]
            for (_, feature) in CPUFeature.names {
                let word =
                    switch feature.word {
                    case .leaf1ECX: first[2]
                    case .leaf1EDX: first[3]
                    case .leaf7EBX: seventh[1]
                    case .leaf7ECX: seventh[2]
                    case .extendedECX: extended[2]
                    case .extendedEDX: extended[3]
                    }
                set[feature] = word >> UInt32(feature.bit) & 1 != 0
            }
        #endif
        return set
    }()
}
