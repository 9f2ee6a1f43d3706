import Glibc
import LabSpec
import VMProtocol

/// Where labctl keeps what it knows.
///
/// | what | from | else |
/// | --- | --- | --- |
/// | labs | `$LABCTL_HOME` | `$XDG_STATE_HOME/labctl`, `~/.local/state/labctl` |
/// | cache of images and digests | `$XDG_CACHE_HOME/labctl` | `~/.cache/labctl` |
/// | sockets | `$XDG_RUNTIME_DIR/labctl` | `/tmp/labctl-<uid>`, owned by the user with mode 0700 |
public struct StateDirectory: Sendable {
    /// Folder of all labs and what belongs to none.
    public let home: String
    /// Folder of images that were made and of digests; everything in it can be made again.
    public let cache: String
    /// Folder of sockets.
    public let runtime: String

    /// - Parameter variable: looks up an environment variable; tests bring their own.
    public init(variable: (String) -> String? = StateDirectory.environment) throws(OrchestratorError) {
        func nonEmpty(_ name: String) -> String? { variable(name).flatMap { $0.hasPrefix("/") ? $0 : nil } }
        let user = nonEmpty("HOME") ?? StateDirectory.passwordHome() ?? "/"
        if let own = variable("LABCTL_HOME"), !own.isEmpty {
            home = StateDirectory.absolute(own)
        } else {
            home = (nonEmpty("XDG_STATE_HOME") ?? "\(user)/.local/state") + "/labctl"
        }
        cache = (nonEmpty("XDG_CACHE_HOME") ?? "\(user)/.cache") + "/labctl"
        runtime = try StateDirectory.runtimeFolder(nonEmpty("XDG_RUNTIME_DIR"))
    }

    /// The environment of this process.
    public static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

    /// Folder with one folder per lab.
    public var labsFolder: String { "\(home)/labs" }
    /// Images that were made, under names made from their recipes.
    public var imagesFolder: String { "\(cache)/images" }
    /// Machines that VMs begin as.
    public var warmFolder: String { "\(cache)/warm" }
    /// Downloads that are not whole yet.
    public var downloadsFolder: String { "\(cache)/downloads" }
    /// What is kept of builds that failed: the console's text and a picture of the screen.
    public var failedBuildsFolder: String { "\(cache)/failed-builds" }
    /// Remembered digests.
    public var digests: DigestCache { DigestCache(folder: "\(cache)/digests") }

    /// The folder of a lab.
    /// - Parameter project: the name of a copy beside others of the same lab.
    public func folder(of lab: Lab, project: String? = nil) -> LabFolder {
        // No path has a zero byte: a project's folder is no other lab's.
        let hash = SHA256Digest.of(lab.path + (project.map { "\0" + $0 } ?? "")).prefix(12)
        let name = project.map { "\(lab.name)-\($0)" } ?? lab.name
        return LabFolder(path: "\(labsFolder)/\(name)-\(hash)", runtime: runtime)
    }

    /// Folders of all labs that were ever brought up and not destroyed.
    public func allLabs() -> [LabFolder] {
        Folder.names(in: labsFolder).map { LabFolder(path: "\(labsFolder)/\($0)", runtime: runtime) }
    }

    private static func absolute(_ path: String) -> String {
        if path.hasPrefix("/") { return path }
        guard let folder = getcwd(nil, 0) else { return path }
        defer { free(folder) }
        return String(cString: folder) + "/" + path
    }

    private static func passwordHome() -> String? {
        guard let entry = getpwuid(getuid()), let home = entry.pointee.pw_dir else { return nil }
        return String(cString: home)
    }

    /// A socket folder below it needs 12 bytes of hash, a slash and the longest socket name.
    private static let longestRuntime = UnixSocket.longestPath - 1 - 12 - 1 - VMFile.consoleSocket.rawValue.utf8.count

    private static func runtimeFolder(_ given: String?) throws(OrchestratorError) -> String {
        if let given, Folder.isFolder(given), "\(given)/labctl".utf8.count <= longestRuntime {
            let path = "\(given)/labctl"
            if Folder.make(path) == nil { return path }
        }
        let path = "/tmp/labctl-\(getuid())"
        if let error = Folder.make(path) { throw OrchestratorError(error) }
        // /tmp is everybody's: somebody else's folder of that name must not get our consoles.
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_uid == getuid(),
            status.st_mode & 0o077 == 0
        else {
            throw OrchestratorError(
                .host, "\(path) must be a folder of user \(getuid()) with mode 0700; remove it or set XDG_RUNTIME_DIR")
        }
        return path
    }
}

/// The folder of one lab: record, lock, history and a folder for each VM.
public struct LabFolder: Sendable, Equatable {
    public let path: String
    let runtime: String

    init(path: String, runtime: String) {
        self.path = path
        self.runtime = runtime
    }

    /// The lab's name as the folder's name has it, before the hash.
    var nameInPath: String {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        return name.lastIndex(of: "-").map { String(name[..<$0]) } ?? name
    }

    public var lockPath: String { "\(path)/lock" }
    public var recordPath: String { "\(path)/lab.json" }
    public var eventsPath: String { "\(path)/events.jsonl" }
    public var vmsFolder: String { "\(path)/vms" }

    /// The folder of a VM.
    public func vm(_ name: String) -> VMFolder {
        let state = "\(vmsFolder)/\(name)"
        return VMFolder(name: name, path: state, runtime: "\(runtime)/\(SHA256Digest.of(state).prefix(12))")
    }

    /// VMs that have a folder.
    public var vmNames: [String] { Folder.names(in: vmsFolder) }

    /// Adds to the lab's history. History never stops a verb.
    public func record(_ event: String, vm: String? = nil, detail: String? = nil) {
        try? EventHistory(eventsPath).append(LifecycleEvent(time: WallClock.now, vm: vm, event: event, detail: detail))
    }
}

/// The folder of one VM and its sockets' folder.
public struct VMFolder: Sendable, Equatable {
    public let name: String
    /// Overlays, records, console log.
    public let path: String
    /// Sockets.
    public let runtime: String

    public var recordPath: String { "\(path)/vm.json" }
    /// How far `wait` has read the console.
    public var cursorPath: String { "\(path)/console.cursor" }
    public func file(_ file: VMFile) -> String { file.path(in: path) }
    public var consoleSocket: String { VMFile.consoleSocket.path(in: runtime) }
    public var qmpSocket: String { VMFile.qmpSocket.path(in: runtime) }
    /// The overlay in an IDE slot.
    public func overlay(_ slot: DiskSlot) -> String { "\(path)/\(slot.rawValue).qcow2" }

    /// Whether the VM's process lives: it holds its lock for as long as it does.
    public var isRunning: Bool { FileLock.isHeld(file(.lock)) }
}
