import Glibc

/// A mutex that classes can hold and lock without closures (typed errors pass through freely).
final class Lock: @unchecked Sendable {
    private let handle: UnsafeMutablePointer<pthread_mutex_t>

    init() {
        handle = .allocate(capacity: 1)
        // SAFETY: freshly allocated memory for exactly one mutex, destroyed in deinit.
        pthread_mutex_init(handle, nil)
    }

    deinit {
        pthread_mutex_destroy(handle)
        handle.deallocate()
    }

    @inline(__always) func lock() { pthread_mutex_lock(handle) }
    @inline(__always) func unlock() { pthread_mutex_unlock(handle) }

    /// Waits on `condition`; the lock is held again on return.
    func wait(_ condition: Condition) { pthread_cond_wait(condition.handle, handle) }
}

/// A condition variable for `Lock`.
final class Condition: @unchecked Sendable {
    fileprivate let handle: UnsafeMutablePointer<pthread_cond_t>

    init() {
        handle = .allocate(capacity: 1)
        // SAFETY: freshly allocated memory for exactly one condition variable, destroyed in deinit.
        pthread_cond_init(handle, nil)
    }

    deinit {
        pthread_cond_destroy(handle)
        handle.deallocate()
    }

    func broadcast() { pthread_cond_broadcast(handle) }
}

/// Many readers or one writer.
final class ReadWriteLock: @unchecked Sendable {
    private let handle: UnsafeMutablePointer<pthread_rwlock_t>

    init() {
        handle = .allocate(capacity: 1)
        // SAFETY: freshly allocated memory for exactly one lock, destroyed in deinit.
        pthread_rwlock_init(handle, nil)
    }

    deinit {
        pthread_rwlock_destroy(handle)
        handle.deallocate()
    }

    @inline(__always) func lockShared() { pthread_rwlock_rdlock(handle) }
    @inline(__always) func lockExclusive() { pthread_rwlock_wrlock(handle) }
    @inline(__always) func unlock() { pthread_rwlock_unlock(handle) }
}
