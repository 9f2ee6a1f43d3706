import Testing
@Test func emulatorModuleBuilds() {}
