import ArgumentParser
import Foundation
import Images
import Testing

@testable import labctl

/// How the image verbs open what they are given.
@Suite struct ImageSourceTests {
    @Test func whatAnImageSaysOfItselfNeedsNoSecret() throws {
        let path = NSTemporaryDirectory() + "source-\(UUID().uuidString).qcow2"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let options = ["encrypt.format": "luks", "encrypt.key-secret": "s", "encrypt.iter-time": "1"]
        var request = CreateRequest(path: path, size: 1 << 20, options: options)
        request.secrets = ["s": Array("geheim".utf8)]
        try DiskImage.create(request, format: "qcow2")
        let source = try ImageSourceOptions.parse(["--image-opts"])
        let name = "driver=qcow2,file.filename=\(path),encrypt.key-secret=s"
        let device = try source.open(
            name, format: nil, readOnly: true, openBacking: false, forCheck: true, metadataOnly: true)
        #expect(device.size == 1 << 20)
        try device.close()
        #expect(throws: ExitCode.self) { _ = try source.open(name, format: nil, readOnly: true) }
    }
}
