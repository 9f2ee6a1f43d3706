import VMProtocol

/// QEMU's jobs (docs/interop/qmp-ref, "Background jobs"): work that a command begins and whose outcome is asked for later. Ours is done when
/// the command returns; a client sees the events and the list that it waits for.
///
/// `created` → `running` → `waiting` → `pending` → `concluded`, until `job-dismiss` takes it off the list (`null`).
///
/// Used on the I/O thread only.
final class JobList {
    private struct Job {
        let id: String
        let type: String
        let error: String?
    }

    /// Jobs that nobody has dismissed.
    private static let most = 64
    private var jobs: [Job] = []

    /// Does the work of a job; what goes wrong with it is the job's, not the command's.
    func run(
        _ id: String, type: String, announce: (String, [String: JSONValue]) -> Void,
        _ work: () throws(QMPError) -> Void
    ) throws(QMPError) {
        guard !id.isEmpty, id.utf8.count <= 255 else { throw .generic("Invalid job ID '\(id)'") }
        guard !jobs.contains(where: { $0.id == id }) else { throw .generic("Job ID '\(id)' already in use") }
        guard jobs.count < Self.most else {
            throw .generic("at most \(Self.most) jobs can wait to be dismissed; use job-dismiss")
        }
        func say(_ statuses: [String]) {
            for status in statuses { announce("JOB_STATUS_CHANGE", ["id": .string(id), "status": .string(status)]) }
        }
        say(["created", "running"])
        var failure: String?
        do throws(QMPError) { try work() } catch { failure = error.text }
        jobs.append(Job(id: id, type: type, error: failure))
        say(failure == nil ? ["waiting", "pending", "concluded"] : ["aborting", "concluded"])
    }

    /// The answer to `query-jobs`.
    var list: JSONValue {
        .array(
            jobs.map { job in
                var entry: [String: JSONValue] = [
                    "id": .string(job.id), "type": .string(job.type), "status": "concluded", "current-progress": 1,
                    "total-progress": 1,
                ]
                if let error = job.error { entry["error"] = .string(error) }
                return .object(entry)
            })
    }

    func dismiss(_ id: String, announce: (String, [String: JSONValue]) -> Void) throws(QMPError) {
        guard let index = jobs.firstIndex(where: { $0.id == id }) else { throw .generic("Job not found") }
        jobs.remove(at: index)
        announce("JOB_STATUS_CHANGE", ["id": .string(id), "status": "null"])
    }
}
