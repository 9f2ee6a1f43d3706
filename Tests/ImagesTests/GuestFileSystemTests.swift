import Foundation
import Testing

@testable import Images

/// File systems of guests: what is read is what was put in, and damage is an error or nothing, never the end.
@Suite struct GuestFileSystemTests {
    private static let mke2fs = ["/sbin/mke2fs", "/usr/sbin/mke2fs"].first(
        where: FileManager.default.isExecutableFile(atPath:))

    /// Longer than twelve blocks, so that block maps have an indirect one.
    private static let long = (0..<40_000).flatMap { Array("\($0)\n".utf8) }

    /// An ext file system with files, links and folders in it.
    private func ext(_ folder: Scratch, _ options: [String]) throws -> String {
        let tree = folder.path("tree")
        let manager = FileManager.default
        try manager.createDirectory(atPath: tree + "/etc/deep/er", withIntermediateDirectories: true)
        try Data("hello\n".utf8).write(to: URL(fileURLWithPath: tree + "/etc/motd"))
        try Data(Self.long).write(to: URL(fileURLWithPath: tree + "/etc/deep/er/long"))
        try Data().write(to: URL(fileURLWithPath: tree + "/etc/empty"))
        for index in 0..<300 {
            try Data("\(index)".utf8).write(to: URL(fileURLWithPath: tree + "/etc/deep/file-\(index)"))
        }
        let links = [
            ("etc/link", "motd"), ("etc/up", "../etc/deep/er/../er/long"), ("etc/root", "/etc/motd"),
            ("etc/loop", "loop"), ("lib", "etc/deep"),
            ("etc/far", String(repeating: "deep/../", count: 12) + "motd"),
        ]
        for (link, target) in links {
            try manager.createSymbolicLink(atPath: "\(tree)/\(link)", withDestinationPath: target)
        }
        let image = folder.path("disk.img")
        let made = try run([try #require(Self.mke2fs), "-q", "-F"] + options + ["-d", tree, image, "8M"])
        try #require(made.status == 0, "\(made.output)")
        return image
    }

    private func disk(_ image: String) throws -> GuestDisk {
        try GuestDisk(try DiskImage.open(image, options: OpenOptions(format: "raw")))
    }

    @Test(
        .enabled(if: mke2fs != nil),
        arguments: [
            ["-t", "ext2", "-b", "1024"], ["-t", "ext3", "-b", "2048"], ["-t", "ext4", "-b", "4096"],
            ["-t", "ext4", "-b", "1024", "-O", "64bit,inline_data"], ["-t", "ext4", "-I", "128", "-O", "^64bit"],
        ])
    func filesOfExtAreRead(options: [String]) throws {
        let folder = Scratch()
        let disk = try disk(try ext(folder, options))
        let greeting = Array("hello\n".utf8)
        for path in ["/etc/motd", "etc//./motd", "/etc/link", "/etc/root", "/etc/deep/../motd", "/etc/far"] {
            #expect(try disk.contents(of: path) == greeting, "\(path)")
        }
        #expect(try disk.contents(of: "/etc/deep/er/long") == Self.long)
        #expect(try disk.contents(of: "/etc/up") == Self.long)
        #expect(try disk.contents(of: "/lib/file-299") == Array("299".utf8))
        #expect(try disk.contents(of: "/etc/empty") == [])
        for path in ["/etc/nothing", "/etc/motd/x", "/nowhere/x", "/ETC/motd"] {
            #expect(try disk.contents(of: path) == nil, "\(path)")
        }
        #expect(throws: ImageError.self) { try disk.contents(of: "/etc") }
        #expect(throws: ImageError.self) { try disk.contents(of: "/etc/loop") }
    }

    @Test(.enabled(if: mke2fs != nil)) func aPartitionIsFoundByItsTable() throws {
        let folder = Scratch()
        let system = try Data(contentsOf: URL(fileURLWithPath: try ext(folder, ["-t", "ext4"])))
        var record = [UInt8](repeating: 0, count: 1 << 20)
        record.replaceSubrange(446 + 16..<446 + 32, with: [0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x40, 0, 0])
        (record[510], record[511]) = (0x55, 0xAA)
        let image = folder.path("whole.img")
        try (Data(record) + system).write(to: URL(fileURLWithPath: image))
        #expect(try disk(image).contents(of: "/etc/motd") == Array("hello\n".utf8))
    }

    /// A FAT of 12 bits with `dir/A long name.txt` in two clusters that are not neighbours.
    private func fat() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 64 * 512)
        func put(_ offset: Int, _ values: [UInt8]) {
            bytes.replaceSubrange(offset..<offset + values.count, with: values)
        }
        // 512 bytes, 1 sector per cluster, 1 sector before 1 table of 1 sector, 16 root entries, 64 sectors.
        put(11, [0, 2, 1, 1, 0, 1, 16, 0, 64, 0, 0xF8, 1, 0])
        put(510, [0x55, 0xAA])
        // Cluster 2: the folder; 3 → 5 → end: the file. Two entries of 12 bits in three bytes.
        put(512, [0xF8, 0xFF, 0xFF, 0xFF, 0x5F, 0x00, 0x00, 0xF0, 0xFF])
        put(1024, Array("DIR        ".utf8) + [0x10])
        put(1024 + 26, [2, 0])
        let data = 1024 + 512
        let name = Array("A long name.txt".utf16) + [0]
        for (entry, (piece, order)) in [(1, UInt8(0x42)), (0, UInt8(1))].enumerated() {
            let offset = data + 32 * entry
            put(offset, [order])
            bytes[offset + 11] = 0x0F
            let units = Array((name + Array(repeating: 0xFFFF, count: 26))[piece * 13..<piece * 13 + 13])
            let places = Array(stride(from: 1, to: 11, by: 2)) + Array(stride(from: 14, to: 26, by: 2)) + [28, 30]
            for (place, unit) in zip(places, units) { put(offset + place, [UInt8(unit & 0xFF), UInt8(unit >> 8)]) }
        }
        put(data + 64, Array("ALONGN~1TXT".utf8) + [0x20])
        put(data + 64 + 26, [3, 0])
        put(data + 64 + 28, [0x58, 2, 0, 0])
        put(data + 512, [UInt8](repeating: 0x61, count: 512))
        put(data + 3 * 512, [UInt8](repeating: 0x62, count: 88))
        return bytes
    }

    @Test func filesOfFATAreReadByLongAndShortNames() throws {
        let folder = Scratch()
        let image = folder.path("fat.img")
        try Data(fat()).write(to: URL(fileURLWithPath: image))
        let disk = try disk(image)
        let content = [UInt8](repeating: 0x61, count: 512) + [UInt8](repeating: 0x62, count: 88)
        for path in ["/dir/A long name.txt", "/DIR/a LONG name.TXT", "dir/alongn~1.txt", "/dir/../dir/alongn~1.txt"] {
            #expect(try disk.contents(of: path) == content, "\(path)")
        }
        #expect(try disk.contents(of: "/dir/other") == nil)
        #expect(throws: ImageError.self) { try disk.contents(of: "/dir") }
    }

    @Test(.enabled(if: mke2fs != nil)) func damageEndsInAnErrorOrInNothing() throws {
        let folder = Scratch()
        let images = [
            try Data(contentsOf: URL(fileURLWithPath: try ext(folder, ["-t", "ext4", "-b", "1024"]))), Data(fat()),
        ]
        var random = SeededRandom(7)
        let image = folder.path("damaged.img")
        for round in 0..<120 {
            var bytes = images[round % 2]
            // Where the file systems keep what says where things are.
            for _ in 0..<20 {
                bytes[Int.random(in: 0..<min(bytes.count, 400_000), using: &random)] = .random(
                    in: 0...255, using: &random)
            }
            try bytes.write(to: URL(fileURLWithPath: image))
            for path in ["/etc/deep/er/long", "/etc/up", "/dir/A long name.txt"] {
                _ = try? disk(image).contents(of: path)
            }
        }
    }
}
