import Testing
@Test func labctlModuleBuilds() {}
