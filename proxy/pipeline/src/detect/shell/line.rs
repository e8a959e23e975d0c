//! A POSIX-like lexer: words without their quotes, operators, redirections, and what substitutions contain.

/// Words of one line that are kept; a longer line is cut.
const WORDS_MAX: usize = 4_096;

/// A simple command with its place in a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Command {
    /// Name and arguments, quotes removed.
    pub(super) words: Vec<String>,
    /// Its input is the output of the command before it.
    pub(super) piped: bool,
    /// Files it writes by redirection.
    pub(super) writes: Vec<String>,
    /// Files it reads by redirection.
    pub(super) reads: Vec<String>,
}

/// A lexed line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The commands, in order.
    pub(super) commands: Vec<Command>,
    /// The lines inside `$(…)`, backticks and `<(…)`.
    pub(super) nested: Vec<String>,
}

impl Command {
    /// The command's name without its folder, wrappers (`sudo`, `env`, `nohup`…) and assignments skipped; and its arguments.
    pub(super) fn name_and_arguments(&self) -> (String, &[String]) {
        let mut words = self.words.as_slice();
        while let Some((first, rest)) = words.split_first() {
            let name = first.rsplit('/').next().unwrap_or("").to_ascii_lowercase();
            let assignment = first
                .split_once('=')
                .is_some_and(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
            let wrapper = matches!(
                name.as_str(),
                "sudo"
                    | "doas"
                    | "env"
                    | "nohup"
                    | "time"
                    | "nice"
                    | "exec"
                    | "command"
                    | "builtin"
                    | "xargs"
                    | "setsid"
                    | "stdbuf"
                    | "busybox"
                    | "timeout"
                    | "watch"
                    | "ionice"
                    | "then"
                    | "do"
                    | "else"
                    | "if"
                    | "while"
                    | "!"
                    | "{"
                    | "("
            );
            if !assignment && !wrapper {
                return (name, rest);
            }
            words = rest;
            // Options and durations of the wrapper.
            while wrapper
                && words.len() > 1
                && words
                    .first()
                    .is_some_and(|w| w.starts_with('-') || w.trim_end_matches(['s', 'm', 'h']).parse::<u32>().is_ok())
            {
                words = words.get(1..).unwrap_or_default();
            }
        }
        (String::new(), &[])
    }

    /// The command line that a shell is given with `-c`, or `eval` is given.
    pub(super) fn script(&self) -> Option<&str> {
        let (name, arguments) = self.name_and_arguments();
        if is_shell(&name) {
            let at = arguments.iter().position(|a| a.starts_with('-') && !a.starts_with("--") && a.ends_with('c'))?;
            return arguments.get(at + 1).map(String::as_str);
        }
        matches!(name.as_str(), "eval" | "su" | "ssh" | "script")
            .then(|| arguments.iter().rev().find(|a| a.contains(' ')).or(arguments.last()))?
            .map(String::as_str)
    }

    /// Whether it was called with `sudo` or its like.
    pub(super) fn is_elevated(&self) -> bool {
        self.words.iter().take(3).any(|w| matches!(w.rsplit('/').next(), Some("sudo" | "doas" | "pkexec")))
    }
}

/// Whether the name is a shell's.
pub(super) fn is_shell(name: &str) -> bool {
    matches!(name, "sh" | "bash" | "zsh" | "dash" | "ksh" | "csh" | "tcsh" | "fish" | "ash")
}

/// Splits a line into commands.
pub(super) fn lex(text: &str) -> Line {
    let text = text.replace("${IFS}", " ").replace("$IFS$9", " ").replace("$IFS", " ");
    let mut lexer = Lexer {
        rest: &text,
        line: Line::default(),
        command: Command::default(),
        word: None,
        target: Target::Word,
        words: 0,
    };
    lexer.run();
    lexer.line
}

/// Where the next word goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Word,
    Write,
    Read,
}

struct Lexer<'a> {
    rest: &'a str,
    line: Line,
    command: Command,
    word: Option<String>,
    target: Target,
    words: usize,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while let Some(c) = self.next() {
            if self.words > WORDS_MAX {
                break;
            }
            match c {
                ' ' | '\t' | '\r' => self.end_word(),
                '&' => {
                    if self.rest.starts_with('>') {
                        self.end_word();
                    } else if self.target != Target::Word && self.word.is_none() {
                        // `>&`: the descriptor follows.
                        self.word = Some("&".to_owned());
                    } else {
                        self.end_command(false);
                    }
                }
                '|' => {
                    let or = self.rest.starts_with('|');
                    if or || self.rest.starts_with('&') {
                        self.next();
                    }
                    self.end_command(!or);
                }
                '\n' | ';' | '(' | ')' => self.end_command(false),
                '<' | '>' => self.redirection(c),
                '\'' => {
                    let text = self.until('\'');
                    self.push_str(&text);
                }
                '"' => self.double_quoted(),
                '`' => {
                    let inner = self.until('`');
                    self.nested(inner);
                }
                '$' if self.rest.starts_with('(') => {
                    let inner = self.bracketed();
                    self.nested(inner);
                }
                '\\' => {
                    if let Some(escaped) = self.next().filter(|c| *c != '\n') {
                        self.push(escaped);
                    }
                }
                '#' if self.word.is_none() => {
                    let _ = self.until('\n');
                    self.end_command(false);
                }
                c => self.push(c),
            }
        }
        self.end_command(false);
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or("");
        Some(c)
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn push_str(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    fn until(&mut self, end: char) -> String {
        let (inner, rest) = self.rest.split_once(end).unwrap_or((self.rest, ""));
        let inner = inner.to_owned();
        self.rest = rest;
        inner
    }

    /// From `(` to its partner.
    fn bracketed(&mut self) -> String {
        let mut depth = 0_usize;
        let end = self.rest.char_indices().find(|(_, c)| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        });
        let end = end.map_or(self.rest.len(), |(i, _)| i);
        let inner = self.rest.get(1..end).unwrap_or("").to_owned();
        self.rest = self.rest.get(end + 1..).unwrap_or("");
        inner
    }

    fn double_quoted(&mut self) {
        self.word.get_or_insert_default();
        while let Some(c) = self.next() {
            match c {
                '"' => return,
                '\\' => {
                    if let Some(escaped) = self.next() {
                        if !matches!(escaped, '"' | '\\' | '$' | '`' | '\n') {
                            self.push('\\');
                        }
                        self.push(escaped);
                    }
                }
                '`' => {
                    let inner = self.until('`');
                    self.nested(inner);
                }
                '$' if self.rest.starts_with('(') => {
                    let inner = self.bracketed();
                    self.nested(inner);
                }
                c => self.push(c),
            }
        }
    }

    fn redirection(&mut self, c: char) {
        if self.rest.starts_with('(') {
            let inner = self.bracketed();
            self.nested(inner);
            return;
        }
        // The number of a descriptor is no argument.
        if self.word.as_deref().is_some_and(|w| w.bytes().all(|b| b.is_ascii_digit())) {
            self.word = None;
        }
        self.end_word();
        while self.rest.starts_with(['<', '>', '|']) {
            self.next();
        }
        self.target = if c == '>' { Target::Write } else { Target::Read };
    }

    fn nested(&mut self, inner: String) {
        self.push_str("$(");
        self.push_str(&inner);
        self.push_str(")");
        if self.line.nested.len() < super::NESTED_LINES_MAX {
            self.line.nested.push(inner);
        }
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take() {
            self.words += 1;
            match self.target {
                Target::Word => self.command.words.push(word),
                Target::Write => self.command.writes.push(word),
                Target::Read => self.command.reads.push(word),
            }
            self.target = Target::Word;
        }
    }

    fn end_command(&mut self, pipes: bool) {
        self.end_word();
        self.target = Target::Word;
        let command = std::mem::take(&mut self.command);
        if !command.words.is_empty() || !command.writes.is_empty() {
            self.line.commands.push(command);
        }
        self.command.piped = pipes;
    }
}
