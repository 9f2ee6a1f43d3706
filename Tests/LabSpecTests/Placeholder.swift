import Testing
@Test func labSpecModuleBuilds() {}
