@main enum LabVM { static func main() {} }
