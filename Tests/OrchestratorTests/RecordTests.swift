import Glibc
import LabSpec
import Testing

@testable import Orchestrator
@testable import VMProtocol

/// Records: what is read back, what is refused, and what a host that fails leaves behind.
@Suite struct RecordTests {
    private let record = VMRecord(overlays: [
        "hda": VMRecord.Overlay(
            basePath: "/images/golden.qcow2", baseFormat: "qcow2",
            golden: [
                GoldenFile(
                    stamp: FileStamp(
                        path: "/images/golden.qcow2", sizeBytes: 1 << 40, modifiedNanoseconds: 1_700_000_000_000_000_001
                    ),
                    sha256: String(repeating: "a", count: 64))
            ])
    ])

    private func folder() throws -> (TemporaryFolder, VMFolder) {
        let folder = try TemporaryFolder()
        return (folder, VMFolder(name: "alpha", path: folder.path, runtime: folder.path))
    }

    @Test func aRecordComesBackAsItWasWritten() throws {
        let (folder, vm) = try folder()
        var record = record
        record.run = VMRecord.Run(
            description: VMDescription(name: "alpha", memoryBytes: 1 << 28), definition: "d",
            startedAt: 1_700_000_000.123456, consoleStart: 77)
        try vm.write(record)
        #expect(vm.recordReading.known == record)
        withExtendedLifetime(folder) {}
    }

    @Test func noRecordIsNotAFault() throws {
        let (folder, vm) = try folder()
        guard case .absent = vm.recordReading else {
            Issue.record("expected no record")
            return
        }
        withExtendedLifetime(folder) {}
    }

    @Test func aRecordOfBeforeVersionsIsRead() throws {
        let (folder, vm) = try folder()
        try StateFile.replace(vm.recordPath, with: JSONCoding.encode(record))
        #expect(vm.recordReading.known == record)
        withExtendedLifetime(folder) {}
    }

    @Test func aNewerFormatIsRefusedByItsNumber() throws {
        let (folder, vm) = try folder()
        try vm.write(record)
        let text = String(decoding: try #require(try StateFile.read(vm.recordPath)), as: UTF8.self)
        let newer = text.replacing("\"formatVersion\" : 1", with: "\"formatVersion\" : 7")
        #expect(newer != text)
        try StateFile.replace(vm.recordPath, with: Array(newer.utf8))
        let fault = try #require(vm.recordReading.fault)
        #expect(fault.kind == .newer)
        #expect(fault.sentence.contains("format version 7"))
        #expect(fault.sentence.contains(vm.recordPath))
        withExtendedLifetime(folder) {}
    }

    /// Every byte changed, every length cut: never taken for a record, never for no record.
    @Test func noDamageToARecordGoesUnnoticed() throws {
        let (folder, vm) = try folder()
        try vm.write(record)
        let whole = try #require(try StateFile.read(vm.recordPath))
        for index in whole.indices {
            var damaged = whole
            damaged[index] ^= UInt8(1 << (index % 8))
            try write(damaged, to: vm.recordPath)
            try expectFaultOrSame(vm, "bit \(index % 8) of byte \(index)")
            try write(Array(whole[..<index]), to: vm.recordPath)
            try expectFaultOrSame(vm, "cut at \(index)")
        }
        withExtendedLifetime(folder) {}
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        let file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC)
        #expect(file.writeAll(bytes))
    }

    /// White space may change without harm.
    private func expectFaultOrSame(_ vm: VMFolder, _ what: String) throws {
        switch vm.recordReading {
        case .faulty: break
        case .found(let found): #expect(found == record, "\(what) was read as another record")
        case .absent: Issue.record("\(what) was taken for no record")
        }
    }

    @Test func aFolderInPlaceOfARecordIsAFault() throws {
        let (folder, vm) = try folder()
        #expect(Folder.make(vm.recordPath) == nil)
        #expect(vm.recordReading.fault?.kind == .damaged)
        withExtendedLifetime(folder) {}
    }

    @Test func aDamagedRecordIsPutAsideAndNeverReplaced() throws {
        let (folder, vm) = try folder()
        var names: [String] = []
        for _ in 0..<3 {
            try write([], to: vm.recordPath)
            names.append(try #require(vm.recordReading.fault).putAside())
        }
        #expect(Set(names).count == 3)
        #expect(names.allSatisfy(Folder.exists))
        #expect(!Folder.exists(vm.recordPath))
        withExtendedLifetime(folder) {}
    }
}

/// Host calls that fail, one after the other.
@Suite(.serialized) struct FaultTests {
    /// After each failing call a file is as it was before, or as it was to become; nothing else is left.
    @Test(arguments: [ENOSPC, EIO, EDQUOT, EMFILE], [true, false])
    func aRecordIsOldOrNewWhicheverCallFails(code: Int32, lasts: Bool) throws {
        let folder = try TemporaryFolder()
        let lab = LabFolder(path: folder.path, runtime: folder.path)
        let old = LabRecord(name: "old", file: "/a", createdAt: 1),
            new = LabRecord(name: "new", file: "/b", createdAt: 2)
        var succeeding = 0
        while true {
            HostFaults.disarm()
            try lab.write(old)
            HostFaults.arm(.init(call: nil, succeeding: succeeding, code: code, lasts: lasts))
            var failure: OrchestratorError?
            do { try lab.write(new) } catch { failure = error }
            let struck = HostFaults.disarm()
            let found = lab.recordReading.known
            #expect(found == (failure == nil ? new : old))
            if !lasts || struck <= 1 { #expect(Folder.names(in: folder.path) == ["lab.json"]) }
            if let failure { #expect(failure.message.contains(lab.recordPath)) }
            if struck == 0 { break }
            succeeding += 1
        }
        #expect(succeeding >= 4, "open, write, sync and rename were each made to fail")
    }
}
