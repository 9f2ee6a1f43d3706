/// `warm` and `identity` of a VM.

/// `warm` before it is known to be whole.
struct OriginDraft: Sendable {
    var recipe = WarmRecipe()
    var spans = SectionSpans()

    static let table = SectionTable<OriginDraft>(
        id: "warm", noun: "warm", plural: "warms",
        "The machine that others begin as. It is kept in the cache, and made again when anything changes that it is made of.",
        spans: \.spans,
        keys: [
            LabKey(
                "steps", .list(of: StepDraft.type), \.recipe.steps, defaultOf: OriginDraft(),
                "What is done with it once it is ready, in order; then it is saved.",
                synonyms: ["script", "commands", "run"]),
            LabKey(
                "timeout", .duration(.seconds(1)...(.minutes(60 * 24))), \.recipe.timeout, defaultOf: OriginDraft(),
                "How long all of it may take."),
        ])
}

/// What `identity` knows by name.
private enum ReadyMadeIdentity: String, CaseIterable, Sendable { case debian }

extension ValueType where Value == GuestIdentity {
    /// The name of something ready-made, or steps.
    static let guestIdentity: ValueType = {
        let list = ValueType<[LabStep]>.list(of: StepDraft.type)
        let known = ValueType<ReadyMadeIdentity>.choice(
            ReadyMadeIdentity.allCases, slips: ["linux": "debian", "ubuntu": "debian"])
        let shape = ValueShape.anyOf([known.shape, list.shape])
        return ValueType(shape) { node, scope in
            switch node.content {
            case .sequence: return list.decode(node, scope).map { .steps($0) }
            case .scalar: return known.decode(node, scope).map { _ in .debian }
            default:
                scope.reportWrongType(node, expected: shape)
                return nil
            }
        }
    }()
}
