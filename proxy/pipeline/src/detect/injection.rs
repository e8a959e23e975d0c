//! Prompt injection and jailbreaks in English, scored over features: no single phrase decides unless it has no other use.

mod features;

#[cfg(test)]
mod tests;

use aegis_core::finding::FindingId;
use regex::bytes::RegexSet;

use self::features::{FEATURES, Kind};
use super::decode::View;
use super::findings::Findings;
use super::leaf::Leaf;
use super::patterns;

/// Shorter texts hold no instruction.
const BYTES_MIN: usize = 12;
/// What a feature counts that was hidden by an encoding, besides its own weight.
const HIDDEN_WEIGHT: u32 = 20;

/// The features, compiled.
#[derive(Debug)]
pub(crate) struct InjectionPatterns(RegexSet);

impl InjectionPatterns {
    /// Compiles the features.
    pub(crate) fn new() -> Self {
        let patterns: Vec<String> = FEATURES.iter().map(|feature| features::expanded(feature.pattern)).collect();
        Self(patterns::set(patterns.iter().map(String::as_str)))
    }

    /// Adds how far the view gives orders to a model.
    pub(crate) fn scan(&self, leaf: &Leaf<'_>, view: &View<'_>, findings: &mut Findings) {
        if view.lower.len() < BYTES_MIN {
            return;
        }
        let text = evened(&view.lower);
        let (mut injection, mut jailbreak, mut context) = (0_u32, 0_u32, 0_u32);
        for feature in self.0.matches(&text).iter().filter_map(|i| FEATURES.get(i)) {
            match feature.kind {
                Kind::Injection => injection += feature.weight,
                Kind::Jailbreak => jailbreak += feature.weight,
                Kind::Context => context += feature.weight,
            }
        }
        // What is only context proves nothing by itself, and supports what does.
        let support = |own: u32, other: u32| if own == 0 { 0 } else { own + context.min(40) + other / 2 };
        let hidden = if view.depth >= 1 && injection.max(jailbreak) >= 40 { HIDDEN_WEIGHT } else { 0 };
        let injection_score = support(injection, jailbreak) + hidden;
        let jailbreak_score = support(jailbreak, injection) + hidden;
        let add = |id: FindingId, score: u32, findings: &mut Findings| {
            let score = u8::try_from(score.min(95)).unwrap_or(95).min(id.registry().1.max(90));
            findings.add(id, score, leaf.pointer);
        };
        if injection >= jailbreak && injection_score >= 30 {
            add(FindingId::PromptInjection, injection_score, findings);
        }
        if jailbreak > injection && jailbreak_score >= 30 {
            add(FindingId::JailbreakAttempt, jailbreak_score, findings);
        }
    }
}

/// Whether a line begins like a heading or a speaker's name, rather than going on with a sentence.
fn begins_line(rest: &[u8]) -> bool {
    const HEAD_BYTES: usize = 40;
    let head = rest.get(..HEAD_BYTES).unwrap_or(rest);
    match head.first() {
        None | Some(b'\n' | b'\r' | b'#' | b'[' | b'<' | b'-' | b'=' | b'>') => true,
        Some(_) => head.iter().take_while(|b| !matches!(b, b'\n' | b'.' | b',')).any(|b| *b == b':'),
    }
}

/// Words parted by one blank each; line starts and the signs that patterns need stay.
fn evened(lower: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(lower.len());
    for (i, byte) in lower.iter().enumerate() {
        match byte {
            b'\n' | b'\r' if begins_line(lower.get(i + 1..).unwrap_or_default()) => {
                if out.last() == Some(&b' ') {
                    out.pop();
                }
                if out.last() != Some(&b'\n') {
                    out.push(b'\n');
                }
            }
            b'\n' | b'\r' | b' ' | b'\t' | b'*' | b'_' | b'"' | b'`' => {
                if !out.last().is_none_or(|b| matches!(b, b' ' | b'\n')) {
                    out.push(b' ');
                }
            }
            byte => out.push(*byte),
        }
    }
    out
}
