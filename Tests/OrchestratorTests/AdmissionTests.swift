import Glibc
import LabSpec
import Testing

@testable import Orchestrator

/// Whether the host has room for what is to be started.
@Suite struct AdmissionTests {
    private func findings(_ host: Admission.Host, _ decisions: [VMPlan.Decision]) throws -> [String] {
        var vm = VM(name: "big")
        vm.replicas = decisions.count
        vm.memory = .gibibytes(60)
        let instances = Lab(name: "lab", vms: [vm]).instances()
        let plans = zip(instances, decisions).map { instance, decision in
            VMPlan(instance: instance, decision: decision, missingOverlays: [.hda])
        }
        return Admission(host: host).findings(Plan(images: [], vms: plans, warnings: []))
    }

    @Test func whatTheHostLacksIsSaid() throws {
        let host = Admission.Host(memoryBytes: 24 << 30, diskBytes: 1 << 20, descriptors: 70)
        let found = try findings(host, [.start(reason: "new"), .start(reason: "new")])
        #expect(found.count == 3)
        #expect(
            found[0].contains("the 2 VMs to start may need 120.1 GiB of memory, the host has 24.0 GiB left"), "\(found)"
        )
        #expect(found[1].contains("1.0 MiB left"), "\(found)")
        #expect(found[2].contains("76 open files, the limit is 70"), "\(found)")
    }

    @Test func whatRunsAlreadyAndWhatIsNotKnownIsNoReason() throws {
        let host = Admission.Host(memoryBytes: 61 << 30, diskBytes: nil, descriptors: nil)
        #expect(try findings(host, [.start(reason: "new"), .leave, .restart(reason: "memory")]).isEmpty)
        #expect(try findings(Admission.Host(), [.start(reason: "new"), .start(reason: "new")]).isEmpty)
    }

    @Test func thisHostIsKnown() {
        let host = Admission.Host.current("/")
        #expect((host.memoryBytes ?? 0) > 0)
        #expect((host.descriptors ?? 0) > 0)
        let own = getpid()
        #expect(UsageMeter.cpuSeconds(own) != nil)
        #expect(UsageMeter.memory(own) > 1 << 20)
    }
}

/// What a format cannot hold is known before anything is made.
@Suite struct FormatLimitTests {
    @Test func anEmptyImageThatItsFormatCannotHoldIsRefused() throws {
        let folder = try TemporaryFolder()
        func image(_ name: String, _ format: DiskFormat, _ gibibytes: UInt64) -> Image {
            Image(name: name, source: .create(CreateRecipe(format: format, size: .gibibytes(gibibytes))))
        }
        let lab = Lab(
            name: "lab",
            images: [image("good", .qcow2, 4096), image("small", .vpc, 100), image("large", .vpc, 4096)])
        let failures = FormatLimits(lab).failures(in: folder.path)
        #expect(Array(failures.keys) == [.named("large")])
        #expect(failures[.named("large")]?.contains("4T as vpc cannot be made") == true, "\(failures)")
        #expect(Folder.names(in: folder.path).isEmpty)
    }
}
