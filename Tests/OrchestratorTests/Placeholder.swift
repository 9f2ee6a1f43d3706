import Testing
@Test func orchestratorModuleBuilds() {}
