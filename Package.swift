// swift-tools-version: 6.2
import PackageDescription

/// Every target of ours: warnings are errors, whole-module optimisation in release is SwiftPM's default.
let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]

/// The emulator's state belongs to one thread and is reached through pointers: checking each access to a class's property for
/// overlaps at run time cost 5 % of a guest's time and found nothing.
let emulator: [SwiftSetting] = strict + [.unsafeFlags(["-enforce-exclusivity=unchecked"])]

let package = Package(
    name: "labctl",
    products: [
        .executable(name: "labctl", targets: ["labctl"]),
        .executable(name: "labvm", targets: ["labvm"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0")
    ],
    targets: [
        // C libraries from Debian; each folder is a module map and one header.
        .systemLibrary(name: "CLibYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "CDeflate", pkgConfig: "libdeflate", providers: [.apt(["libdeflate-dev"])]),
        .systemLibrary(name: "CLZMA", pkgConfig: "liblzma", providers: [.apt(["liblzma-dev"])]),
        .systemLibrary(name: "CBZip2", providers: [.apt(["libbz2-dev"])]),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
        .systemLibrary(name: "CLZO", pkgConfig: "lzo2", providers: [.apt(["liblzo2-dev"])]),
        .systemLibrary(name: "CSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),

        // Linux calls that Swift's Glibc module hides; part of the C library, so nothing to install.
        .systemLibrary(name: "CLinux"),

        // Libraries. Who may import whom is drawn in docs/ARCHITECTURE.md.
        .target(name: "LabSpec", dependencies: ["CLibYAML"], swiftSettings: strict),
        .target(
            name: "Images",
            dependencies: [
                "CZlib", "CZstd", "CDeflate", "CLZMA", "CBZip2", "CLZ4", "CLZO", "COpenSSL", "CLinux",
            ], swiftSettings: strict),
        .target(name: "Emulator", dependencies: ["CLinux"], swiftSettings: emulator),
        .target(name: "VMProtocol", dependencies: ["CLinux"], swiftSettings: strict),
        .target(
            name: "Orchestrator", dependencies: ["LabSpec", "Images", "VMProtocol", "COpenSSL"], swiftSettings: strict),

        .executableTarget(
            name: "labctl",
            dependencies: [
                "Orchestrator", "LabSpec", "Images", "VMProtocol",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: strict),
        .executableTarget(
            name: "labvm", dependencies: ["Emulator", "Images", "VMProtocol", "CLinux", "CSeccomp", "CZlib"],
            swiftSettings: strict),

        // Random numbers that come again.
        .target(name: "Seeded", swiftSettings: strict),

        // Damages images of every format; `make fuzz` and ImageFuzzTests run it.
        .executableTarget(name: "imagefuzz", dependencies: ["Images", "Seeded"], swiftSettings: strict),

        .testTarget(
            name: "LabSpecTests", dependencies: ["LabSpec", "Seeded"], exclude: ["Golden"], swiftSettings: strict),
        .testTarget(name: "ImagesTests", dependencies: ["Images", "Seeded"], swiftSettings: strict),
        .testTarget(name: "ImageFuzzTests", dependencies: ["imagefuzz", "Images"], swiftSettings: strict),
        .testTarget(
            name: "EmulatorTests", dependencies: ["Emulator", "Seeded"], exclude: ["Golden"], swiftSettings: strict),
        .testTarget(name: "OrchestratorTests", dependencies: ["Orchestrator"], swiftSettings: strict),
        .testTarget(
            name: "labctlTests",
            dependencies: ["labctl", "Orchestrator", "LabSpec", "VMProtocol", "Images", "Seeded"],
            swiftSettings: strict),
        .testTarget(
            name: "labvmTests", dependencies: ["labvm", "Orchestrator", "VMProtocol", "Images", "Seeded"],
            swiftSettings: strict),
        .testTarget(name: "GuestTests", dependencies: ["Emulator", "Images"], swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
