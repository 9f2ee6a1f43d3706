import Testing
@Test func guestModuleBuilds() {}
