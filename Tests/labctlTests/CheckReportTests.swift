import Foundation
import LabSpec
import Testing

@testable import Orchestrator
@testable import labctl

/// Results of checks in the formats of graders.
@Suite struct CheckReportTests {
    private static func result(_ vm: String, _ id: String, _ message: String?) -> CheckResult {
        var check = Check(id: id, subject: .run("true", exit: 0))
        check.title = "Is <\(id)> & \"well\""
        check.points = 3
        check.hint = "Look, again"
        var result = CheckResult(check, of: vm)
        result.conclude(message)
        return result
    }

    private static func report() -> CheckReport {
        CheckReport(
            lab: "class",
            results: [
                result("s-01", "a", nil), result("s-01", "b", "exit 1,\nnot 0 at 50%"), result("s-02", "a", nil),
            ])
    }

    @Test func aTableHasEveryCheckAndTheHints() {
        let text = Self.report().rendered(as: .text, usesColor: false)
        #expect(text.contains("s-01  Is <b> & \"well\"  failed  0/3     exit 1,"))
        #expect(text.contains("s-01, Is <b> & \"well\": Look, again"))
        #expect(text.contains("s-01: 3 of 6 points\ns-02: 3 of 3 points\n"))
        #expect(Self.report().summary == "2 of 3 checks passed, 6 of 9 points")
    }

    @Test func JUnitIsXML() {
        let text = Self.report().rendered(as: .junit, usesColor: false)
        #expect(text.contains("<testsuite name=\"s-01\" tests=\"2\" failures=\"1\" time=\"0.000\">"))
        #expect(text.contains("name=\"Is &lt;b&gt; &amp; &quot;well&quot;\""))
        #expect(text.contains("<failure message=\"exit 1,&#10;not 0 at 50%\">Look, again</failure>"))
        #expect(text.components(separatedBy: "<testcase").count - 1 == 3)
    }

    @Test func CSVQuotesWhatNeedsIt() {
        let lines = Self.report().rendered(as: .csv, usesColor: false).components(separatedBy: "\r\n")
        #expect(lines[0] == "vm,id,title,passed,earned,points,message,seconds")
        #expect(lines[1] == "s-01,a,\"Is <a> & \"\"well\"\"\",true,3,3,,0.000")
        #expect(lines[2] == "s-01,b,\"Is <b> & \"\"well\"\"\",false,0,3,\"exit 1,\nnot 0 at 50%\",0.000")
    }

    @Test func GradescopeAddsUp() throws {
        let text = Self.report().rendered(as: .gradescope, usesColor: false)
        let json = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(json["score"] as? Int == 6)
        let tests = try #require(json["tests"] as? [[String: Any]])
        #expect(tests.map { $0["score"] as? Int } == [3, 0, 3])
        #expect(tests[1]["status"] as? String == "failed")
        #expect(tests[1]["output"] as? String == "exit 1,\nnot 0 at 50%\nLook, again")
    }

    @Test func GitHubGetsAnAnnotationForEachFailure() {
        let lines = Self.report().rendered(as: .github, usesColor: false).split(separator: "\n")
        #expect(lines.count == 2)
        #expect(lines[0] == "::error title=s-01%3A Is <b> & \"well\"::exit 1,%0Anot 0 at 50%25%0ALook, again")
        #expect(lines[1].hasPrefix("::warning title=class::2 of 3"))
    }
}
