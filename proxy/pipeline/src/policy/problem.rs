//! What can be wrong with a policy: in its text, or while it runs.

/// What is wrong with a policy's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{}:{}: {message}", line.unwrap_or(0), column.unwrap_or(0))]
pub struct PolicyProblem {
    /// The file.
    pub file: String,
    /// The line, from 1, if known.
    pub line: Option<u32>,
    /// The column, from 1, if known.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where we can tell.
    pub hint: Option<String>,
}

/// Why a policy could not be evaluated. The call is refused with `policy_error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFailure {
    /// The tenant's overlay does not compile and no older revision is at hand.
    #[error("the tenant's policy does not compile")]
    Broken,
    /// A step or time bound was reached.
    #[error("the policy took more steps or time than it may")]
    Bound,
    /// The engine gave up.
    #[error("a rule failed while it was evaluated")]
    Evaluation,
    /// `deny` is not defined, or its definitions contradict each other.
    #[error("deny is undefined")]
    UndefinedDeny,
    /// A rule's result has a form that we do not know.
    #[error("the rule {rule} gave a result of unknown form")]
    Form {
        /// The rule: `deny`, `escalate`, `monitor` or `risk_adjustment`.
        rule: &'static str,
    },
}

impl PolicyProblem {
    /// A problem of a whole file.
    pub(crate) fn of_file(file: &str, message: impl Into<String>, hint: &str) -> Self {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Self { file: file.to_owned(), line: None, column: None, message: message.into(), hint }
    }

    /// Reads the engine's report: `--> file:line:column`, the line itself, then `error: message`.
    pub(crate) fn of_report(report: &str, file: &str) -> Self {
        let place = report.lines().find_map(|line| line.trim_start().strip_prefix("--> ").and_then(read_place));
        let message = report.lines().find_map(|line| line.trim_start().strip_prefix("error: "));
        let message = message
            .or_else(|| report.lines().find(|line| !line.trim().is_empty()))
            .unwrap_or("does not compile")
            .trim();
        let (file, line, column) = match place {
            Some((place, line, column)) => (place, Some(line), Some(column)),
            None => (file.to_owned(), None, None),
        };
        Self { file, line, column, message: message.to_owned(), hint: Some(hint_for(message).to_owned()) }
    }
}

fn read_place(text: &str) -> Option<(String, u32, u32)> {
    let mut parts = text.trim().rsplitn(3, ':');
    let column = parts.next()?.parse().ok()?;
    let line = parts.next()?.parse().ok()?;
    Some((parts.next()?.to_owned(), line, column))
}

fn hint_for(message: &str) -> &'static str {
    let hints = [
        ("could not find function", "this built-in is not available here"),
        ("Missing builtin function", "this built-in is not available here"),
        ("undefined variable", "declare it with `some`, or import what it stands for"),
        ("unsafe", "bind the variable in a positive expression first"),
        ("`if` keyword", "Rego v1: write `if` before a rule's body"),
        ("recursion", "a rule may not depend on itself"),
        ("expecting", "a bracket, a keyword or an operand is missing right before this place"),
        ("unexpected", "a bracket, a keyword or an operand is missing or too much at this place"),
        ("invalid", "check the spelling and the punctuation at this place against Rego v1"),
    ];
    let known = hints.iter().find(|(sign, _)| message.contains(sign)).map(|(_, hint)| *hint);
    known.unwrap_or("the place is where the text stops making sense: the fault is there or right before")
}
