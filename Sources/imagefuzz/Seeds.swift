import Glibc
import Images

/// One good image that mutations start from: how it is made, and how it is opened.
struct SeedRecipe {
    enum Content {
        /// Data written in place.
        case written
        /// Converted with compression.
        case compressed
        /// Several internal snapshots, with writes between them.
        case snapshots
        /// Persistent bitmaps.
        case bitmaps
        /// An overlay over an image of the format named.
        case overlay(String)
        /// Made by qemu-img with these arguments in the seed's folder, where it is installed.
        case qemu([String])
        /// Made in the seed's folder by a line of shell out of `data.raw`, where the programs are installed.
        case shell(String)
        /// A writer stopped between writing its log and emptying it.
        case dirtyLog
        /// Bytes made here.
        case bytes(@Sendable () -> [UInt8])
    }

    var name: String
    var format: String
    var options: [String: String] = [:]
    var content: Content = .written
    var size: UInt64 = 3 << 20
    /// The files that are mutated, besides the image itself.
    var companions: [String] = []

    static let passphrase: [UInt8] = Array("correct horse".utf8)
    static let secrets = ["key": passphrase]

    /// Files of this seed, in their folder.
    static let mainFile = "image"

    static let all: [SeedRecipe] =
        qcow2 + vmdk + [
            SeedRecipe(name: "qcow", format: "qcow"),
            SeedRecipe(name: "qcow-overlay", format: "qcow", content: .overlay("raw")),
            SeedRecipe(name: "qcow-compressed", format: "qcow", content: .compressed),
            SeedRecipe(
                name: "qcow-aes", format: "qcow", options: ["encrypt.format": "aes", "encrypt.key-secret": "key"]),
            SeedRecipe(name: "vdi", format: "vdi"),
            SeedRecipe(name: "vdi-overlay", format: "vdi", content: .overlay("vdi"), companions: ["base.vdi"]),
            SeedRecipe(name: "vdi-static", format: "vdi", options: ["static": "on"]),
            SeedRecipe(name: "vpc", format: "vpc"),
            SeedRecipe(name: "vpc-fixed", format: "vpc", options: ["subformat": "fixed"], size: 1 << 20),
            SeedRecipe(name: "vpc-overlay", format: "vpc", content: .overlay("vpc"), companions: ["base"]),
            SeedRecipe(
                name: "vpc-qemu", format: "vpc", content: .qemu(["convert", "-O", "vpc", "data.raw", mainFile])),
            SeedRecipe(name: "vhdx", format: "vhdx", options: ["block_size": "1M"]),
            SeedRecipe(
                name: "vhdx-fixed", format: "vhdx", options: ["subformat": "fixed", "block_size": "1M"], size: 2 << 20),
            SeedRecipe(
                name: "vhdx-overlay", format: "vhdx", options: ["block_size": "1M"], content: .overlay("vhdx"),
                companions: ["base"]),
            SeedRecipe(name: "vhdx-log", format: "vhdx", options: ["block_size": "1M"], content: .dirtyLog),
            SeedRecipe(
                name: "vhdx-qemu", format: "vhdx",
                content: .qemu(["convert", "-O", "vhdx", "-o", "block_size=1M", "data.raw", mainFile])),
            SeedRecipe(name: "cow", format: "cow"),
            SeedRecipe(name: "cow-overlay", format: "cow", content: .overlay("raw")),
            SeedRecipe(name: "cow-3", format: "cow", options: ["version": "3"]),
            SeedRecipe(name: "parallels", format: "parallels"),
            SeedRecipe(
                name: "parallels-qemu", format: "parallels",
                content: .qemu(["convert", "-O", "parallels", "-o", "cluster_size=64k", "data.raw", mainFile])),
            SeedRecipe(name: "bochs", format: "bochs", content: .bytes(HandMade.bochs)),
            SeedRecipe(name: "cloop", format: "cloop", options: ["block_size": "65536"], content: .compressed),
            SeedRecipe(
                name: "luks", format: "luks", options: ["key-secret": "key", "iter-time": "10"], size: 1 << 20),
            SeedRecipe(
                name: "luks-cast5", format: "luks",
                options: ["key-secret": "key", "iter-time": "10", "cipher-alg": "cast5-128", "cipher-mode": "cbc"],
                size: 1 << 20),
            SeedRecipe(name: "dmg-fork", format: "dmg", content: .bytes(HandMade.dmgWithFork)),
            SeedRecipe(name: "dmg-list", format: "dmg", content: .bytes(HandMade.dmgWithList)),
            SeedRecipe(
                name: "ova", format: "ova",
                content: .shell(
                    "qemu-img convert -O vmdk -o subformat=streamOptimized data.raw d.vmdk && printf '%s' '"
                        + HandMade.applianceDescriptor + "' > vm.ovf && tar --format=ustar -cf image vm.ovf d.vmdk"
                        + " && rm vm.ovf d.vmdk")),
            SeedRecipe(name: "gz", format: "gz", content: .shell("gzip -c data.raw > image"), size: 400_384),
            // Longer than what opening decodes to recognise what is inside, so that damage behind that is met by reading.
            SeedRecipe(
                name: "xz", format: "xz", content: .shell("xz -c --block-size=65536 data.raw > image"), size: 4 << 20),
            SeedRecipe(name: "zst", format: "zst", content: .shell("zstd -q -c data.raw > image"), size: 400_384),
            // Without a checksum over all of it, so that damage reaches the image inside.
            SeedRecipe(
                name: "zst-qcow2", format: "zst",
                content: .shell(
                    "qemu-img convert -O qcow2 data.raw d.qcow2 && zstd -q --no-check -c d.qcow2 > image && rm d.qcow2")
            ),
            SeedRecipe(name: "raw", format: "raw", size: 200_000),
        ]

    private static let qcow2: [SeedRecipe] = [
        SeedRecipe(name: "qcow2", format: "qcow2"),
        SeedRecipe(name: "qcow2-small", format: "qcow2", options: ["cluster_size": "512", "refcount_bits": "1"]),
        SeedRecipe(name: "qcow2-v2", format: "qcow2", options: ["compat": "0.10", "cluster_size": "4096"]),
        SeedRecipe(name: "qcow2-wide", format: "qcow2", options: ["cluster_size": "4096", "refcount_bits": "64"]),
        SeedRecipe(name: "qcow2-subclusters", format: "qcow2", options: ["cluster_size": "16k", "extended_l2": "on"]),
        SeedRecipe(name: "qcow2-zlib", format: "qcow2", options: ["cluster_size": "4096"], content: .compressed),
        SeedRecipe(
            name: "qcow2-zstd", format: "qcow2", options: ["cluster_size": "4096", "compression_type": "zstd"],
            content: .compressed),
        SeedRecipe(name: "qcow2-snapshots", format: "qcow2", options: ["cluster_size": "4096"], content: .snapshots),
        SeedRecipe(name: "qcow2-bitmaps", format: "qcow2", options: ["cluster_size": "4096"], content: .bitmaps),
        SeedRecipe(
            name: "qcow2-overlay", format: "qcow2", options: ["cluster_size": "4096"], content: .overlay("qcow2"),
            companions: ["base"]),
        SeedRecipe(
            name: "qcow2-aes", format: "qcow2",
            options: ["cluster_size": "4096", "encrypt.format": "aes", "encrypt.key-secret": "key"]),
        SeedRecipe(
            name: "qcow2-luks", format: "qcow2",
            options: [
                "cluster_size": "4096", "encrypt.format": "luks", "encrypt.key-secret": "key",
                "encrypt.iter-time": "10",
            ], size: 1 << 20),
        SeedRecipe(
            name: "qcow2-data-file", format: "qcow2", options: ["cluster_size": "4096", "data_file": "companion"]),
        SeedRecipe(name: "qcow2-lazy", format: "qcow2", options: ["cluster_size": "4096", "lazy_refcounts": "on"]),
        SeedRecipe(
            name: "qcow2-metadata", format: "qcow2", options: ["cluster_size": "4096", "preallocation": "metadata"]),
        SeedRecipe(
            name: "qcow2-qemu", format: "qcow2",
            content: .qemu(["convert", "-c", "-O", "qcow2", "-o", "cluster_size=4k", "data.raw", mainFile])),
    ]

    private static let vmdk: [SeedRecipe] = [
        SeedRecipe(name: "vmdk", format: "vmdk"),
        SeedRecipe(name: "vmdk-overlay", format: "vmdk", content: .overlay("vmdk"), companions: ["base"]),
        SeedRecipe(
            name: "vmdk-flat", format: "vmdk", options: ["subformat": "monolithicFlat"], companions: ["image-flat"]
        ),
        SeedRecipe(
            name: "vmdk-split", format: "vmdk", options: ["subformat": "twoGbMaxExtentSparse"],
            companions: ["image-s001", "image-s001", "image-s001"]),
        SeedRecipe(
            name: "vmdk-stream", format: "vmdk", options: ["subformat": "streamOptimized"], content: .compressed),
        SeedRecipe(
            name: "vmdk-qemu", format: "vmdk",
            content: .qemu(["convert", "-O", "vmdk", "-o", "subformat=streamOptimized", "data.raw", mainFile])),
        SeedRecipe(name: "vmdk-cowd", format: "vmdk", content: .bytes(HandMade.cowd)),
        SeedRecipe(
            name: "vmdk-sesparse", format: "vmdk", content: .bytes(HandMade.seSparseDescriptor),
            companions: ["image-sesparse.vmdk", "image-sesparse.vmdk", "image-sesparse.vmdk"]),
    ]
}
