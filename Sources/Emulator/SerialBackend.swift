/// Where a serial port's output goes. `labvm` joins it to a socket, the terminal or a log file.
///
/// Input takes the other way: `PCBoard.receive` on the CPU thread, or a posted `BoardEvent.serialInput` from any other.
public protocol SerialBackend: AnyObject, Sendable {
    /// One character from the guest. Called on the CPU thread; must not block.
    func transmit(_ byte: UInt8)
    /// The guest's receiver took bytes that the host had sent: there is room for as many more. Called on the CPU thread.
    func inputTaken(_ count: Int)
}

extension SerialBackend {
    public func inputTaken(_ count: Int) {}
}
