import Foundation
import Testing

@testable import Images

@Suite struct DifferencingVDITests {
    /// A base with data, and an overlay of it.
    private static func chain(_ scratch: Scratch, base: String = "base.vdi") throws -> DiskModel {
        var random = SeededRandom(81)
        var model = DiskModel(bytes: [UInt8](repeating: 0, count: 5 << 20))
        try DiskImage.create(scratch.path(base), format: "vdi", size: 5 << 20)
        let device = try open(scratch.path(base), format: "vdi")
        let data = random.bytes(2 << 20)
        try device.put(data, at: 1_500_000)
        model.bytes.replaceSubrange(1_500_000..<1_500_000 + data.count, with: data)
        try device.close()
        var request = CreateRequest(path: scratch.path("child.vdi"), size: 5 << 20)
        request.backing = BackingReference(file: base, format: "vdi")
        try DiskImage.create(request, format: "vdi")
        return model
    }

    @Test func readsThroughToTheParentFoundByItsUUID() throws {
        let scratch = Scratch()
        var model = try Self.chain(scratch)
        // The name does not matter.
        try FileManager.default.moveItem(atPath: scratch.path("base.vdi"), toPath: scratch.path("renamed.vdi"))
        try DiskImage.create(scratch.path("other.vdi"), format: "vdi", size: 1 << 20)
        let device = try open(scratch.path("child.vdi"))
        #expect(device.backingReference == BackingReference(file: "renamed.vdi", format: "vdi"))
        try model.check(device)
        var random = SeededRandom(82)
        for _ in 0..<60 { try model.step(device, &random, longest: 100_000) }
        try device.writeZeroes(at: 2 << 20, count: 1 << 20, mayUnmap: true)
        model.bytes.replaceSubrange(2 << 20..<3 << 20, with: repeatElement(0, count: 1 << 20))
        try device.close()
        let again = try open(scratch.path("child.vdi"), readOnly: true)
        try model.check(again)
        #expect(try DiskImage.check(again, repair: .none, verifyData: false).corruptions == 0)
    }

    @Test func anUndoImageReadsLikeADifferencingOne() throws {
        let scratch = Scratch()
        let model = try Self.chain(scratch)
        let file = try FileStorage.open(scratch.path("child.vdi"), readOnly: false)
        try file.write([3], at: 76)
        file.close()
        try model.check(try open(scratch.path("child.vdi"), readOnly: true))
    }

    @Test func aParentAboveTheFolderOfSnapshotsIsFound() throws {
        let scratch = Scratch()
        let model = try Self.chain(scratch)
        try FileManager.default.createDirectory(
            atPath: scratch.path("Snapshots"), withIntermediateDirectories: false)
        try FileManager.default.moveItem(atPath: scratch.path("child.vdi"), toPath: scratch.path("Snapshots/child.vdi"))
        try model.check(try open(scratch.path("Snapshots/child.vdi"), readOnly: true))
    }

    @Test func aMissingOrChangedParentIsRefused() throws {
        let scratch = Scratch()
        _ = try Self.chain(scratch)
        let base = try open(scratch.path("base.vdi"), format: "vdi")
        try base.put([1], at: 0)
        try base.close()
        let changed = #expect(throws: ImageError.self) { _ = try open(scratch.path("child.vdi"), readOnly: true) }
        #expect(changed?.message.contains("has changed") == true)
        try FileManager.default.removeItem(atPath: scratch.path("base.vdi"))
        let missing = #expect(throws: ImageError.self) { _ = try open(scratch.path("child.vdi"), readOnly: true) }
        #expect(missing?.kind == .notFound)
        // `info` opens no parent.
        let alone = try DiskImage.open(scratch.path("child.vdi"), options: OpenOptions(openBacking: false))
        #expect(alone.backingReference != nil)
    }

    @Test func aParentElsewhereIsRefusedWhenTheImageIsMade() throws {
        let scratch = Scratch()
        try FileManager.default.createDirectory(atPath: scratch.path("sub"), withIntermediateDirectories: false)
        try DiskImage.create(scratch.path("sub/base.vdi"), format: "vdi", size: 1 << 20)
        var request = CreateRequest(path: scratch.path("child.vdi"), size: 1 << 20)
        request.backing = BackingReference(file: "sub/base.vdi", format: "vdi")
        let error = #expect(throws: ImageError.self) { try DiskImage.create(request, format: "vdi") }
        #expect(error?.kind == .invalidArgument)
    }
}
