import Foundation
import Images
import LabSpec
import Testing

@testable import Orchestrator

/// What cloud-init finds on its CD.
@Suite struct SeedDiscTests {
    /// The CD's text: each of its files lies in one piece.
    private func disc(_ seed: CloudSeed, id: String = "alpha-1") throws -> String {
        let path = NSTemporaryDirectory() + "seed-\(UUID().uuidString).iso"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try SeedDisc(seed, hostName: "alpha").write(to: path, instanceID: id)
        return String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
    }

    private func seed(_ yaml: String) throws -> CloudSeed {
        let text =
            "lab: a\nvms:\n  alpha:\n    fda: a.img\n" + yaml.split(separator: "\n").map { "    \($0)\n" }.joined()
        let loaded = LabFile.load(text: text, fileName: "lab.yaml", realPath: "/labs/lab.yaml", checksFiles: false)
        let problems = loaded.diagnostics.filter { $0.severity == .error }.map(\.message)
        #expect(problems.isEmpty)
        return try #require(loaded.lab?.vms.first?.seed)
    }

    @Test func aMappingBecomesCloudConfigAndKeepsWhatItsScalarsMean() throws {
        let text = try disc(
            seed(
                """
                cloud_init:
                  user-data:
                    package_update: no
                    runcmd: [ [ echo, "a: b" ], "touch /x" ]
                    write_files: [ { path: /a, permissions: 0644 } ]
                """))
        #expect(
            text.contains(
                """
                #cloud-config
                "package_update": no
                "runcmd": [[echo, "a: b"], "touch /x"]
                "write_files": [{"path": /a, "permissions": 0644}]

                """))
        #expect(text.contains("instance-id: \"alpha-1\"\nlocal-hostname: \"alpha\"\n"))
    }

    @Test func metaDataOfTheLabFileWins() throws {
        let text = try disc(seed("cloud_init: { meta-data: { instance-id: mine, tags: [ a ] } }"))
        #expect(text.contains("\"instance-id\": mine\n\"tags\": [a]\nlocal-hostname: \"alpha\"\n"))
        #expect(!text.contains("alpha-1"))
    }

    @Test func textIsTakenAsItIs() throws {
        let text = try disc(
            seed("cloud_init:\n  user-data: |\n    #!/bin/sh\n    echo hello\n  network-config: { version: 2 }"))
        #expect(text.contains("#!/bin/sh\necho hello\n"))
        #expect(text.contains("\"version\": 2\n"))
    }

    @Test func filesAndKeysBecomeCloudConfig() throws {
        let text = try disc(
            seed(
                """
                files: [ { path: /etc/motd, content: "hello\\n", mode: "0600", owner: "root:adm" } ]
                ssh_keys: [ "ssh-ed25519 AAAA me@here" ]
                """))
        #expect(text.contains("ssh_authorized_keys:\n- \"ssh-ed25519 AAAA me@here\"\n"))
        #expect(text.contains("content: \"aGVsbG8K\"\n  permissions: \"0600\"\n  owner: \"root:adm\"\n"))
    }

    @Test func besideUserDataTheyAreAPartOfTheirOwn() throws {
        let text = try disc(
            seed("cloud_init: { user-data: { a: b } }\nssh_keys: [ \"ssh-ed25519 AAAA me@here\" ]"))
        #expect(text.contains("Content-Type: multipart/mixed"))
        #expect(text.contains(Base64.encode(Array("#cloud-config\n\"a\": b\n".utf8))))
    }

    @Test func theInstanceDoesNotCountForTheDigestAndTheContentDoes() throws {
        let one = try seed("ssh_keys: [ \"ssh-ed25519 AAAA me@here\" ]")
        let other = try seed("ssh_keys: [ \"ssh-ed25519 BBBB me@here\" ]")
        let digest = try SeedDisc(one, hostName: "alpha").digest()
        #expect(try SeedDisc(one, hostName: "alpha").digest() == digest)
        #expect(try SeedDisc(other, hostName: "alpha").digest() != digest)
        #expect(try SeedDisc(one, hostName: "beta").digest() != digest)
    }

    @Test func aPrivateKeyIsRefused() throws {
        let path = NSTemporaryDirectory() + "key-\(UUID().uuidString).pub"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try "-----BEGIN OPENSSH PRIVATE KEY-----\n".write(toFile: path, atomically: true, encoding: .utf8)
        let seed = try seed("ssh_keys: [ \(path) ]")
        #expect {
            try SeedDisc(seed, hostName: "alpha").digest()
        } throws: { error in
            (error as? OrchestratorError)?.message.contains("private key") == true
        }
    }
}
