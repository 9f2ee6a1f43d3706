import Testing
@Test func imagesModuleBuilds() {}
