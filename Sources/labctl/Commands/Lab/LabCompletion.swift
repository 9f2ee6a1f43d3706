import ArgumentParser
import Foundation
import LabSpec
import Orchestrator

/// Words that a shell offers: lab files here, VMs and groups of the lab, labs of the user.
enum LabCompletion {
    /// For arguments that are a lab file or a VM.
    static let filesAndVMs = CompletionKind.custom { words, _, prefix in
        let files = ((try? FileManager.default.contentsOfDirectory(atPath: ".")) ?? [])
            .filter { $0.hasSuffix(".yaml") || $0.hasSuffix(".yml") }
        return (files + vmNames(words)).filter { $0.hasPrefix(prefix) }.sorted()
    }

    /// For `--lab`.
    static let labs = CompletionKind.custom { _, _, prefix in
        let names = (try? StateDirectory().summaries().map(\.name)) ?? []
        return Set(names).filter { $0.hasPrefix(prefix) }.sorted()
    }

    /// VMs and groups of the lab that the words so far mean. What cannot be read offers nothing.
    static func vmNames(_ words: [String]) -> [String] {
        let file = words.first { $0.hasSuffix(".yaml") || $0.hasSuffix(".yml") }
        guard let path = try? file ?? LabArguments.defaultFile(in: ".") else { return [] }
        let variables = LabVariables(environment: ProcessInfo.processInfo.environment)
        guard let lab = LabFile.load(path: path, variables: variables, checksFiles: false).lab else { return [] }
        return Array(Set(lab.instances().map(\.name) + lab.vms.map(\.name)))
    }
}
