import Glibc
import Images
import LabSpec
import VMProtocol

/// Makes an image by running a VM: steps, until the guest powers off; then its disk without what lies below and without holes.
/// What fails leaves the last words of its console and a picture of its screen, and nothing half-built.
struct ImageBuild {
    let store: ImageStore
    let label: String
    let recipe: BuildRecipe
    let images: [ImageReference: ResolvedImage]

    /// A step that failed, and why.
    private struct Failure: Error {
        var error: OrchestratorError
        /// `step 3 (wait: 'login: ')`; nil for what is no step.
        var step: String?
    }

    /// Builds into a new file.
    func write(to target: String) throws(OrchestratorError) {
        let vm = BuildVM(store, label, recipe, images)
        let deadline = WallClock.monotonicNanoseconds + recipe.timeout.milliseconds * 1_000_000
        do throws(Failure) {
            try run(vm, until: deadline)
            try flatten(vm, to: target)
        } catch {
            throw fail(vm, error)
        }
        try vm.remove()
        for path in evidencePaths { unlink(path) }
    }

    // MARK: Running

    private func run(_ vm: BuildVM, until deadline: UInt64) throws(Failure) {
        store.progress(.image(name: label, .building(step: "starting")))
        let process: VMProcess
        do throws(OrchestratorError) {
            process = try vm.start()
        } catch {
            throw Failure(error: error, step: nil)
        }
        store.folder.record("build", vm: vm.folder.name)
        let runner = StepRunner(vm: vm.folder, interruption: store.interruption)
        do throws(StepFailure) {
            try runner.run(recipe.steps, until: deadline) { store.progress(.image(name: label, .building(step: $0))) }
        } catch {
            // `poweroff` as the last command has no exit status to tell.
            let isLast = error.index == recipe.steps.count - 1
            guard isLast, case .run = error.step.action, error.error.kind == .vm, hasPoweredOff(vm, process) else {
                throw Failure(error: error.error, step: error.place)
            }
        }
        store.progress(.image(name: label, .building(step: "until it powers off")))
        do throws(OrchestratorError) {
            try waitForEnd(vm, process, until: deadline)
        } catch {
            throw Failure(error: error, step: nil)
        }
    }

    /// How long a process may take to write how it ended.
    private static let lastActMilliseconds: UInt64 = 5000

    private func hasPoweredOff(_ vm: BuildVM, _ process: VMProcess) -> Bool {
        let end = WallClock.monotonicNanoseconds + Self.lastActMilliseconds * 1_000_000
        while vm.folder.isRunning, WallClock.monotonicNanoseconds < end { usleep(20_000) }
        return vm.folder.readExitRecord()?.reason == .guestPowerOff
    }

    private func waitForEnd(_ vm: BuildVM, _ process: VMProcess, until deadline: UInt64) throws(OrchestratorError) {
        while vm.folder.isRunning {
            guard WallClock.monotonicNanoseconds < deadline else {
                throw OrchestratorError(
                    .timeout,
                    "the guest did not power off within \(recipe.timeout); end the steps with `run: poweroff`, or give "
                        + "the build more time with 'timeout'")
            }
            _ = store.interruption.wait(for: [], milliseconds: 100)
            if store.interruption.isRequested { throw OrchestratorError(.interrupted, "interrupted") }
        }
        // Reaps it.
        _ = process.news()
        let exit = vm.folder.readExitRecord()
        guard exit?.reason == .guestPowerOff else {
            throw OrchestratorError(
                .vm,
                "the VM did not power off by itself: "
                    + (exit.map { $0.message ?? $0.reason.words } ?? "its process was killed"))
        }
    }

    private func flatten(_ vm: BuildVM, to target: String) throws(Failure) {
        do throws(OrchestratorError) {
            let disk = ResolvedImage(path: vm.disk, format: "qcow2", isPresent: true)
            var below: Set<String> = []
            if case .image(let from) = recipe.start, let base = images[from] { below.insert(base.path) }
            try store.convert(
                disk, to: target, format: .qcow2, compress: recipe.compress, label: label, declaring: below)
        } catch {
            throw Failure(error: error, step: nil)
        }
    }

    // MARK: Failing

    private var evidence: String { "\(store.state.failedBuildsFolder)/\(store.folder.folderName)-\(label)" }
    private var evidencePaths: [String] { ["\(evidence).console.txt", "\(evidence).png"] }

    /// Keeps what tells why, removes the rest, and says it.
    private func fail(_ vm: BuildVM, _ failure: Failure) -> OrchestratorError {
        let what = "image '\(label)'" + (failure.step.map { ": \($0)" } ?? "")
        if failure.error.kind == .interrupted {
            try? vm.remove()
            return OrchestratorError(.interrupted, "\(what): interrupted; nothing of it is kept")
        }
        var sentences = ["\(what) failed: \(failure.error.message)"]
        sentences += keepEvidence(vm)
        store.folder.record("build-failed", vm: vm.folder.name, detail: failure.error.message)
        if store.keepsFailedBuilds, vm.folder.isRunning {
            sentences.append(
                "its VM runs on: 'labctl console \(vm.folder.name)' attaches, 'labctl destroy \(vm.folder.name)' removes it"
            )
        } else {
            do {
                try vm.remove()
            } catch {
                sentences.append(error.message)
            }
        }
        return OrchestratorError(failure.error.kind, sentences.joined(separator: "; "))
    }

    private func keepEvidence(_ vm: BuildVM) -> [String] {
        guard Folder.make(store.state.failedBuildsFolder) == nil else { return [] }
        var kept: [String] = []
        let log = vm.folder.file(.consoleLog)
        let lines = ConsoleLog.lastLines(log, from: 0, count: 2000)
        if !lines.isEmpty {
            let text = lines.map { $0 + "\n" }.joined()
            if (try? StateFile.replace(evidencePaths[0], with: Array(text.utf8))) != nil {
                kept.append("its console is kept as \(evidencePaths[0])")
            }
            let shown = lines.suffix(12).map { "\n  | \($0)" }.joined()
            store.progress(.warning("the last lines of the console of image '\(label)':\(shown)"))
        }
        if vm.folder.isRunning, (try? Screenshot.save(vm.folder, to: evidencePaths[1], format: "png")) != nil {
            kept.append("its screen as \(evidencePaths[1])")
        }
        return kept
    }
}
