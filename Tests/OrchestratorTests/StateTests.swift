import Glibc
import LabSpec
import Testing
import VMProtocol

@testable import Orchestrator

/// A folder of its own for a test; gone with the last reference.
final class TemporaryFolder {
    let path: String

    init() throws {
        var template = Array("/tmp/labctl-test-XXXXXX".utf8CString)
        path = try #require(mkdtemp(&template).map { String(cString: $0) })
    }

    deinit { Folder.remove(path) }
}

/// Folders, locks, records and digests.
@Suite struct StateTests {
    private func directory(_ values: [String: String]) throws -> StateDirectory {
        try StateDirectory(variable: { values[$0] })
    }

    @Test func theEnvironmentSaysWhereThingsLie() throws {
        let folder = try TemporaryFolder()
        let given = try directory([
            "LABCTL_HOME": "/data/labs", "XDG_CACHE_HOME": "/data/cache", "XDG_RUNTIME_DIR": folder.path,
        ])
        #expect(given.home == "/data/labs")
        #expect(given.cache == "/data/cache/labctl")
        #expect(given.runtime == "\(folder.path)/labctl")
        let plain = try directory(["HOME": "/home/ada", "XDG_RUNTIME_DIR": folder.path])
        #expect(plain.home == "/home/ada/.local/state/labctl")
        #expect(plain.cache == "/home/ada/.cache/labctl")
        let state = try directory(["HOME": "/home/ada", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": folder.path])
        #expect(state.home == "/s/labctl")
    }

    @Test func aRuntimeFolderTooLongForSocketsIsReplaced() throws {
        let folder = try TemporaryFolder()
        let long = folder.path + "/" + String(repeating: "x", count: 90)
        #expect(Folder.make(long) == nil)
        let state = try directory(["HOME": "/home/ada", "XDG_RUNTIME_DIR": long])
        #expect(state.runtime == "/tmp/labctl-\(getuid())")
        let vm = LabFolder(path: "/state/lab", runtime: state.runtime).vm("alpha")
        #expect(vm.consoleSocket.utf8.count <= UnixSocket.longestPath)
    }

    @Test func labsOfOneNameInTwoPlacesHaveFoldersOfTheirOwn() throws {
        let folder = try TemporaryFolder()
        let state = try directory(["LABCTL_HOME": "/h", "XDG_RUNTIME_DIR": folder.path])
        let one = state.folder(of: Lab(name: "intro", path: "/a/lab.yaml"))
        let two = state.folder(of: Lab(name: "intro", path: "/b/lab.yaml"))
        #expect(one.path != two.path)
        #expect(one.path.hasPrefix("/h/labs/intro-"))
        #expect(one.vm("x").runtime != two.vm("x").runtime)
    }

    @Test func aLockedLabIsRefusedAndItsHolderNamed() throws {
        let folder = try TemporaryFolder()
        let lab = LabFolder(path: folder.path + "/lab", runtime: folder.path)
        let lock = try LabLock.take(lab, verb: "up")
        #expect {
            try LabLock.take(lab, verb: "down")
        } throws: { error in
            let error = error as? OrchestratorError
            return error?.kind == .locked && error?.message.contains("up, process \(getpid())") == true
        }
        withExtendedLifetime(lock) {}
    }

    @Test func aLockIsFreeAgainWithItsHolder() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/lock"
        var lock = try FileLock.tryLock(path)
        #expect(lock != nil)
        #expect(FileLock.isHeld(path))
        lock = nil
        #expect(!FileLock.isHeld(path))
    }

    @Test func aRecordIsReplacedWholeAndLeavesNothingBehind() throws {
        let folder = try TemporaryFolder()
        let lab = LabFolder(path: folder.path, runtime: folder.path)
        let record = LabRecord(name: "intro", file: "/a/lab.yaml", createdAt: 1, builtImages: ["/c/x.qcow2"])
        try lab.write(LabRecord(name: "old", file: "", createdAt: 0))
        try lab.write(record)
        #expect(lab.recordReading.known == record)
        #expect(Folder.names(in: folder.path) == ["lab.json"])
    }

    @Test func digestsAreRememberedUntilTheFileChanges() throws {
        let folder = try TemporaryFolder()
        let file = folder.path + "/golden.img"
        let cache = DigestCache(folder: folder.path + "/digests")
        try StateFile.replace(file, with: Array("abc".utf8))
        let first = try cache.digest(of: file)
        // FIPS 180-4's own example.
        #expect(first.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(cache.known(first.stamp) == first.sha256)
        var touched = first.stamp
        touched.modifiedNanoseconds += 1
        #expect(cache.known(touched) == nil)
    }

    @Test func removingAFolderDoesNotFollowLinks() throws {
        let folder = try TemporaryFolder()
        let kept = folder.path + "/kept", removed = folder.path + "/removed"
        #expect(Folder.make(kept) == nil)
        #expect(Folder.make(removed + "/sub") == nil)
        try StateFile.replace(kept + "/file", with: [1])
        #expect(symlink(kept, removed + "/sub/link") == 0)
        #expect(Folder.remove(removed) == nil)
        #expect(!Folder.exists(removed))
        #expect(Folder.exists(kept + "/file"))
    }

    @Test func namesOnTheCommandLineMeanVMsOrGroups() throws {
        let folder = try TemporaryFolder()
        var student = VM(name: "student")
        student.replicas = 2
        let lab = Lab(name: "intro", vms: [VM(name: "teacher"), student], path: folder.path + "/lab.yaml")
        let orchestrator = LabOrchestrator(
            lab: lab, state: try directory(["LABCTL_HOME": folder.path, "XDG_RUNTIME_DIR": folder.path]),
            interruption: try StopSignal(), progress: { _ in })
        #expect(try orchestrator.instances([]).map(\.name) == ["teacher", "student-01", "student-02"])
        #expect(try orchestrator.instances(["student"]).map(\.name) == ["student-01", "student-02"])
        #expect(try orchestrator.instances(["student-02"]).map(\.name) == ["student-02"])
        #expect(throws: OrchestratorError.self) { try orchestrator.instances(["nobody"]) }
    }
}
