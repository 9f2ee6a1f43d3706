import Glibc
import Synchronization

/// Work that other threads hand to the CPU thread: looked at between budgets through one relaxed atomic, and a doorbell that
/// wakes a sleeping CPU.
final class Mailbox: @unchecked Sendable {
    // Unchecked: `queue` is touched under `mutex` only.
    private let hasWork = Atomic(false)
    private var queue: [@Sendable (Machine) -> Void] = []
    /// A condition variable on the monotonic clock rather than a polled descriptor: its time-out has nanoseconds.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let doorbell = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(doorbell, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(doorbell)
        pthread_mutex_destroy(mutex)
        doorbell.deallocate()
        mutex.deallocate()
    }

    /// From any thread.
    func post(_ work: @escaping @Sendable (Machine) -> Void) {
        pthread_mutex_lock(mutex)
        queue.append(work)
        hasWork.store(true, ordering: .releasing)
        pthread_cond_signal(doorbell)
        pthread_mutex_unlock(mutex)
    }

    /// On the CPU thread: what has come in since the last call. Nearly free when nothing has.
    func take() -> [@Sendable (Machine) -> Void] {
        guard hasWork.load(ordering: .relaxed) else { return [] }
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        hasWork.store(false, ordering: .relaxed)
        let work = queue
        queue.removeAll()
        return work
    }

    /// Sleeps until work comes in or `nanoseconds` have passed (nil: no limit).
    func sleep(nanoseconds: UInt64?) {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        guard let nanoseconds else {
            while queue.isEmpty { pthread_cond_wait(doorbell, mutex) }
            return
        }
        let until = GuestClock.hostNanoseconds() + nanoseconds
        var limit = timespec(tv_sec: Int(until / 1_000_000_000), tv_nsec: Int(until % 1_000_000_000))
        while queue.isEmpty {
            if pthread_cond_timedwait(doorbell, mutex, &limit) == ETIMEDOUT { return }
        }
    }
}
