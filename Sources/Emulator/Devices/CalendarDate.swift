/// A date and time of the proleptic Gregorian calendar, UTC, as the real-time clock counts it.
struct CalendarDate: Equatable {
    var year: Int
    var month: Int
    var day: Int
    var hour: Int
    var minute: Int
    var second: Int

    /// 0 is Sunday.
    var weekday: Int {
        let dayNumber = Self.floored(secondsSince1970, by: 86_400).quotient
        return Self.floored(Int64(dayNumber + 4), by: 7).remainder
    }

    /// Moments that have a date: the years 0 to 29999. What lies outside becomes the nearest of them.
    static let knownSeconds: ClosedRange<Int64> = -62_167_219_200...884_541_340_799

    init(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
        (self.year, self.month, self.day) = (year, month, day)
        (self.hour, self.minute, self.second) = (hour, minute, second)
    }

    /// - Parameter secondsSince1970: anything; see `knownSeconds`.
    init(secondsSince1970: Int64) {
        let known = min(max(secondsSince1970, Self.knownSeconds.lowerBound), Self.knownSeconds.upperBound)
        let (dayNumber, inDay) = Self.floored(known, by: 86_400)
        // Years that begin in March put the leap day last; 719468 days lie between 1 March 0000 and 1970.
        let (era, inEra) = Self.floored(Int64(dayNumber + 719_468), by: 146_097)
        let yearOfEra = (inEra - inEra / 1460 + inEra / 36_524 - inEra / 146_096) / 365
        let inYear = inEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * inYear + 2) / 153
        day = inYear - (153 * monthFromMarch + 2) / 5 + 1
        month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
        (hour, minute, second) = (inDay / 3600, inDay / 60 % 60, inDay % 60)
    }

    /// Out-of-range fields carry over, as a guest may write any byte.
    var secondsSince1970: Int64 {
        let marchYear = month <= 2 ? year - 1 : year
        let (era, yearOfEra) = Self.floored(Int64(marchYear), by: 400)
        let monthFromMarch = (month + 9) % 12
        let inYear = (153 * monthFromMarch + 2) / 5 + day - 1
        let dayNumber = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + inYear - 719_468
        return Int64(dayNumber * 86_400 + hour * 3600 + minute * 60 + second)
    }

    /// Division that rounds down, so that the remainder is never negative before 1970 or before the year 0.
    private static func floored(_ value: Int64, by divisor: Int64) -> (quotient: Int, remainder: Int) {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (Int(quotient - 1), Int(remainder + divisor)) : (Int(quotient), Int(remainder))
    }
}
