/// What is done inside of VMs: logging in, and checks that grade them.

/// `login`: how `exec`, `cp` and `check` get a shell on a VM's console.
public struct Login: Sendable, Hashable {
    /// Nil: the console has a shell without asking.
    public var user: String?
    public var password: String?
    /// What the shell says when it waits for a command.
    public var prompt: ConsolePattern

    /// A shell's prompt at the end of a line, as most have it.
    public static let usualPrompt = ConsolePattern.regex("[$#%>] ?$")

    public init(user: String? = nil, password: String? = nil, prompt: ConsolePattern = Login.usualPrompt) {
        self.user = user
        self.password = password
        self.prompt = prompt
    }
}

/// What a command's output or a file's content has to be.
public enum Expectation: Sendable, Hashable {
    /// It has one of these texts, or a line that an expression matches.
    case pattern(ConsolePattern)
    /// The first number in it is not below the minimum and not above the maximum.
    case number(minimum: Int?, maximum: Int?)
}

/// An entry of `checks`: something that is true of a VM that is as it shall be.
public struct Check: Sendable, Equatable {
    /// What is looked at.
    public enum Subject: Sendable, Hashable {
        /// `run`, `exit`: a command in the VM's shell, and the exit status that it has to end with.
        case run(String, exit: Int)
        /// `console`: the serial console has said this since the VM was started, or says it in time.
        case console(ConsolePattern)
        /// `screen`: the screen shows this, or does in time.
        case screen(ConsolePattern)
        /// `file`: a file in the VM, which has to be there.
        case file(String)
    }

    public var id: String
    public var title: String?
    public var points: Int
    /// For those who did not pass.
    public var hint: String?
    public var subject: Subject
    public var expectation: Expectation?
    /// For each try.
    public var timeout: LabDuration
    /// How often it is tried again.
    public var retries: Int
    public var spans: SectionSpans

    public init(id: String, subject: Subject) {
        self.id = id
        title = nil
        points = 1
        hint = nil
        self.subject = subject
        expectation = nil
        timeout = .seconds(30)
        retries = 0
        spans = SectionSpans()
    }
}
