/// Crystals of the PC and exact conversion between guest nanoseconds and their ticks.
///
/// Tick counts are always derived from absolute time, never summed up, so that nothing drifts.
enum ClockRates {
    /// 14.318180 MHz / 12: the PIT's input.
    static let pitHertz: UInt64 = 1_193_182
    /// 14.318180 MHz / 4: the ACPI power-management timer.
    static let pmTimerHertz: UInt64 = 3_579_545
    static let nanosecondsPerSecond: UInt64 = 1_000_000_000

    /// Whole ticks that have passed `nanoseconds` after power-on.
    static func ticks(at nanoseconds: UInt64, hertz: UInt64) -> UInt64 {
        nanosecondsPerSecond.dividingFullWidth(nanoseconds.multipliedFullWidth(by: hertz)).quotient
    }

    /// The first nanosecond at which `ticks` whole ticks have passed; saturates beyond 500 years.
    static func nanoseconds(at ticks: UInt64, hertz: UInt64) -> UInt64 {
        let product = ticks.multipliedFullWidth(by: nanosecondsPerSecond)
        guard product.high < hertz else { return .max }
        let (quotient, remainder) = hertz.dividingFullWidth(product)
        return remainder == 0 ? quotient : quotient + 1
    }
}
