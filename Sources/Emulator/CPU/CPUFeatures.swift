/// One CPUID feature bit: leaf 1 ECX and EDX, leaf 7 EBX and ECX, leaf 8000_0001h ECX and EDX (SDM vol. 2, CPUID; AMD
/// APM vol. 3, E).
public struct CPUFeature: Hashable, Sendable {
    enum Word: Int, Sendable { case leaf1ECX, leaf1EDX, leaf7EBX, leaf7ECX, extendedECX, extendedEDX }
    let word: Word
    let bit: UInt8

    private init(_ word: Word, _ bit: UInt8) {
        self.word = word
        self.bit = bit
    }

    static let sse3 = Self(.leaf1ECX, 0), pclmulqdq = Self(.leaf1ECX, 1), monitor = Self(.leaf1ECX, 3)
    static let ssse3 = Self(.leaf1ECX, 9), fma = Self(.leaf1ECX, 12), cmpxchg16b = Self(.leaf1ECX, 13)
    static let pcid = Self(.leaf1ECX, 17), sse41 = Self(.leaf1ECX, 19), sse42 = Self(.leaf1ECX, 20)
    static let x2APIC = Self(.leaf1ECX, 21)
    static let movbe = Self(.leaf1ECX, 22), popcnt = Self(.leaf1ECX, 23), tscDeadline = Self(.leaf1ECX, 24)
    static let aes = Self(.leaf1ECX, 25), xsave = Self(.leaf1ECX, 26), avx = Self(.leaf1ECX, 28)
    static let f16c = Self(.leaf1ECX, 29), rdrand = Self(.leaf1ECX, 30), hypervisor = Self(.leaf1ECX, 31)

    static let fpu = Self(.leaf1EDX, 0), vme = Self(.leaf1EDX, 1), de = Self(.leaf1EDX, 2), pse = Self(.leaf1EDX, 3)
    static let tsc = Self(.leaf1EDX, 4), msr = Self(.leaf1EDX, 5), pae = Self(.leaf1EDX, 6), mce = Self(.leaf1EDX, 7)
    static let cmpxchg8b = Self(.leaf1EDX, 8), apic = Self(.leaf1EDX, 9), sysenter = Self(.leaf1EDX, 11)
    static let mtrr = Self(.leaf1EDX, 12), pge = Self(.leaf1EDX, 13), mca = Self(.leaf1EDX, 14)
    static let cmov = Self(.leaf1EDX, 15), pat = Self(.leaf1EDX, 16), pse36 = Self(.leaf1EDX, 17)
    static let clflush = Self(.leaf1EDX, 19), mmx = Self(.leaf1EDX, 23), fxsr = Self(.leaf1EDX, 24)
    static let sse = Self(.leaf1EDX, 25), sse2 = Self(.leaf1EDX, 26)

    static let fsgsbase = Self(.leaf7EBX, 0), bmi1 = Self(.leaf7EBX, 3), avx2 = Self(.leaf7EBX, 5)
    static let smep = Self(.leaf7EBX, 7), bmi2 = Self(.leaf7EBX, 8), erms = Self(.leaf7EBX, 9)
    static let invpcid = Self(.leaf7EBX, 10), rdseed = Self(.leaf7EBX, 18), adx = Self(.leaf7EBX, 19)
    static let smap = Self(.leaf7EBX, 20), clflushopt = Self(.leaf7EBX, 23), clwb = Self(.leaf7EBX, 24)
    static let sha = Self(.leaf7EBX, 29), umip = Self(.leaf7ECX, 2), rdpid = Self(.leaf7ECX, 22)

    static let lahf = Self(.extendedECX, 0), lzcnt = Self(.extendedECX, 5), prefetchw = Self(.extendedECX, 8)
    static let syscall = Self(.extendedEDX, 11), noExecute = Self(.extendedEDX, 20)
    static let gigabytePages = Self(.extendedEDX, 26), rdtscp = Self(.extendedEDX, 27),
        longMode = Self(.extendedEDX, 29)

    /// Names as QEMU's `-cpu` and /proc/cpuinfo write them.
    static let names: [(name: String, feature: CPUFeature)] = [
        ("sse3", .sse3), ("pclmulqdq", .pclmulqdq), ("monitor", .monitor), ("ssse3", .ssse3), ("fma", .fma),
        ("cx16", .cmpxchg16b), ("pcid", .pcid), ("x2apic", .x2APIC), ("sse4.1", .sse41), ("sse4.2", .sse42),
        ("movbe", .movbe),
        ("popcnt", .popcnt), ("tsc-deadline", .tscDeadline), ("aes", .aes), ("xsave", .xsave), ("avx", .avx),
        ("f16c", .f16c), ("rdrand", .rdrand), ("hypervisor", .hypervisor), ("fpu", .fpu), ("vme", .vme), ("de", .de),
        ("pse", .pse), ("tsc", .tsc), ("msr", .msr), ("pae", .pae), ("mce", .mce), ("cx8", .cmpxchg8b),
        ("apic", .apic), ("sep", .sysenter), ("mtrr", .mtrr), ("pge", .pge), ("mca", .mca), ("cmov", .cmov),
        ("pat", .pat), ("pse36", .pse36), ("clflush", .clflush), ("mmx", .mmx), ("fxsr", .fxsr), ("sse", .sse),
        ("sse2", .sse2), ("fsgsbase", .fsgsbase), ("bmi1", .bmi1), ("avx2", .avx2), ("smep", .smep), ("bmi2", .bmi2),
        ("erms", .erms), ("invpcid", .invpcid), ("rdseed", .rdseed), ("adx", .adx), ("smap", .smap), ("sha-ni", .sha),
        ("clflushopt", .clflushopt), ("clwb", .clwb), ("rdpid", .rdpid),
        ("umip", .umip), ("lahf-lm", .lahf), ("abm", .lzcnt), ("3dnowprefetch", .prefetchw), ("syscall", .syscall),
        ("nx", .noExecute), ("pdpe1gb", .gigabytePages), ("rdtscp", .rdtscp), ("lm", .longMode),
    ]
}

/// A set of feature bits, as the words of CPUID hold them.
public struct CPUFeatureSet: Sendable {
    private var words = InlineArray<6, UInt32>(repeating: 0)

    init() {}
    init(_ features: some Sequence<CPUFeature>) { for feature in features { self[feature] = true } }

    /// Everything: for whoever decodes without a processor.
    static let all: CPUFeatureSet = {
        var set = CPUFeatureSet()
        set.words = InlineArray(repeating: ~0)
        return set
    }()

    subscript(_ feature: CPUFeature) -> Bool {
        @inline(__always) get { words[feature.word.rawValue] >> UInt32(feature.bit) & 1 != 0 }
        set {
            let mask = UInt32(1) << UInt32(feature.bit)
            if newValue { words[feature.word.rawValue] |= mask } else { words[feature.word.rawValue] &= ~mask }
        }
    }

    func word(_ word: CPUFeature.Word) -> UInt32 { words[word.rawValue] }
}

/// What CPUID shows and therefore what may execute. The default is x86-64-v2, the level that Debian 12 and its
/// successors are built for.
public struct CPUFeatures: Sendable {
    public enum Vendor: String, Sendable {
        case intel = "GenuineIntel"
        case amd = "AuthenticAMD"
    }

    /// Decides where SYSCALL and SYSENTER exist and which vendor leaves CPUID has.
    public var vendor = Vendor.intel
    /// CPUID leaf 1 EAX and EDX after reset. The default, family 6 model 28 (a Bonnell Atom), executes in order without
    /// speculation, as we do: kernels leave out every mitigation of speculation on it, page-table isolation and
    /// retpolines included.
    public var signature: UInt32 = 0x0001_06CA
    /// At most 48 characters.
    public var brand = "labctl Virtual CPU"
    /// Rate of the time-stamp counter.
    public var tscKilohertz: UInt32 = 1_000_000
    /// Rate at which the local APIC's timer counts before its divider.
    public var busKilohertz: UInt32 = 1_000_000
    /// CPUID 8000_0008h.
    public var physicalAddressBits: UInt8 = 40
    /// What there is.
    private(set) var offered = CPUFeatureSet()

    public init() {
        let level2: [CPUFeature] = [
            .fpu, .vme, .de, .pse, .tsc, .msr, .pae, .mce, .cmpxchg8b, .apic, .sysenter, .mtrr, .pge, .mca, .cmov, .pat,
            .pse36, .clflush, .mmx, .fxsr, .sse, .sse2, .sse3, .ssse3, .cmpxchg16b, .sse41, .sse42, .popcnt,
            .tscDeadline, .x2APIC, .hypervisor, .fsgsbase, .lahf, .syscall, .noExecute, .rdtscp, .longMode, .smep,
            .umip,
        ]
        for feature in level2 { set(feature, true) }
    }

    func has(_ feature: CPUFeature) -> Bool { offered[feature] }
    mutating func set(_ feature: CPUFeature, _ value: Bool) { offered[feature] = value }
    func word(_ word: CPUFeature.Word) -> UInt32 { offered.word(word) }
}
