/// The processors that `-cpu` and `cpu: { model }` name, as QEMU calls them.
///
/// | column | |
/// | --- | --- |
/// | name | QEMU's |
/// | vendor | I GenuineIntel, A AuthenticAMD |
/// | signature | family/model/stepping |
/// | level | what x86-64 psABI level it starts from: 32 is a 32-bit processor of `legacy` |
/// | features | more, and with `-` less; those that do not exist here are left out |
struct CPUModel: Sendable {
    let name: String
    let vendor: CPUFeatures.Vendor
    let signature: UInt32
    let brand: String
    let features: CPUFeatureSet

    /// Family, model and stepping as CPUID leaf 1 EAX has them (SDM vol. 2, CPUID, figure 3-6).
    static func signature(family: UInt32, model: UInt32, stepping: UInt32) -> UInt32 {
        let base = min(family, 15), extended = family - base
        return extended << 20 | (model >> 4 & 15) << 16 | base << 8 | (model & 15) << 4 | stepping & 15
    }

    private static let text: StaticString = """
        486            I 4/8/0     32 -cx8 -tsc -msr -pae -pge -cmov -mmx -fxsr -sse -sse2 -mtrr -mca -mce -sep -pat -pse36 -pse -de -vme -apic -clflush
        pentium        I 5/4/3     32 -pae -pge -cmov -mmx -fxsr -sse -sse2 -mtrr -mca -sep -pat -pse36 -clflush
        pentium2       I 6/5/2     32 -sse -sse2 -clflush
        pentium3       I 6/7/3     32 -sse2 -clflush
        qemu32         I 6/6/3     32 sse3 hypervisor
        kvm32          I 15/6/1    32 sse3 hypervisor
        n270           I 6/28/2    32 sse3 ssse3 movbe nx
        coreduo        I 6/14/8    32 sse3 nx
        qemu64         A 15/107/1   1 sse3 cx16 lahf-lm hypervisor
        kvm64          I 15/6/1     1 sse3 cx16 hypervisor
        core2duo       I 6/15/11    1 sse3 ssse3 cx16 lahf-lm
        Conroe         I 6/15/3     1 sse3 ssse3 lahf-lm
        Penryn         I 6/23/3     1 sse3 ssse3 sse4.1 cx16 lahf-lm
        Nehalem        I 6/26/3     2
        Westmere       I 6/44/1     2 aes pclmulqdq
        SandyBridge    I 6/42/1     2 aes pclmulqdq tsc-deadline x2apic rdtscp xsave avx
        IvyBridge      I 6/58/9     2 aes pclmulqdq tsc-deadline x2apic rdtscp xsave avx f16c rdrand fsgsbase smep erms
        Haswell        I 6/60/4     3 aes pclmulqdq tsc-deadline x2apic rdtscp rdrand fsgsbase smep erms pcid invpcid
        Broadwell      I 6/61/2     3 aes pclmulqdq tsc-deadline x2apic rdtscp rdrand rdseed adx smap fsgsbase smep erms pcid invpcid 3dnowprefetch
        Skylake-Client I 6/94/3     3 aes pclmulqdq tsc-deadline x2apic rdtscp rdrand rdseed adx smap fsgsbase smep erms pcid invpcid 3dnowprefetch clflushopt
        Skylake-Server I 6/85/4     3 aes pclmulqdq tsc-deadline x2apic rdtscp rdrand rdseed adx smap fsgsbase smep erms pcid invpcid 3dnowprefetch clflushopt clwb pdpe1gb
        Denverton      I 6/95/1     2 aes pclmulqdq movbe tsc-deadline x2apic rdtscp rdrand rdseed smap fsgsbase smep erms sha-ni clflushopt 3dnowprefetch
        Opteron_G1     A 15/6/1     1 sse3
        Opteron_G2     A 15/6/1     1 sse3 cx16 lahf-lm
        Opteron_G3     A 16/2/3     1 sse3 cx16 lahf-lm popcnt abm monitor
        EPYC           A 23/1/2     3 aes pclmulqdq rdtscp rdrand rdseed adx smap fsgsbase smep sha-ni clflushopt pdpe1gb 3dnowprefetch
        x86-64-v1      I 6/28/10    1 hypervisor tsc-deadline x2apic
        x86-64-v2      I 6/28/10    2 hypervisor tsc-deadline x2apic rdtscp fsgsbase smep umip
        x86-64-v3      I 6/28/10    3 hypervisor tsc-deadline x2apic rdtscp fsgsbase smep umip
        """

    /// What every 32-bit processor since the Pentium 4 has, and what the levels of x86-64 add (x86-64 psABI, 3.1.1).
    private static let levels: [(level: Int, features: [CPUFeature])] = [
        (
            0,
            [
                .fpu, .vme, .de, .pse, .tsc, .msr, .pae, .mce, .cmpxchg8b, .apic, .sysenter, .mtrr, .pge, .mca, .cmov,
                .pat, .pse36, .clflush, .mmx, .fxsr, .sse, .sse2,
            ]
        ),
        (1, [.syscall, .noExecute, .longMode]),
        (2, [.sse3, .ssse3, .sse41, .sse42, .popcnt, .cmpxchg16b, .lahf]),
        (3, [.avx, .avx2, .bmi1, .bmi2, .f16c, .fma, .lzcnt, .movbe, .xsave]),
    ]

    /// Synonyms of rows, QEMU's version suffixes among them.
    private static let synonyms = ["x86-64": "x86-64-v1", "Skylake": "Skylake-Client", "base": "486"]

    /// Everything that is implemented, as our own processor.
    static let max = CPUModel(
        name: "max", vendor: .intel, signature: CPUFeatures().signature, brand: CPUFeatures().brand,
        features: CPUFeatures.supported)

    static let all: [CPUModel] = text.description.split(separator: "\n").compactMap { row(String($0)) } + [max]

    private static func row(_ line: String) -> CPUModel? {
        let words = line.split(separator: " ").map(String.init)
        guard words.count >= 4, let level = Int(words[3]) else { return nil }
        let numbers = words[2].split(separator: "/").compactMap { UInt32($0) }
        guard numbers.count == 3 else { return nil }
        var features = CPUFeatureSet()
        for (needed, list) in levels where needed == 0 || level < 32 && needed <= level {
            for feature in list { features[feature] = true }
        }
        for word in words[4...] {
            let isLess = word.hasPrefix("-")
            guard let feature = CPUFeature.named(isLess ? String(word.dropFirst()) : word) else { return nil }
            features[feature] = !isLess
        }
        return CPUModel(
            name: words[0], vendor: words[1] == "A" ? .amd : .intel,
            signature: signature(family: numbers[0], model: numbers[1], stepping: numbers[2]),
            brand: "labctl Virtual CPU (\(words[0]))", features: features)
    }

    /// A model by its name, in any case; `host` is `max`.
    static func named(_ name: String) -> CPUModel? {
        let plain = name.hasPrefix("x86-64") ? name : withoutSuffix(name)
        let wanted = (synonyms[plain] ?? plain).lowercased()
        if wanted == "host" { return max }
        return all.first { $0.name.lowercased() == wanted }
    }

    /// `Haswell-noTSX`, `Skylake-Client-v3`, `qemu64-v1`: variants that differ in nothing that exists here.
    private static func withoutSuffix(_ name: String) -> String {
        var parts = name.split(separator: "-").map(String.init)
        while parts.count > 1, let last = parts.last,
            ["noTSX", "IBRS", "IBPB"].contains(last) || last.first == "v" && Int(last.dropFirst()) != nil
        {
            parts.removeLast()
        }
        return parts.joined(separator: "-")
    }
}

/// A `-cpu` that cannot be followed.
public struct CPUModelError: Error, Equatable, CustomStringConvertible {
    public let description: String
}

extension CPUFeatures {
    /// What the emulator implements.
    static let supported: CPUFeatureSet = {
        var set = CPUFeatureSet(CPUFeature.names.map(\.feature))
        for feature in [CPUFeature.xsave, .avx, .avx2, .fma, .f16c] { set[feature] = false }
        return set
    }()

    /// A feature is left out with the one that it builds on.
    private static let bases: [(CPUFeature, CPUFeature)] = [
        (.mmx, .fpu), (.fxsr, .fpu), (.sse, .fxsr), (.sse2, .sse), (.sse3, .sse2), (.ssse3, .sse3), (.sse41, .ssse3),
        (.sse42, .sse41), (.aes, .sse2), (.pclmulqdq, .sse2), (.sha, .sse2), (.xsave, .fxsr), (.avx, .xsave),
        (.avx2, .avx), (.fma, .avx), (.f16c, .avx), (.cmpxchg16b, .cmpxchg8b), (.cmpxchg16b, .longMode),
        (.lahf, .longMode), (.pcid, .longMode), (.gigabytePages, .longMode), (.fsgsbase, .longMode), (.longMode, .pae),
        (.longMode, .msr), (.noExecute, .pae), (.syscall, .msr), (.sysenter, .msr), (.tsc, .msr), (.rdtscp, .tsc),
        (.rdpid, .rdtscp), (.tscDeadline, .apic), (.x2APIC, .apic), (.apic, .msr), (.mtrr, .msr), (.pat, .msr),
        (.mca, .msr), (.pse36, .pse),
    ]

    /// QEMU's properties that have nothing to set here.
    private static let ignored: Set<String> = [
        "migratable", "check", "enforce", "kvm", "host-cache-info", "l3-cache", "host-phys-bits", "topoext", "pmu",
        "kvmclock", "kvm-pv-eoi", "min-level", "tcg-cpuid", "fill-mtrr-mask", "svm", "vmx", "ht", "ss", "mmxext",
    ]

    /// QEMU's `-cpu`: a model, then `+feature`, `-feature`, `feature=on`, and `vendor=`, `family=`, `model=`, `stepping=`, `model-id=`.
    ///
    /// What a model has and the emulator does not is left out; a feature asked for by name must exist.
    /// - Throws: an error that names what was wrong and what there is.
    public init(model text: String) throws(CPUModelError) {
        let words = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        let name = words.first ?? ""
        guard let model = CPUModel.named(name) else {
            let names = CPUModel.all.map(\.name) + ["host"]
            throw CPUModelError(
                description: "there is no processor '\(name)'; there are \(names.joined(separator: ", "))")
        }
        self.init()
        var wanted = model.features
        var identity = (family: UInt32?.none, model: UInt32?.none, stepping: UInt32?.none)
        (vendor, signature, brand) = (model.vendor, model.signature, model.brand)
        for word in words.dropFirst() where !word.isEmpty {
            if let first = word.first, first == "+" || first == "-" {
                try Self.change(&wanted, String(word.dropFirst()), first == "+")
                continue
            }
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            let key = parts[0], value = parts.count > 1 ? parts[1] : "on"
            switch key {
            case "vendor":
                guard let named = Vendor(rawValue: value) else {
                    throw CPUModelError(description: "vendor=\(value): GenuineIntel or AuthenticAMD")
                }
                vendor = named
            case "family": identity.family = try Self.number(key, value, below: 271)
            case "model": identity.model = try Self.number(key, value, below: 256)
            case "stepping": identity.stepping = try Self.number(key, value, below: 16)
            case "model-id": brand = value
            case _ where Self.ignored.contains(key): break
            default:
                guard value == "on" || value == "off" else {
                    throw CPUModelError(description: "\(word): a feature is on or off")
                }
                try Self.change(&wanted, key, value == "on")
            }
        }
        setIdentity(identity)
        settle(wanted)
    }

    private static func number(_ key: String, _ text: String, below limit: UInt32) throws(CPUModelError) -> UInt32 {
        let value = text.hasPrefix("0x") ? UInt32(text.dropFirst(2), radix: 16) : UInt32(text)
        guard let value, value < limit else {
            throw CPUModelError(description: "\(key)=\(text): a number below \(limit)")
        }
        return value
    }

    private static func change(
        _ features: inout CPUFeatureSet, _ name: String, _ isOn: Bool
    ) throws(CPUModelError) {
        guard let feature = CPUFeature.named(name) else {
            if ignored.contains(name) || !isOn { return }
            throw CPUModelError(description: "the feature '\(name)' is not known")
        }
        guard !isOn || supported[feature] else {
            throw CPUModelError(description: "the feature '\(name)' is not implemented")
        }
        features[feature] = isOn
    }

    private mutating func setIdentity(_ identity: (family: UInt32?, model: UInt32?, stepping: UInt32?)) {
        let base = signature >> 8 & 15
        let family = base == 15 ? base + (signature >> 20 & 0xFF) : base
        let model = signature >> 4 & 15 | signature >> 12 & 0xF0
        signature = CPUModel.signature(
            family: identity.family ?? family, model: identity.model ?? model,
            stepping: identity.stepping ?? (signature & 15))
    }

    /// Takes what is wanted, implemented and has what it builds on.
    private mutating func settle(_ wanted: CPUFeatureSet) {
        var features = wanted
        for (_, feature) in CPUFeature.names where !Self.supported[feature] { features[feature] = false }
        var changed = true
        while changed {
            changed = false
            for (feature, base) in Self.bases where features[feature] && !features[base] {
                features[feature] = false
                changed = true
            }
        }
        for (_, feature) in CPUFeature.names { set(feature, features[feature]) }
    }
}

extension CPUFeature {
    /// Other spellings: /proc/cpuinfo's and what manuals call it.
    private static let synonyms = [
        "pni": "sse3", "sse4-1": "sse4.1", "sse4-2": "sse4.2", "lzcnt": "abm", "i64": "lm", "xd": "nx",
        "pclmuldq": "pclmulqdq", "pclmul": "pclmulqdq", "cmpxchg16b": "cx16", "cmpxchg8b": "cx8", "sha": "sha-ni",
        "prefetchw": "3dnowprefetch", "bmi": "bmi1", "1gb": "pdpe1gb", "clfsh": "clflush", "aes-ni": "aes",
    ]

    /// A feature by QEMU's name or another that is common; dashes and underscores are one.
    static func named(_ name: String) -> CPUFeature? {
        let plain = name.lowercased().map { $0 == "_" ? "-" : $0 }
        let text = String(plain)
        let wanted = synonyms[text] ?? text
        return names.first { $0.name == wanted }?.feature
    }
}
