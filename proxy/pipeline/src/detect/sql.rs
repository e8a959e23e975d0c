//! SQL: a statement is parsed and judged by what it does, a value by whether it breaks out of a statement.

mod names;
mod predicate;
mod read;
mod shapes;
mod statement;

#[cfg(test)]
mod tests;

use aegis_core::finding::FindingId;
use regex::bytes::RegexSet;
use sqlparser::ast::Statement;
use sqlparser::dialect::{Dialect, GenericDialect, MsSqlDialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;

use super::decode::View;
use super::findings::Findings;
use super::leaf::Leaf;
use super::patterns;

/// Longer statements are judged by their tokens alone.
const PARSED_BYTES_MAX: usize = 16_384;
/// Brackets in each other beyond which parsing may take too long.
const NESTING_MAX: usize = 24;
/// Operators that nest expressions to the right, beyond which parsing may take too long.
const RECURSION_MAX: usize = 48;

/// Shapes of injected SQL, and of statements that no dialect's parser takes.
#[derive(Debug)]
pub(crate) struct SqlPatterns {
    injected: RegexSet,
    unparsed: RegexSet,
}

impl SqlPatterns {
    /// Compiles the shapes.
    pub(crate) fn new() -> Self {
        Self {
            injected: patterns::set(shapes::INJECTED.iter().map(|shape| shape.pattern)),
            unparsed: patterns::set(shapes::UNPARSED.iter().map(|shape| shape.pattern)),
        }
    }

    /// Adds what a statement does.
    pub(crate) fn scan_statement(&self, leaf: &Leaf<'_>, view: &View<'_>, findings: &mut Findings) {
        let plain = shapes::normalised(&view.lower);
        match parsed(&view.text) {
            Some(statements) => statement::judge(&statements, leaf.pointer, findings),
            // A decoding need not be a statement: `LIKE '%east%'` holds no percent-encoding.
            None if view.depth == 0 => self.unparsed(&plain.text, leaf.pointer, findings),
            None => {}
        }
        shapes::comments(&view.lower, &plain, leaf.pointer, findings);
        self.always(&plain.text, leaf.pointer, findings);
    }

    /// Adds how far a value is shaped to leave its place in a statement.
    pub(crate) fn scan_value(&self, leaf: &Leaf<'_>, view: &View<'_>, findings: &mut Findings) {
        if !shapes::is_suspicious(&view.lower) {
            return;
        }
        let plain = shapes::normalised(&view.lower);
        let odd = shapes::has_odd_quotes(&plain.text);
        let (mut most, mut sum) = (0_u32, 0_u32);
        for shape in self.injected.matches(&plain.text).iter().filter_map(|i| shapes::INJECTED.get(i)) {
            if !shape.only_odd || odd {
                most = most.max(shape.weight);
                sum += shape.weight;
            }
        }
        if shapes::leaves_a_quote_open(&plain.text) {
            most = most.max(shapes::OPEN_QUOTE_WEIGHT);
            sum += shapes::OPEN_QUOTE_WEIGHT;
        }
        if most > 0 && plain.hidden {
            sum += shapes::HIDDEN_WEIGHT;
        }
        let base = u32::from(FindingId::SqlInjection.registry().1);
        let score = (most + sum.saturating_sub(most) / 2).min(base);
        findings.add(FindingId::SqlInjection, u8::try_from(score).unwrap_or(u8::MAX), leaf.pointer);
        if score >= 50 {
            self.always(&plain.text, leaf.pointer, findings);
        }
    }

    /// What a statement says that no parser reads.
    fn unparsed(&self, text: &[u8], pointer: &str, findings: &mut Findings) {
        for shape in self.unparsed.matches(text).iter().filter_map(|i| shapes::UNPARSED.get(i)) {
            if !shape.only_whole || shapes::is_unguarded(text) {
                findings.add(shape.id, shape.weight, pointer);
            }
        }
    }

    /// Functions and clauses that reach beyond the database, however the rest reads.
    #[expect(clippy::unused_self, reason = "the other scans of the family need their patterns")]
    fn always(&self, text: &[u8], pointer: &str, findings: &mut Findings) {
        for (needle, id, score) in shapes::REACHING_OUT {
            if super::path::contains(text, needle.as_bytes()) {
                findings.add(*id, *score, pointer);
            }
        }
    }
}

/// The statements, by the first dialect that reads them all.
fn parsed(text: &str) -> Option<Vec<Statement>> {
    if text.len() > PARSED_BYTES_MAX || !is_shallow(text) {
        return None;
    }
    let dialects: [&dyn Dialect; 5] =
        [&GenericDialect {}, &PostgreSqlDialect {}, &MySqlDialect {}, &SQLiteDialect {}, &MsSqlDialect {}];
    dialects.into_iter().find_map(|dialect| {
        let statements = Parser::new(dialect)
            .with_recursion_limit(RECURSION_MAX)
            .try_with_sql(text)
            .ok()?
            .parse_statements()
            .ok()?;
        (!statements.is_empty()).then_some(statements)
    })
}

/// Whether the brackets nest so little that a parser which looks ahead is done in time.
fn is_shallow(text: &str) -> bool {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest <= NESTING_MAX
}
