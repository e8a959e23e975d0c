//! Every signal fires on its cause and is silent without it.

use aegis_core::finding::FindingId::{
    self, BulkPiiRead, CompressionForExfil, ExternalPostPii, RunawayLoop, SchemaRecon,
};

use super::*;
use crate::fixtures::{NOW, agent_id, tenant_id};

struct Agent {
    memory: BehaviorMemory,
    now: Timestamp,
}

impl Agent {
    fn new() -> Self {
        Self { memory: BehaviorMemory::default(), now: NOW }
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    fn call_in(
        &self,
        session: Option<&str>,
        tool: &str,
        payload: u64,
        findings: &[FindingId],
        cost: u64,
    ) -> BehaviorReport {
        let session = session.and_then(SessionId::parse);
        let findings: Vec<Finding> = findings.iter().map(|id| Finding::new(*id, "")).collect();
        self.memory.assess(&Observation {
            tenant_id: tenant_id(),
            agent_id: agent_id(1),
            session: session.as_ref(),
            tool: &ToolName::parse(tool).unwrap(),
            fingerprint: payload,
            findings: &findings,
            cost: MicroUsd::from_micros(cost),
            allowed_rps: 50,
            now: self.now,
        })
    }

    fn call(&self, tool: &str, payload: u64, findings: &[FindingId]) -> BehaviorReport {
        self.call_in(None, tool, payload, findings, 0)
    }
}

fn found(report: &BehaviorReport) -> Vec<FindingId> {
    report.findings.iter().map(|f| f.id).collect()
}

#[test]
fn the_sixth_identical_call_is_a_loop_and_so_are_repeated_groups() {
    let agent = Agent::new();
    for n in 1..=5 {
        assert_eq!(found(&agent.call("db.query", 7, &[])), [], "{n}");
    }
    assert_eq!(found(&agent.call("db.query", 7, &[])), [RunawayLoop]);
    assert_eq!(found(&agent.call("db.query", 8, &[])), [], "another argument ends it");

    let agent = Agent::new();
    let reports: Vec<_> = (0..18).map(|n| agent.call("db.query", n % 3, &[])).collect();
    assert_eq!(reports.iter().map(found).filter(|f| !f.is_empty()).count(), 1);
    assert_eq!(found(&reports[17]), [RunawayLoop]);
}

#[test]
fn a_new_session_for_each_call_hides_no_loop() {
    let agent = Agent::new();
    let reports: Vec<_> = (0..6).map(|n| agent.call_in(Some(&format!("s{n}")), "db.query", 7, &[], 0)).collect();
    assert_eq!(found(&reports[5]), [RunawayLoop]);
}

#[test]
fn the_same_tool_with_other_arguments_is_no_loop_and_no_spike_at_fifty_a_second() {
    let mut agent = Agent::new();
    for n in 0..3_000 {
        if n % 50 == 0 {
            agent.wait(1);
        }
        let report = agent.call("db.query", n, &[]);
        assert_eq!((found(&report), report.score), (vec![], BasisPoints::ZERO), "{n}");
    }
}

#[test]
fn slow_polling_is_no_loop() {
    let mut agent = Agent::new();
    for _ in 0..50 {
        agent.wait(15);
        assert_eq!(found(&agent.call("job.status", 7, &[])), []);
    }
}

#[test]
fn a_burst_far_beyond_the_limit_is_a_spike() {
    let agent = Agent::new();
    let reports: Vec<_> = (0..12_000).map(|n| agent.call("db.query", n, &[])).collect();
    assert_eq!(reports[5_999].signals["velocity"].score, BasisPoints::ZERO);
    assert_eq!(found(&reports[8_998]), []);
    assert_eq!(found(&reports[8_999]), [FindingId::VelocitySpike]);
    assert_eq!(reports[11_999].score, BasisPoints::MAX);
}

#[test]
fn an_hour_far_above_the_mean_is_a_cost_bomb() {
    let mut n = 0;
    let mut spend = |agent: &Agent, usd: u64| {
        n += 1;
        found(&agent.call_in(None, "llm.ask", n, &[], usd * 1_000_000))
    };
    assert_eq!(spend(&Agent::new(), 90), [], "without a past there is nothing to compare with");
    let mut agent = Agent::new();
    for _ in 0..8 {
        assert_eq!(spend(&agent, 2), []);
        agent.wait(3_600);
    }
    assert_eq!(spend(&agent, 6), [], "three times the mean");
    assert_eq!(spend(&agent, 8), [FindingId::CostBomb]);
}

#[test]
fn read_pack_send_counts_by_its_evidence() {
    let steps = |findings: [&[FindingId]; 3]| {
        let agent = Agent::new();
        agent.call("db.query", 1, findings[0]);
        agent.call("files.compress", 2, findings[1]);
        agent.call("mail.send", 3, findings[2])
    };
    assert_eq!(
        found(&steps([&[BulkPiiRead], &[CompressionForExfil], &[ExternalPostPii]])),
        [FindingId::AttackChainMatch]
    );
    assert_eq!(found(&steps([&[BulkPiiRead], &[], &[]])), [FindingId::SequenceAnomaly]);
    let benign = steps([&[], &[], &[]]);
    assert_eq!((found(&benign), benign.signals["sequence"].score.get()), (vec![], 3_000));

    let agent = Agent::new();
    agent.call("mail.send", 3, &[ExternalPostPii]);
    agent.call("files.compress", 2, &[CompressionForExfil]);
    assert_eq!(found(&agent.call("db.query", 1, &[BulkPiiRead])), [], "another order is another story");
}

#[test]
fn recon_before_escalation_is_an_anomaly() {
    let agent = Agent::new();
    agent.call("db.query", 1, &[SchemaRecon]);
    assert_eq!(found(&agent.call("iam.grant", 2, &[])), [FindingId::SequenceAnomaly]);
    let agent = Agent::new();
    agent.call("db.query", 1, &[]);
    assert_eq!(found(&agent.call("iam.grant", 2, &[])), []);
}

#[test]
fn chains_end_after_two_hours() {
    let mut agent = Agent::new();
    agent.call("db.query", 1, &[BulkPiiRead]);
    agent.call("files.compress", 2, &[CompressionForExfil]);
    agent.wait(7_200);
    assert_eq!(found(&agent.call("mail.send", 3, &[ExternalPostPii])), []);
}

#[test]
fn risk_fades_from_session_to_agent_to_week() {
    let mut agent = Agent::new();
    let session = SessionId::parse("s").unwrap();
    agent.call_in(Some("s"), "a.b", 1, &[], 0);
    agent.memory.remember((tenant_id(), agent_id(1)), Some(&session), BasisPoints::MAX, agent.now);
    let cumulative =
        |agent: &Agent, session| agent.call_in(session, "a.b", 2, &[], 0).signals["cumulative_risk"].score.get();
    assert_eq!(cumulative(&agent, Some("s")), 8_000);
    assert_eq!(cumulative(&agent, None), 5_000);
    agent.wait(16 * 60);
    assert_eq!(cumulative(&agent, Some("s")), 5_000);
    agent.wait(3_600);
    assert_eq!(cumulative(&agent, Some("s")), 3_000);
    agent.wait(8 * 86_400);
    assert_eq!(cumulative(&agent, Some("s")), 0);
}

#[test]
fn little_things_do_not_add_up() {
    let agent = Agent::new();
    let key = (tenant_id(), agent_id(1));
    for n in 0..500 {
        let report = agent.call("a.b", n, &[]);
        assert!(report.score <= BasisPoints::clamp(400), "{n}");
        agent.memory.remember(key, None, BasisPoints::clamp(500), agent.now);
    }
}

#[test]
fn few_observations_weigh_half() {
    let agent = Agent::new();
    let reports: Vec<_> = (0..6).map(|_| agent.call("db.query", 7, &[])).collect();
    assert_eq!((reports[5].confidence.get(), reports[5].score.get()), (5_000, 3_500));
    let agent = Agent::new();
    let reports: Vec<_> = (0..26).map(|n| agent.call("db.query", n.min(20), &[])).collect();
    assert_eq!((reports[25].confidence.get(), reports[25].score.get()), (10_000, 7_000));
}

#[test]
fn stale_snapshots_follow_the_tenants_policy() {
    use DegradedModePolicy::{AllowWithAudit, BlockAll, BlockHighRisk};
    let cases = [
        (BlockHighRisk, true, Degraded::Blocked),
        (BlockHighRisk, false, Degraded::Noted),
        (BlockAll, false, Degraded::Blocked),
        (AllowWithAudit, true, Degraded::Noted),
    ];
    for (policy, high_risk, expected) in cases {
        assert_eq!(degraded(policy, true, high_risk), expected);
        assert_eq!(degraded(policy, false, high_risk), Degraded::No);
    }
}

/// What another start makes of what this one kept.
fn restarted(agent: &Agent) -> Agent {
    let kept: Vec<KeptAgent> = agent.memory.export().into_iter().flat_map(|(_, agents)| agents).collect();
    let kept: Vec<KeptAgent> = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
    Agent { memory: BehaviorMemory::restored(kept, agent.now), now: agent.now }
}

#[test]
fn a_restart_forgets_nothing_of_an_agent() {
    let mut agent = Agent::new();
    let calls: [(&str, &[FindingId], u64); 4] = [
        ("db.query", &[BulkPiiRead], 900_000),
        ("fs.compress", &[CompressionForExfil], 5),
        ("db.query", &[SchemaRecon], 2_000_000),
        ("http.get", &[], 0),
    ];
    for n in 0..30_u64 {
        let (tool, findings, cost) = calls[usize::try_from(n % 4).unwrap()];
        agent.call_in(Some(&format!("s{}", n % 5)), tool, n, findings, cost);
        let session = SessionId::parse("s1");
        agent.memory.remember((tenant_id(), agent_id(1)), session.as_ref(), BasisPoints::clamp(4_000), agent.now);
        agent.wait(400);
    }
    for n in 0..5 {
        agent.call("db.query", 77, &[]);
        agent.wait(n % 2);
    }
    let again = restarted(&agent);
    let session = SessionId::parse("s1");
    let view = |agent: &Agent| {
        let (session, behavior) = agent.memory.view((tenant_id(), agent_id(1)), session.as_ref(), agent.now);
        format!("{session:?} {behavior:?}")
    };
    assert_eq!(view(&again), view(&agent));
    // The sixth of a loop, and the end of an attack that began before.
    assert_eq!(found(&again.call("db.query", 77, &[])), [RunawayLoop]);
    agent.call("db.query", 77, &[]);
    let send = |agent: &Agent| agent.call_in(Some("s1"), "mail.send", 1, &[ExternalPostPii], 0);
    assert_eq!(send(&again), send(&agent));
    assert!(found(&send(&again)).contains(&FindingId::AttackChainMatch));
}

#[test]
fn what_is_kept_is_bounded_and_only_what_changed() {
    let agent = Agent::new();
    let seen = |n: u128, session: u64, now| {
        agent.memory.assess(&Observation {
            tenant_id: tenant_id(),
            agent_id: AgentId::from_uuid(uuid::Uuid::from_u128(n * 256)),
            session: SessionId::parse(&format!("s{session}")).as_ref(),
            tool: &ToolName::parse("t").unwrap(),
            fingerprint: session,
            findings: &[],
            cost: MicroUsd::ZERO,
            allowed_rps: 50,
            now,
        })
    };
    for n in 0..40 {
        for session in 0..20 {
            seen(n, session, NOW.plus(Duration::from_secs(u64::try_from(n).unwrap() + session)));
        }
    }
    let kept = agent.memory.export();
    assert_eq!(kept.len(), 1, "all in one part");
    assert_eq!(kept[0].1.len(), AGENTS_PER_PART);
    let newest = AgentId::from_uuid(uuid::Uuid::from_u128(39 * 256));
    assert_eq!(kept[0].1[0].agent_id, newest, "those seen last");
    assert!(kept[0].1.iter().all(|agent| agent.sessions.len() == SESSIONS_KEPT && agent.calls.len() <= 50));
    assert_eq!(agent.memory.export(), []);
    seen(1, 1, NOW.plus(Duration::from_hours(1)));
    assert_eq!(agent.memory.export().len(), 1);
    // What is too old to matter is not taken up again.
    let kept = kept.into_iter().flat_map(|(_, agents)| agents);
    assert!(BehaviorMemory::restored(kept, NOW.plus(Duration::from_hours(8 * 24))).agents.is_empty());
}
