import Testing

@testable import labctl

@Suite struct ConsoleKeysTests {
    private func actions(_ pieces: [UInt8]...) -> [ConsoleKeys.Action] {
        var keys = ConsoleKeys()
        return pieces.flatMap { keys.take($0) }
    }

    @Test func whatIsNotLabctlsIsTheGuests() {
        #expect(actions([0x61, 0x03, 0x0D]) == [.type([0x61, 0x03, 0x0D])])
        #expect(actions([0x61, 0x1D, 0x62]) == [.type([0x61]), .detach])
    }

    @Test func theMenuTakesTheNextKeyWheneverItComes() {
        #expect(actions([0x61, 0x1C], [0x62], [0x62]) == [.type([0x61]), .menu, .choose(.scrollBack), .type([0x62])])
        #expect(actions([0x1C, 0x52]) == [.menu, .choose(.readOnly)])
        #expect(actions([0x1C, 0x64, 0x61]) == [.menu, .detach])
        #expect(actions([0x1C, 0x7A, 0x7A]) == [.menu, .leaveMenu, .type([0x7A])])
        #expect(actions([0x1C, 0x1D]) == [.menu, .detach])
    }

    @Test func theMenuKeyCanBeSentToTheGuest() {
        #expect(actions([0x1C, 0x5C, 0x61]) == [.menu, .type([0x1C, 0x61])])
        #expect(actions([0x1C, 0x1C]) == [.menu, .type([0x1C])])
    }
}
