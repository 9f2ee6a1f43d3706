import Testing

@testable import Emulator

@Suite struct KBC8042Tests {
    let clock = FakeClock()
    let keyboardProbe = Probe()
    let mouseProbe = Probe()
    let ports = PortBus()
    let a20: A20Gate
    let controller: KBC8042

    init() throws {
        a20 = A20Gate(memory: try PhysicalMap(ramSizeBytes: 1 << 20))
        controller = KBC8042(a20: a20, keyboardIRQ: keyboardProbe.line, mouseIRQ: mouseProbe.line)
        controller.attach(to: ports)
    }

    private func drain() -> [UInt8] {
        var bytes: [UInt8] = []
        while ports.in8(0x64) & 1 != 0 { bytes.append(ports.in8(0x60)) }
        return bytes
    }

    private func command(_ value: UInt8) -> [UInt8] {
        ports.out8(0x64, value)
        return drain()
    }

    private func keyboard(_ value: UInt8) -> [UInt8] {
        ports.out8(0x60, value)
        return drain()
    }

    private func mouse(_ value: UInt8) -> [UInt8] {
        ports.out8(0x64, 0xD4)
        ports.out8(0x60, value)
        return drain()
    }

    private func setMode(_ value: UInt8) {
        ports.out8(0x64, 0x60)
        ports.out8(0x60, value)
    }

    private func key(_ name: String, _ isDown: Bool = true) {
        guard let key = ScanCodes.key(named: name) else { return }
        controller.keyboard.setKey(key, isDown: isDown)
    }

    @Test func selfTestsAndCommandByte() {
        #expect(command(0xAA) == [0x55])
        #expect(command(0xAB) == [0x00])
        #expect(command(0xA9) == [0x00])
        setMode(0x61)
        #expect(command(0x20) == [0x61])
        #expect(ports.in8(0x64) & 0x04 != 0)
    }

    @Test func theKeyboardResetsAndIdentifies() {
        #expect(keyboard(0xFF) == [0xFA, 0xAA])
        #expect(keyboard(0xF2) == [0xFA, 0xAB, 0x83])
        #expect(keyboard(0xEE) == [0xEE])
        setMode(0x41)
        #expect(keyboard(0xF2) == [0xFA, 0xAB, 0x41], "the translator changes the identity too")
    }

    @Test func keysInSetTwoAndTranslated() {
        key("a")
        key("a", false)
        key("up")
        key("up", false)
        #expect(drain() == [0x1C, 0xF0, 0x1C, 0xE0, 0x75, 0xE0, 0xF0, 0x75])
        setMode(0x41)
        key("a")
        key("a", false)
        key("up")
        key("up", false)
        key("f7")
        #expect(drain() == [0x1E, 0x9E, 0xE0, 0x48, 0xE0, 0xC8, 0x41])
        key("pause")
        #expect(drain() == [0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5])
    }

    @Test func setOneComesFromTheKeyboardItself() {
        _ = keyboard(0xF0)
        _ = keyboard(0x01)
        key("delete")
        key("delete", false)
        #expect(drain() == [0xE0, 0x53, 0xE0, 0xD3])
    }

    @Test func eachByteIsAnInterruptEdge() {
        key("up")
        let first = keyboardProbe.rises
        _ = ports.in8(0x60)
        #expect(keyboardProbe.rises == first + 1)
        _ = ports.in8(0x60)
        #expect(!keyboardProbe.level)
    }

    @Test func aSwitchedOffKeyboardKeepsItsKeys() {
        _ = command(0xAD)
        key("b")
        #expect(drain() == [])
        #expect(command(0xAE) == [0x32])
    }

    @Test func tooManyKeysLeaveAnOverrunCode() {
        for _ in 0..<30 { key("x") }
        let bytes = drain()
        #expect(bytes.count == 18)
        #expect(bytes.last == 0)
    }

    @Test func A20AndResetThroughTheOutputPort() {
        var resets = 0
        controller.resetRequested = { resets += 1 }
        ports.out8(0x64, 0xD1)
        ports.out8(0x60, 0xDD)
        #expect(!a20.isOpen)
        #expect(command(0xD0)[0] & 2 == 0)
        _ = command(0xDF)
        #expect(a20.isOpen)
        _ = command(0xFE)
        ports.out8(0x64, 0xD1)
        ports.out8(0x60, 0x02)
        #expect(resets == 2)
    }

    @Test func theMouseResetsReportsAndRaisesIRQ12() {
        #expect(mouse(0xFF) == [0xFA, 0xAA, 0x00])
        controller.mouse.move(dx: 5, dy: 5, buttons: 0)
        #expect(drain() == [], "reporting is off")
        #expect(mouse(0xF4) == [0xFA])
        controller.mouse.move(dx: 5, dy: 3, buttons: 1)
        #expect(mouseProbe.level)
        #expect(ports.in8(0x64) & 0x21 == 0x21)
        #expect(drain() == [0x29, 5, 0xFD])
        controller.mouse.move(dx: 300, dy: 0, buttons: 1)
        #expect(drain() == [0x09, 255, 0, 0x09, 45, 0])
    }

    @Test func theWheelIsKnockedFor() {
        for rate in [200, 100, 80] as [UInt8] { for byte in [0xF3, rate] { _ = mouse(byte) } }
        #expect(mouse(0xF2) == [0xFA, 3])
        _ = mouse(0xF4)
        controller.mouse.move(dx: 0, dy: 0, wheel: -2, buttons: 0)
        #expect(drain() == [0x08, 0, 0, 0xFE])
        for rate in [200, 200, 80] as [UInt8] { for byte in [0xF3, rate] { _ = mouse(byte) } }
        #expect(mouse(0xF2) == [0xFA, 4])
        controller.mouse.move(dx: 0, dy: 0, wheel: 1, buttons: 0x08)
        #expect(drain() == [0x08, 0, 0, 0x11])
    }

    @Test func chordsAreHeldAndReleasedInReverse() {
        let injector = KeyInjector(keyboard: controller.keyboard, scheduler: clock.scheduler)
        setMode(0x41)
        #expect(injector.press(["ctrl", "nonsense"]) == "nonsense")
        #expect(injector.press(["ctrl", "alt", "delete"]) == nil)
        #expect(injector.press(["ret"]) == nil)
        clock.advance(by: 1)
        #expect(drain() == [0x1D, 0x38, 0xE0, 0x53])
        clock.advance(by: 99_000_000)
        #expect(drain() == [])
        clock.advance(by: 2_000_000)
        #expect(drain() == [0xE0, 0xD3, 0xB8, 0x9D])
        clock.advance(by: 200_000_000)
        #expect(drain() == [0x1C, 0x9C])
    }

    @Test func everyKeyHasAReleaseInBothSets() {
        for name in ["esc", "f12", "less", "kp_enter", "print", "menu", "sysrq", "num_lock", "insert", "meta_l"] {
            guard let key = ScanCodes.key(named: name) else {
                Issue.record("\(name) is unknown")
                continue
            }
            for set in [UInt8(1), 2] {
                #expect(!ScanCodes.sequence(key, isDown: true, set: set).isEmpty)
                #expect(!ScanCodes.sequence(key, isDown: false, set: set).isEmpty)
            }
        }
    }
}
