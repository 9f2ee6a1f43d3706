import Glibc

/// Running programs without Foundation, whose size would blur the memory bound.
enum ChildProcess {
    /// Runs a program found in PATH in a folder, its output thrown away. True when it ended with 0.
    static func run(_ arguments: [String], in folder: String) -> Bool {
        let command = "cd \"$0\" && exec \"$@\" >/dev/null 2>&1"
        guard let child = start(["/bin/sh", "-c", command, folder] + arguments, output: nil) else { return false }
        var status: Int32 = 0
        return waitpid(child, &status, 0) == child && status == 0
    }

    /// Starts a program; its standard output and error go to the file `output`.
    static func start(_ arguments: [String], output: String?) -> pid_t? {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if let output {
            posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
            posix_spawn_file_actions_adddup2(&actions, 1, 2)
        }
        var strings: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
        defer { for string in strings { free(string) } }
        strings.append(nil)
        var child: pid_t = 0
        guard posix_spawn(&child, arguments[0], &actions, nil, strings, environ) == 0 else { return nil }
        return child
    }

    /// The program itself.
    static var ownPath: String {
        guard let path = realpath("/proc/self/exe", nil) else { return CommandLine.arguments[0] }
        defer { free(path) }
        return String(cString: path)
    }
}
