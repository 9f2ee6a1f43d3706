import ArgumentParser
import Foundation
import Orchestrator
import VMProtocol

/// How `check` prints its results.
enum CheckFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json, junit, csv, gradescope, github
}

/// Results of checks in the formats that graders read.
struct CheckReport {
    let lab: String
    let results: [CheckResult]

    private var vms: [(name: String, results: [CheckResult])] {
        var order: [String] = []
        for result in results where order.last != result.vm { order.append(result.vm) }
        return order.map { name in (name, results.filter { $0.vm == name }) }
    }

    private static func earned(_ results: [CheckResult]) -> Int { results.map(\.earned).reduce(0, +) }
    private static func points(_ results: [CheckResult]) -> Int { results.map(\.points).reduce(0, +) }

    /// The whole report, lines ended.
    func rendered(as format: CheckFormat, usesColor: Bool) -> String {
        switch format {
        case .text: text(usesColor)
        case .json: String(decoding: JSONCoding.encode(results, pretty: true), as: UTF8.self) + "\n"
        case .junit: junit
        case .csv: csv
        case .gradescope: gradescope
        case .github: github
        }
    }

    /// `12 of 15 passed, 24 of 30 points`.
    var summary: String {
        let passed = results.filter(\.passed).count
        return "\(passed) of \(results.count) checks passed, \(Self.earned(results)) of \(Self.points(results)) points"
    }

    // MARK: For people

    private func text(_ usesColor: Bool) -> String {
        var table = Table(["VM", "CHECK", "RESULT", "POINTS", "WHY NOT"])
        for result in results {
            let word = result.passed ? StyledText("passed", .green) : StyledText("failed", .red)
            let why = (result.message ?? "").split(separator: "\n").first.map(String.init) ?? ""
            table.add([
                StyledText(result.vm), StyledText(result.name), word, StyledText("\(result.earned)/\(result.points)"),
                StyledText(why),
            ])
        }
        var text = table.rendered(usesColor: usesColor)
        let hints = results.filter { !$0.passed && $0.hint != nil }
        if !hints.isEmpty { text += "\n" }
        for result in hints { text += "\(result.vm), \(result.name): \(result.hint ?? "")\n" }
        if vms.count > 1 {
            text += "\n"
            for vm in vms { text += "\(vm.name): \(Self.earned(vm.results)) of \(Self.points(vm.results)) points\n" }
        }
        return text
    }

    // MARK: For programs

    /// JUnit's XML, as CI systems read it: a suite a VM, a case a check.
    private var junit: String {
        func escaped(_ text: String) -> String {
            text.unicodeScalars.map { scalar in
                switch scalar {
                case "&": "&amp;"
                case "<": "&lt;"
                case ">": "&gt;"
                case "\"": "&quot;"
                case "\n": "&#10;"
                // XML 1.0 has no other control characters.
                case _ where scalar.value < 0x20 && scalar != "\t": "�"
                default: String(scalar)
                }
            }.joined()
        }
        func counts(_ results: [CheckResult]) -> String {
            let seconds = results.map(\.seconds).reduce(0, +)
            return "tests=\"\(results.count)\" failures=\"\(results.filter { !$0.passed }.count)\" "
                + "time=\"\(String(format: "%.3f", seconds))\""
        }
        var lines = ["<?xml version=\"1.0\" encoding=\"UTF-8\"?>"]
        lines.append("<testsuites name=\"\(escaped(lab))\" \(counts(results))>")
        for vm in vms {
            lines.append("  <testsuite name=\"\(escaped(vm.name))\" \(counts(vm.results))>")
            for result in vm.results {
                let head =
                    "    <testcase classname=\"\(escaped(vm.name))\" name=\"\(escaped(result.name))\" "
                    + "time=\"\(String(format: "%.3f", result.seconds))\""
                guard let message = result.message else {
                    lines.append(head + "/>")
                    continue
                }
                lines.append(head + ">")
                lines.append(
                    "      <failure message=\"\(escaped(message))\">\(escaped(result.hint ?? ""))</failure>")
                lines.append("    </testcase>")
            }
            lines.append("  </testsuite>")
        }
        return (lines + ["</testsuites>", ""]).joined(separator: "\n")
    }

    /// RFC 4180.
    private var csv: String {
        func cell(_ text: String) -> String {
            text.contains { ",\"\n\r".contains($0) } ? "\"" + text.replacing("\"", with: "\"\"") + "\"" : text
        }
        let head = ["vm", "id", "title", "passed", "earned", "points", "message", "seconds"]
        let rows = results.map { result in
            [
                result.vm, result.id, result.title ?? "", String(result.passed), String(result.earned),
                String(result.points), result.message ?? "", String(format: "%.3f", result.seconds),
            ]
        }
        return ([head] + rows).map { $0.map(cell).joined(separator: ",") + "\r\n" }.joined()
    }

    /// Gradescope's results.json (Autograder Specifications, "Output Format").
    private var gradescope: String {
        let tests = results.map { result -> JSONValue in
            let output = [result.message, result.hint].compactMap { $0 }.joined(separator: "\n")
            var test: [String: JSONValue] = [
                "name": .string(vms.count > 1 ? "\(result.vm): \(result.name)" : result.name),
                "number": .string(result.id), "score": .int(Int64(result.earned)),
                "max_score": .int(Int64(result.points)), "status": .string(result.passed ? "passed" : "failed"),
            ]
            if !output.isEmpty { test["output"] = .string(output) }
            return .object(test)
        }
        let report: JSONValue = [
            "score": .int(Int64(Self.earned(results))), "output": .string(summary), "tests": .array(tests),
        ]
        return String(decoding: JSONCoding.encode(report, pretty: true), as: UTF8.self) + "\n"
    }

    /// Workflow commands of GitHub Actions: an annotation for each check that did not pass.
    private var github: String {
        func escaped(_ text: String, inProperty: Bool) -> String {
            var text = text.replacing("%", with: "%25").replacing("\r", with: "%0D").replacing("\n", with: "%0A")
            if inProperty { text = text.replacing(":", with: "%3A").replacing(",", with: "%2C") }
            return text
        }
        let lines = results.filter { !$0.passed }.map { result in
            let text = [result.message, result.hint].compactMap { $0 }.joined(separator: "\n")
            return "::error title=\(escaped("\(result.vm): \(result.name)", inProperty: true))::"
                + escaped(text, inProperty: false)
        }
        let passed = lines.isEmpty ? "notice" : "warning"
        return (lines + ["::\(passed) title=\(escaped(lab, inProperty: true))::\(summary)"])
            .map { $0 + "\n" }.joined()
    }
}
