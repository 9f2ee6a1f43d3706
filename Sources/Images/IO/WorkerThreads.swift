import Glibc

/// Runs one piece of work on several threads and waits for all of them.
enum WorkerThreads {
    private final class Job: Sendable {
        let work: @Sendable (Int) -> Void
        let number: Int
        init(_ number: Int, _ work: @escaping @Sendable (Int) -> Void) {
            self.number = number
            self.work = work
        }
    }

    /// Processors of this machine.
    static var processorCount: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    /// Calls `work` with 0, 1, … `count` - 1, each on a thread of its own, the last one on the caller's.
    static func run(_ count: Int, _ work: @escaping @Sendable (Int) -> Void) {
        var threads: [pthread_t] = []
        for number in 0..<max(0, count - 1) {
            let job = Unmanaged.passRetained(Job(number, work))
            var thread = pthread_t()
            let code = pthread_create(
                &thread, nil,
                { pointer in
                    guard let pointer else { return nil }
                    // SAFETY: the one retain made for this thread is taken back here.
                    let job = Unmanaged<Job>.fromOpaque(pointer).takeRetainedValue()
                    job.work(job.number)
                    return nil
                }, job.toOpaque())
            if code == 0 {
                threads.append(thread)
            } else {
                // No thread to be had: the others do its share, since work is taken from a common queue.
                job.release()
            }
        }
        work(count - 1)
        for thread in threads { pthread_join(thread, nil) }
    }
}
