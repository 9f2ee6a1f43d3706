import VMProtocol

/// What of its sandbox a running VM says that it holds.
enum SandboxReport {
    /// `Landlock 6, system calls`, `Landlock 3; without the filter of system calls`, `off`, or why nobody knows.
    static func words(_ vm: VMFolder) -> String {
        let answer: JSONValue
        do throws(OrchestratorError) {
            answer = try QMPClient(vm, limitMilliseconds: 2000).execute("x-query-sandbox")
        } catch {
            return "does not answer"
        }
        guard answer["enabled"]?.boolValue == true else { return "off" }
        var held: [String] = []
        if let abi = answer["landlock-abi"]?.intValue, abi > 0 { held.append("Landlock \(abi)") }
        if answer["seccomp"]?.boolValue == true { held.append("system calls") }
        let missing = (answer["missing"]?.arrayValue ?? []).compactMap(\.stringValue)
        let without = missing.isEmpty ? "" : "; without \(missing.joined(separator: ", "))"
        return (held.isEmpty ? "limits only" : held.joined(separator: ", ")) + without
    }
}
