import Emulator

/// What the process needs from the PC it runs. `EmulatedPC` joins it to the emulator.
///
/// Every call may come from any thread and returns soon; `run` alone blocks, on a thread of its own.
protocol GuestMachine: AnyObject, Sendable {
    /// Runs the guest until it powers off, ends by reset, fails or is told to quit.
    func run() -> MachineEnd
    func pressPowerButton()
    func requestReset()
    func requestQuit()
    func pause()
    func resume()
    /// Bytes that arrive at serial port 0.
    func serialInput(_ bytes: [UInt8])
    /// The screen as the monitor would show it; nil without a display.
    func screenshot() -> ScreenImage?
    /// What a person could read on the screen; nil without a display.
    func screenText() -> ScreenText?
    /// Where each processor sits.
    var processors: [ProcessorPlace] { get }
    /// A processor's registers as text; nil from a machine that has ended.
    func registers(of processor: Int) -> String?
    /// A non-maskable interrupt for all processors.
    func injectNMI()
    /// What the translator did; nil where everything is interpreted, and from a machine that has ended.
    func translatorCounters() -> TranslatorCounters?
    /// Presses keys (QEMU's names: `ctrl`, `a`, `ret`) in order and lets them go in reverse.
    /// - Returns: the first name that is no key; nothing is pressed then.
    func pressKeys(_ names: [String], holdMilliseconds: Int) -> String?
    /// Puts another disc into a drive, or none.
    func changeMedium(_ drive: RemovableDrive, to medium: (any DiskBackend)?)
    /// Does nothing for a while.
    func rest(nanoseconds: UInt64)
    /// Runs `work` while the guest stands between two instructions, and waits for it.
    /// - Returns: what `work` says went wrong, or that the machine did not get to it.
    func atRest(_ work: @escaping @Sendable (Machine) -> String?) -> String?
}

/// Why `run` returned.
enum MachineEnd: Sendable, Equatable {
    case powerOff
    case reset
    case quit
    /// The guest wrote to the debug-exit port; the exit status it asked for.
    case debugExit(Int32)
    case failed(String)
}

/// Drives whose medium changes while the guest runs.
enum RemovableDrive: String, Sendable, CaseIterable {
    case cdrom = "ide1-cd0"
}
