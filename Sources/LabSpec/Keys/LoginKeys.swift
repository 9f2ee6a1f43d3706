/// `login` of a VM.

/// `login` before it is known to be whole.
struct LoginDraft: Sendable {
    var login = Login()
    var user: String?
    var password: String?
    var spans = SectionSpans()

    var whole: Login {
        var login = login
        (login.user, login.password) = (user, password)
        return login
    }

    static let table = SectionTable<LoginDraft>(
        id: "login", noun: "login", plural: "logins",
        "How `exec`, `cp` and `check` log in on the VM's console by themselves.", spans: \.spans,
        rules: [.requires(key: "password", needed: "user")],
        keys: [
            LabKey(
                "user", .text, \.user,
                "The name to answer `login:` with. Without it the console is taken to have a shell that asks for none.",
                synonyms: ["name", "username"]),
            LabKey(
                "password", .line, \.password,
                "What to answer `Password:` with. Whoever can read the lab file can read it; `${NAME}` keeps it elsewhere.",
                synonyms: ["pass", "secret"]),
            LabKey(
                "prompt", .consolePattern, \.login.prompt, defaultOf: LoginDraft(),
                "What the shell says when it waits for a command.", synonyms: ["ps1", "shell"]),
        ])
}
