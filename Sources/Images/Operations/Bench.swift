/// What `bench` sends.
public struct BenchPlan: Sendable {
    var device: any BlockDevice
    var count: Int
    var requestBytes: Int
    var stepBytes: UInt64
    var start: UInt64
    var pattern: UInt8
    var writes: Bool
    var flushInterval: Int

    public init(
        device: any BlockDevice, count: Int, requestBytes: Int, stepBytes: UInt64, start: UInt64, pattern: UInt8,
        writes: Bool, flushInterval: Int
    ) {
        self.device = device
        self.count = count
        self.requestBytes = requestBytes
        self.stepBytes = stepBytes
        self.start = start
        self.pattern = pattern
        self.writes = writes
        self.flushInterval = flushInterval
    }

    /// Offset of request `number`: steps from the start, beginning anew at the end of the disk.
    func offset(_ number: Int) -> UInt64 {
        let room = device.size - UInt64(requestBytes) + 1
        return (start &+ UInt64(number) &* stepBytes) % room
    }
}

extension DiskImage {
    /// Sends the requests of a plan from several threads.
    public static func bench(_ plan: BenchPlan, threads: Int) throws(ImageError) {
        let state = BenchState()
        WorkerThreads.run(max(1, threads)) { _ in
            let buffer = HeapBuffer(plan.requestBytes)
            buffer.bytes.initializeMemory(as: UInt8.self, repeating: plan.pattern)
            while let number = state.next(plan.count) {
                do throws(ImageError) {
                    if plan.writes {
                        try plan.device.write(from: buffer.readable.part(0, plan.requestBytes), at: plan.offset(number))
                        if plan.flushInterval > 0, (number + 1) % plan.flushInterval == 0 { try plan.device.flush() }
                    } else {
                        try plan.device.read(into: buffer.bytes.part(0, plan.requestBytes), at: plan.offset(number))
                    }
                } catch {
                    state.fail(error)
                }
            }
        }
        if let error = state.failure { throw error }
    }
}

/// The next request's number, and the first failure.
private final class BenchState: @unchecked Sendable {
    private let lock = Lock()
    private var number = 0
    private(set) var failure: ImageError?

    func next(_ count: Int) -> Int? {
        lock.lock()
        defer { lock.unlock() }
        guard failure == nil, number < count else { return nil }
        defer { number += 1 }
        return number
    }

    func fail(_ error: ImageError) {
        lock.lock()
        if failure == nil { failure = error }
        lock.unlock()
    }
}
