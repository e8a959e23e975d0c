//! The chain of recent calls: loops, and orders of steps that mean harm.

use std::collections::VecDeque;
use std::time::Duration;

use aegis_core::finding::{Category, Finding, FindingId};
use aegis_core::pattern::ToolName;
use aegis_core::score::BasisPoints;
use aegis_core::time::Timestamp;

use crate::stages::behavior::kept::KeptCall;

/// How far back a chain reaches.
const CHAIN_AGE_MAX: Duration = Duration::from_hours(2);
/// Repetitions that make a loop.
const LOOP_REPEATS: usize = 6;
/// Calls a repeated unit may have: A A A, A B A B, A B C A B C.
const LOOP_UNIT_MAX: usize = 3;
/// All repetitions fall within this time; what is slower is polling, not a loop.
const LOOP_AGE_MAX: Duration = Duration::from_mins(1);

/// How sure it is that a call was a certain step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    /// It was not.
    None,
    /// Its tool's name says so.
    Name,
    /// A finding says so.
    Finding,
}

/// Which steps of dangerous chains a call is.
#[derive(Debug, Clone, Copy)]
struct Steps {
    read: Sign,
    pack: Sign,
    send: Sign,
    recon: Sign,
    escalate: Sign,
}

#[derive(Debug)]
struct Link {
    at: Timestamp,
    tool: ToolName,
    fingerprint: u64,
    steps: Steps,
}

/// A pattern that the newest call completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pattern {
    /// Read, pack, send by the names of the tools alone: worth a look, no finding.
    Suggestive,
    /// Such a chain, or recon before escalation, with a finding in it.
    Anomaly,
    /// The same again and again.
    Loop,
    /// Read, pack, send, each with its finding.
    Attack,
}

impl Pattern {
    pub(crate) const fn signal(self) -> BasisPoints {
        BasisPoints::clamp(match self {
            Self::Suggestive => 3_000,
            Self::Anomaly => 6_000,
            Self::Loop => 7_000,
            Self::Attack => 10_000,
        })
    }

    pub(crate) const fn finding(self) -> Option<FindingId> {
        match self {
            Self::Suggestive => None,
            Self::Anomaly => Some(FindingId::SequenceAnomaly),
            Self::Loop => Some(FindingId::RunawayLoop),
            Self::Attack => Some(FindingId::AttackChainMatch),
        }
    }
}

/// The last calls, at most `length` and two hours back.
#[derive(Debug)]
pub(crate) struct Chain {
    length: usize,
    links: VecDeque<Link>,
}

impl Chain {
    pub(crate) fn new(length: usize) -> Self {
        Self { length, links: VecDeque::new() }
    }

    /// With calls as they were kept.
    #[must_use]
    pub(crate) fn with(mut self, kept: Vec<KeptCall>) -> Self {
        let surplus = kept.len().saturating_sub(self.length);
        let link = |KeptCall(at, tool, fingerprint, steps)| Link { at, tool, fingerprint, steps: Steps::read(steps) };
        self.links = kept.into_iter().skip(surplus).map(link).collect();
        self
    }

    /// The calls, to be kept.
    pub(crate) fn calls(&self) -> Vec<KeptCall> {
        self.links.iter().map(|l| KeptCall(l.at, l.tool.clone(), l.fingerprint, l.steps.write())).collect()
    }

    /// Tools of the calls that still count, oldest first.
    pub(crate) fn tools(&self, now: Timestamp) -> impl Iterator<Item = &ToolName> {
        self.links.iter().filter(move |link| now.since(link.at) < CHAIN_AGE_MAX).map(|link| &link.tool)
    }

    /// Adds a call and says which pattern it completes, the worst of them.
    pub(crate) fn push(
        &mut self,
        tool: &ToolName,
        fingerprint: u64,
        findings: &[Finding],
        now: Timestamp,
    ) -> Option<Pattern> {
        while self.links.front().is_some_and(|link| now.since(link.at) >= CHAIN_AGE_MAX)
            || self.links.len() >= self.length
        {
            self.links.pop_front();
        }
        let steps = Steps::of(tool, findings);
        self.links.push_back(Link { at: now, tool: tool.clone(), fingerprint, steps });
        self.theft(steps).max(self.takeover(steps)).max(self.is_loop(now).then_some(Pattern::Loop))
    }

    fn is_loop(&self, now: Timestamp) -> bool {
        (1..=LOOP_UNIT_MAX).any(|unit| {
            let run = unit * LOOP_REPEATS;
            let newest = || self.links.iter().rev().take(run);
            let same = |(a, b): (&Link, &Link)| a.fingerprint == b.fingerprint && a.tool == b.tool;
            self.links.len() >= run
                && newest().all(|link| now.since(link.at) < LOOP_AGE_MAX)
                && newest().zip(newest().skip(unit)).all(same)
        })
    }

    /// Read, then pack, then send: the newest call sends.
    fn theft(&self, newest: Steps) -> Option<Pattern> {
        if newest.send == Sign::None {
            return None;
        }
        let chain = |least: [Sign; 3]| {
            let [read, pack, send] = least;
            let mut before = self.links.iter().rev().skip(1);
            newest.send >= send && before.any(|l| l.steps.pack >= pack) && before.any(|l| l.steps.read >= read)
        };
        let (name, finding) = (Sign::Name, Sign::Finding);
        if chain([finding; 3]) {
            Some(Pattern::Attack)
        } else if chain([finding, name, name]) || chain([name, finding, name]) || chain([name, name, finding]) {
            Some(Pattern::Anomaly)
        } else {
            chain([name; 3]).then_some(Pattern::Suggestive)
        }
    }

    /// Recon, then escalation by the newest call, at least one of them with a finding.
    fn takeover(&self, newest: Steps) -> Option<Pattern> {
        let recon = self.links.iter().rev().skip(1).map(|link| link.steps.recon).max().unwrap_or(Sign::None);
        let both = recon > Sign::None && newest.escalate > Sign::None;
        (both && recon.max(newest.escalate) == Sign::Finding).then_some(Pattern::Anomaly)
    }
}

impl Steps {
    /// Two bits for each.
    fn write(self) -> u16 {
        let Self { read, pack, send, recon, escalate } = self;
        [read, pack, send, recon, escalate].iter().rev().fold(0, |bits, sign| bits << 2 | *sign as u16)
    }

    /// What is no sign is none.
    fn read(bits: u16) -> Self {
        let sign = |at: u16| match bits >> (2 * at) & 3 {
            1 => Sign::Name,
            2 => Sign::Finding,
            _ => Sign::None,
        };
        Self { read: sign(0), pack: sign(1), send: sign(2), recon: sign(3), escalate: sign(4) }
    }

    fn of(tool: &ToolName, findings: &[Finding]) -> Self {
        let named = |verbs: &[&str]| {
            let mut words = tool.as_str().split(['.', '_', '-']);
            words.any(|word| verbs.iter().any(|verb| word.eq_ignore_ascii_case(verb)))
        };
        let found = |is: fn(&Finding) -> bool| findings.iter().any(is);
        let sign = |found: bool, named: bool| match (found, named) {
            (true, _) => Sign::Finding,
            (false, true) => Sign::Name,
            (false, false) => Sign::None,
        };
        Self {
            read: sign(
                found(is_collection),
                named(&["read", "get", "query", "select", "fetch", "download", "export", "dump", "search"]),
            ),
            pack: sign(
                found(|f| f.id == FindingId::CompressionForExfil),
                named(&["compress", "zip", "archive", "pack", "tar", "gzip", "encode", "encrypt"]),
            ),
            send: sign(
                found(|f| matches!(f.id.registry().0, Category::Exfiltration)),
                named(&["send", "post", "upload", "email", "mail", "push", "publish", "share", "webhook"]),
            ),
            recon: sign(
                found(|f| f.id == FindingId::SchemaRecon),
                named(&["whoami", "enumerate", "scan", "discover", "describe", "introspect"]),
            ),
            escalate: sign(
                found(|f| matches!(f.id.registry().0, Category::PrivilegeEscalation)),
                named(&["grant", "sudo", "assume", "elevate", "impersonate"]),
            ),
        }
    }
}

fn is_collection(finding: &Finding) -> bool {
    matches!(finding.id.registry().0, Category::Collection | Category::CredentialAccess)
        && finding.score >= 30
        && finding.id != FindingId::CompressionForExfil
}
