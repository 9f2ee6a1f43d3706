/// The processor's state when a kernel is entered without firmware. Everything else is as after reset, interrupts off.
///
/// The Linux 32-bit boot protocol asks for: protected mode without paging, flat 4 GiB segments with selectors 10h (code) and
/// 18h (data), ESI at the boot parameters, EBP, EDI and EBX zero (Linux Documentation/arch/x86/boot, "32-bit Boot Protocol").
struct BootEntry: Equatable {
    enum Mode {
        case protected32
    }

    var mode = Mode.protected32
    var instructionPointer: UInt32
    /// ESI: the boot parameters ("zero page").
    var parameters: UInt32
    /// What Multiboot hands over.
    var eax: UInt32 = 0
    var ebx: UInt32 = 0
    var stackPointer: UInt32
    var codeSelector: UInt16 = 0x10
    /// DS, ES, FS, GS and SS.
    var dataSelector: UInt16 = 0x18
    /// The table that holds both descriptors, already in guest memory.
    var gdtBase: UInt32
    var gdtLimit: UInt16
    /// CR0: PE and ET.
    var cr0: UInt32 = 0x11
}
