//! Shell: a command line is lexed and judged by its commands, a value by whether it breaks out into commands.

mod command;
mod line;
mod one_liner;
mod shapes;

#[cfg(test)]
mod tests;

use aegis_core::finding::FindingId;
use regex::bytes::RegexSet;

use self::line::Command;
use super::decode::View;
use super::findings::Findings;
use super::leaf::Leaf;
use super::path::PathPatterns;
use super::patterns;

/// Command lines inside command lines (`$(…)`, `sh -c '…'`) that are judged.
const NESTED_LINES_MAX: usize = 24;
/// Bytes of nested command lines that are lexed in all.
const NESTED_BYTES_MAX: usize = 131_072;
/// Bytes of a command line that are lexed; the rest counts as obfuscation.
const LINE_BYTES_MAX: usize = 65_536;
/// What commands in the middle of prose count at most: talking about a command is not running it.
const MENTION_SCORE_MAX: u32 = 40;
/// Bytes up to which a value may be a bare command.
const BARE_BYTES_MAX: usize = 512;

/// Shapes of commands in values.
#[derive(Debug)]
pub(crate) struct ShellPatterns {
    injected: RegexSet,
}

impl ShellPatterns {
    /// Compiles the shapes.
    pub(crate) fn new() -> Self {
        let shapes: Vec<String> = shapes::INJECTED.iter().map(|shape| shapes::expanded(shape.pattern)).collect();
        Self { injected: patterns::set(shapes.iter().map(String::as_str)) }
    }

    /// Adds what a command line does.
    #[expect(clippy::unused_self, reason = "the other scan of the family needs its patterns")]
    pub(crate) fn scan_command(&self, paths: &PathPatterns, leaf: &Leaf<'_>, view: &View<'_>, findings: &mut Findings) {
        judge_line(&view.text, &mut |id, score| findings.add(id, score, leaf.pointer), paths);
        if view.text.len() > LINE_BYTES_MAX {
            findings.add_base(FindingId::ObfuscatedPayload, leaf.pointer);
        }
    }

    /// Adds how far a value is shaped to run commands.
    pub(crate) fn scan_value(&self, paths: &PathPatterns, leaf: &Leaf<'_>, view: &View<'_>, findings: &mut Findings) {
        if view.lower.len() < 3 {
            return;
        }
        if shapes::is_suspicious(&view.lower) {
            let terse = shapes::is_terse(&view.lower);
            let (mut most, mut sum, mut sure) = (0_u32, 0_u32, false);
            for shape in self.injected.matches(&view.lower).iter().filter_map(|i| shapes::INJECTED.get(i)) {
                let weight = if shape.only_terse && !terse { shape.weight / 2 } else { shape.weight };
                most = most.max(weight);
                sum += weight;
                sure |= terse || !shape.only_terse;
                if let Some(id) = shape.also {
                    findings.add(id, u8::try_from(weight).unwrap_or(u8::MAX), leaf.pointer);
                }
            }
            let highest = if sure { u32::from(FindingId::CodeExecution.registry().1) } else { MENTION_SCORE_MAX };
            let score = (most + (sum - most) / 2).min(highest);
            findings.add(FindingId::CodeExecution, u8::try_from(score).unwrap_or(u8::MAX), leaf.pointer);
        }
        if view.text.len() <= BARE_BYTES_MAX && shapes::is_bare_command(&view.lower) {
            let mut strong = |id, score| {
                if score >= 60 {
                    findings.add(id, score, leaf.pointer);
                }
            };
            judge_line(&view.text, &mut strong, paths);
        }
    }
}

/// Judges a command line and those inside it.
fn judge_line(text: &str, add: &mut dyn FnMut(FindingId, u8), paths: &PathPatterns) {
    let text = text.get(..text.floor_char_boundary(LINE_BYTES_MAX)).unwrap_or(text);
    one_liner::judge(&text.to_ascii_lowercase(), add);
    let mut open = vec![text.to_owned()];
    let mut bytes = 0;
    for _ in 0..NESTED_LINES_MAX {
        let Some(next) = open.pop() else { return };
        bytes += next.len();
        if bytes > NESTED_BYTES_MAX {
            open.push(next);
            break;
        }
        let line = line::lex(&next);
        command::judge(&line.commands, add, paths);
        open.extend(line.nested);
        open.extend(line.commands.iter().filter_map(Command::script).map(str::to_owned));
    }
    if !open.is_empty() {
        add(FindingId::ObfuscatedPayload, FindingId::ObfuscatedPayload.registry().1);
    }
}
