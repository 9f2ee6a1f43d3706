import Foundation
import Testing

@testable import Images

/// CDs that we write, read back by the specifications: ISO 9660, Joliet and Rock Ridge have the same files.
@Suite struct ISOTests {
    /// A reader of what a CD has, no more than the tests need.
    struct Disc {
        let bytes: [UInt8]

        func little32(_ offset: Int) -> Int { (0..<4).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) } }
        func big32(_ offset: Int) -> Int { (0..<4).reduce(0) { $0 << 8 | Int(bytes[offset + $1]) } }

        struct Record {
            var name: [UInt8]
            var sector: Int
            var size: Int
            var isFolder: Bool
            var hasMore: Bool
            var realName = ""
            var mode = 0
            var link: String?
        }

        /// Sector of a volume descriptor of a kind.
        func descriptor(_ kind: UInt8) -> Int? {
            (16..<32).first { bytes[$0 * 2048] == kind && bytes[$0 * 2048 + 1] == UInt8(ascii: "C") }
        }

        func root(_ kind: UInt8) -> Record {
            let place = (descriptor(kind) ?? 0) * 2048 + 156
            return Record(
                name: [0], sector: little32(place + 2), size: little32(place + 10), isFolder: true, hasMore: false)
        }

        func records(_ folder: Record) -> [Record] {
            var records: [Record] = []
            var at = folder.sector * 2048
            let end = at + folder.size
            while at < end {
                let length = Int(bytes[at])
                if length == 0 {
                    at = (at / 2048 + 1) * 2048
                    continue
                }
                #expect(at / 2048 == (at + length - 1) / 2048, "a record crosses a sector")
                #expect(little32(at + 2) == big32(at + 6) && little32(at + 10) == big32(at + 14))
                let count = Int(bytes[at + 32])
                var record = Record(
                    name: Array(bytes[at + 33..<at + 33 + count]), sector: little32(at + 2), size: little32(at + 10),
                    isFolder: bytes[at + 25] & 2 != 0, hasMore: bytes[at + 25] & 0x80 != 0)
                systemUse(at + (33 + count + 1) & ~1, at + length, &record)
                records.append(record)
                at += length
            }
            return records
        }

        private func systemUse(_ start: Int, _ end: Int, _ record: inout Record) {
            var at = start
            while at + 4 <= end, bytes[at + 2] >= 4 {
                let data = at + 4
                let length = Int(bytes[at + 2])
                switch String(decoding: bytes[at..<at + 2], as: UTF8.self) {
                case "NM": record.realName += String(decoding: bytes[data + 1..<at + length], as: UTF8.self)
                case "PX": record.mode = little32(data)
                case "SL":
                    var part = data + 1
                    var words = record.link.map { [$0] } ?? []
                    while part < at + length {
                        let text = String(
                            decoding: bytes[part + 2..<part + 2 + Int(bytes[part + 1])], as: UTF8.self)
                        words.append([2: ".", 4: "..", 8: ""][Int(bytes[part])] ?? text)
                        part += 2 + Int(bytes[part + 1])
                    }
                    record.link = words.joined(separator: "/")
                case "CE":
                    let place = little32(data) * 2048 + little32(data + 8)
                    systemUse(place, place + little32(data + 16), &record)
                default: break
                }
                at += length
            }
        }

        func content(_ record: Record) -> [UInt8] {
            Array(bytes[record.sector * 2048..<record.sector * 2048 + record.size])
        }

        /// All files by path, under Rock Ridge's names or Joliet's.
        func files(_ kind: UInt8) -> [String: [UInt8]] {
            var files: [String: [UInt8]] = [:]
            func visit(_ folder: Record, _ path: String) {
                let children = records(folder).dropFirst(2)
                #expect(children.map(\.name) == children.map(\.name).sorted { $0.lexicographicallyPrecedes($1) })
                #expect(Set(children.map(\.name)).count == children.count, "names are unique")
                for child in children {
                    let name = kind == 1 ? child.realName : joliet(child.name)
                    if child.isFolder { visit(child, path + name + "/") } else { files[path + name] = content(child) }
                }
            }
            visit(root(kind), "/")
            return files
        }

        private func joliet(_ name: [UInt8]) -> String {
            let units = stride(from: 0, to: name.count, by: 2).map { UInt16(name[$0]) << 8 | UInt16(name[$0 + 1]) }
            let text = String(decoding: units, as: UTF16.self)
            return text.hasSuffix(";1") ? String(text.dropLast(2)) : text
        }
    }

    private func written(_ root: ISOEntry, _ options: ISOWriter.Options = .init()) throws -> Disc {
        let scratch = Scratch()
        let path = scratch.path("cd.iso")
        try ISOWriter(root, options).write(to: path)
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        #expect(bytes.count % 2048 == 0)
        return Disc(bytes: bytes)
    }

    private func tree() -> ISOEntry {
        let root = ISOEntry.folder()
        root.add(ISOEntry("user-data", .bytes(Array("#cloud-config\n".utf8))))
        root.add(ISOEntry("meta-data", .bytes([])))
        root.add(ISOEntry("run me.sh", .bytes([1, 2, 3]), isExecutable: true, modifiedSeconds: 1_700_000_000))
        root.add(ISOEntry("übergröße 文件.txt", .bytes([4])))
        let long = String(repeating: "long-name-", count: 24)
        let folder = ISOEntry.folder("folder.with.dots")
        for index in 0..<150 { folder.add(ISOEntry("\(long)\(index)", .bytes(Array("\(index)".utf8)))) }
        root.add(folder)
        var deep = root
        for level in 1...12 {
            let next = ISOEntry.folder("level\(level)")
            deep.add(next)
            deep = next
        }
        deep.add(ISOEntry("bottom", .bytes([9])))
        return root
    }

    @Test func rockRidgeHasEveryFileUnderItsRealName() throws {
        let disc = try written(tree())
        let files = disc.files(1)
        #expect(files.count == 155)
        #expect(files["/user-data"] == Array("#cloud-config\n".utf8))
        #expect(files["/meta-data"] == [])
        #expect(files["/übergröße 文件.txt"] == [4])
        let long = String(repeating: "long-name-", count: 24)
        #expect(files["/folder.with.dots/\(long)149"] == Array("149".utf8))
        #expect(files["/" + (1...12).map { "level\($0)" }.joined(separator: "/") + "/bottom"] == [9])
    }

    @Test func jolietHasEveryFileAndCutsLongNamesToDifferentOnes() throws {
        let files = try written(tree()).files(2)
        #expect(files.count == 155)
        #expect(files["/user-data"] == Array("#cloud-config\n".utf8))
        #expect(files["/übergröße 文件.txt"] == [4])
        #expect(files.keys.allSatisfy { $0.split(separator: "/").allSatisfy { $0.utf16.count <= 64 } })
    }

    @Test func modesAndLinksAreKept() throws {
        let root = tree()
        root.add(ISOEntry("absolute", .link("/usr/../bin/./sh")))
        root.add(ISOEntry("far", .link(String(repeating: "../abcdefgh/", count: 40) + "x")))
        let disc = try written(root)
        let records = disc.records(disc.root(1))
        func record(_ name: String) throws -> Disc.Record { try #require(records.first { $0.realName == name }) }
        #expect(try record("run me.sh").mode == 0o100555)
        #expect(try record("user-data").mode == 0o100444)
        #expect(try record("level1").mode == 0o040555)
        #expect(try record("absolute").link == "/usr/../bin/./sh")
        #expect(try record("far").link == String(repeating: "../abcdefgh/", count: 40) + "x")
    }

    @Test func theLabelIsThatOfBothTrees() throws {
        let disc = try written(tree(), ISOWriter.Options(label: "cidata"))
        let plain = (try #require(disc.descriptor(1))) * 2048 + 40
        #expect(String(decoding: disc.bytes[plain..<plain + 32], as: UTF8.self).hasPrefix("cidata  "))
        let joliet = (try #require(disc.descriptor(2))) * 2048 + 40
        #expect(Array(disc.bytes[joliet..<joliet + 12]) == Array("cidata".utf8).flatMap { [0, $0] })
        #expect(throws: ImageError.self) { try ISOWriter(tree(), .init(label: String(repeating: "a", count: 33))) }
        #expect(throws: ImageError.self) { try ISOWriter(tree(), .init(label: "")) }
    }

    @Test func theSameFilesGiveTheSameImage() throws {
        let isSame = try written(tree()).bytes == written(tree()).bytes
        #expect(isSame)
    }

    @Test func pathTablesNameEveryFolder() throws {
        let disc = try written(tree())
        let descriptor = (try #require(disc.descriptor(1))) * 2048
        let (size, little, big) = (
            disc.little32(descriptor + 132), disc.little32(descriptor + 140), disc.big32(descriptor + 148)
        )
        var at = 0
        var count = 0
        while at < size {
            let length = Int(disc.bytes[little * 2048 + at])
            #expect(disc.little32(little * 2048 + at + 2) == disc.big32(big * 2048 + at + 2))
            at += 8 + length + length % 2
            count += 1
        }
        #expect(count == 14)
    }

    @Test func aBootLoaderIsFoundByTheCatalogueAndGetsItsTable() throws {
        let root = ISOEntry.folder()
        let folder = ISOEntry.folder("isolinux")
        let loader = (0..<5000).map { UInt8(truncatingIfNeeded: $0) }
        folder.add(ISOEntry("isolinux.bin", .bytes(loader)))
        root.add(folder)
        let disc = try written(root, ISOWriter.Options(bootFile: "isolinux/isolinux.bin"))
        let record = (try #require(disc.descriptor(0))) * 2048
        #expect(String(decoding: disc.bytes[record + 7..<record + 30], as: UTF8.self) == "EL TORITO SPECIFICATION")
        let catalogue = disc.little32(record + 71) * 2048
        var sum: UInt16 = 0
        for index in stride(from: 0, to: 32, by: 2) {
            sum &+= UInt16(disc.bytes[catalogue + index]) | UInt16(disc.bytes[catalogue + index + 1]) << 8
        }
        #expect(sum == 0)
        #expect(disc.bytes[catalogue + 32] == 0x88)
        let start = disc.little32(catalogue + 40) * 2048
        #expect(disc.little32(start + 8) == 16)
        #expect(disc.little32(start + 12) == start / 2048)
        #expect(disc.little32(start + 16) == 5000)
        #expect(Array(disc.bytes[start + 64..<start + 5000]) == Array(loader[64...]))
        #expect(throws: ImageError.self) { try written(root, .init(bootFile: "nosuch")) }
    }

    @Test func whatACDCannotHoldIsRefused() throws {
        let scratch = Scratch()
        mkfifo(scratch.path("pipe"), 0o600)
        #expect {
            try ISOEntry.scan(scratch.folder)
        } throws: { error in
            (error as? ImageError)?.message.contains("pipe") == true
        }
        #expect(throws: ImageError.self) { try ISOEntry.scan(scratch.path("nosuch")) }
    }
}
