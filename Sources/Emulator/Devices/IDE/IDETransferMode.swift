/// The transfer mode that SET FEATURES 03h selects (ATA/ATAPI-6, 8.46.11) and identify words 62, 63 and 88 report.
///
/// | sector count | mode |
/// | --- | --- |
/// | 00, 01 | PIO default (01: without IORDY) |
/// | 08–0C | PIO with flow control |
/// | 10–12 | single-word DMA 0–2 |
/// | 20–22 | multiword DMA 0–2 |
/// | 40–45 | Ultra DMA 0–5 |
struct IDETransferMode {
    /// Low byte: modes supported; high byte: the selected one.
    private(set) var singleWord: UInt16 = 0x0007
    private(set) var multiWord: UInt16 = 0x0007
    private(set) var ultra: UInt16 = 0x203F

    mutating func exchange(_ c: StateCoder) {
        c.field("singleWord", &singleWord)
        c.field("multiWord", &multiWord)
        c.field("ultra", &ultra)
    }

    /// - Returns: false for a mode that does not exist.
    mutating func select(_ code: UInt8) -> Bool {
        let mode = UInt16(code & 7)
        var chosen: (single: UInt16, multi: UInt16, ultra: UInt16) = (0, 0, 0)
        switch code >> 3 {
        case 0, 1: break
        case 2 where mode <= 2: chosen.single = 1 << (mode + 8)
        case 4 where mode <= 2: chosen.multi = 1 << (mode + 8)
        case 8 where mode <= 5: chosen.ultra = 1 << (mode + 8)
        default: return false
        }
        singleWord = 0x07 | chosen.single
        multiWord = 0x07 | chosen.multi
        ultra = 0x3F | chosen.ultra
        return true
    }
}
