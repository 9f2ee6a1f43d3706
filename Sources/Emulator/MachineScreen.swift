/// The monitor and the disc drives from outside the machine.
extension Machine {
    /// Takes a picture of the screen on the CPU thread, between two instructions, and hands it over there. Nothing is
    /// called when the machine has ended.
    public func takeScreenshot(_ body: @escaping @Sendable (ScreenImage) -> Void) {
        post { body($0.board.vga.snapshot()) }
    }

    /// The same for the characters of a text mode: a string per row, none in a graphics mode.
    public func readScreenText(_ body: @escaping @Sendable ([String]) -> Void) {
        post { body($0.board.vga.textContents()) }
    }

    /// Puts a disc into the CD-ROM drive of an IDE slot (0 is hda), or takes it out with nil. Slots without a CD-ROM
    /// drive ignore it.
    public func changeDisc(slot: Int, to disc: (any DiskBackend)?) {
        post { machine in
            let drives = machine.board.ide.cdroms
            if drives.indices.contains(slot) { drives[slot]?.changeDisc(disc) }
        }
    }
}
