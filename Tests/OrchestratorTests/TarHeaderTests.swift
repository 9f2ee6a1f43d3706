import Testing

@testable import Orchestrator

@Suite struct TarHeaderTests {
    @Test(arguments: [
        TarHeader(name: "lab.yaml", size: 0), TarHeader(name: "images/ä b.qcow2", size: 513, isExecutable: true),
        TarHeader(name: String(repeating: "x", count: 100), size: 1 << 33),
        TarHeader(name: String(repeating: "folder/", count: 20) + "file", size: (1 << 40) + 7),
    ])
    func whatIsWrittenIsRead(header: TarHeader) throws {
        #expect(TarHeader(try #require(header.block)) == header)
    }

    @Test func aNameThatDoesNotFitIsNone() {
        #expect(TarHeader(name: String(repeating: "x", count: 101), size: 1).block == nil)
        #expect(TarHeader(name: String(repeating: "a/", count: 150), size: 1).block == nil)
    }

    @Test func aDamagedBlockIsNone() throws {
        let block = try #require(TarHeader(name: "a", size: 5).block)
        for index in [0, 100, 124, 148, 156, 257, 345] {
            var damaged = block
            damaged[index] ^= 0x01
            #expect(TarHeader(damaged) == nil, "byte \(index)")
        }
        #expect(TarHeader([]) == nil)
    }

    @Test(arguments: [("a/b", true), ("", false), ("/a", false), ("../a", false), ("a/../b", false), ("a//b", false)])
    func nothingIsUnpackedOutsideOfItsFolder(name: String, isInside: Bool) {
        #expect(PackManifest.isInside(name) == isInside)
    }
}
