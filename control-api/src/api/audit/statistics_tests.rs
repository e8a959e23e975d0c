//! Statistics through the router against the same figures over the list of calls.

#![expect(clippy::cast_precision_loss, clippy::cast_possible_wrap, reason = "small numbers, compared with a tolerance")]

use std::collections::{BTreeMap, BTreeSet};

use aegis_core::decision::Decision;
use aegis_core::principal::Role;
use aegis_core::time::{MICROS_PER_DAY, MICROS_PER_HOUR, Timestamp};
use aegis_store::testing::history::{self, Call, agent};
use http::StatusCode;
use serde_json::{Value, json};

use crate::testing::{Asker, TestApi};

async fn seeded() -> (TestApi, Asker, Vec<Call>) {
    let api = TestApi::start().await;
    let calls = history::seed(&api.store, api.tenant).await;
    let who = api.user(Role::Auditor);
    (api, who, calls)
}

async fn data(api: &TestApi, who: &Asker, path: &str) -> Value {
    let (status, mut answer) = api.get(who, path).await;
    assert_eq!(status, StatusCode::OK, "{path} {answer}");
    answer["data"].take()
}

/// Calls of the last days, today included.
fn last(calls: &[Call], now: Timestamp, days: i64) -> Vec<&Call> {
    calls.iter().filter(|c| c.ts.day() > now.day() - days).collect()
}

fn count(calls: &[&Call], holds: impl Fn(&Call) -> bool) -> usize {
    calls.iter().filter(|call| holds(call)).count()
}

fn went_on(call: &Call) -> bool {
    matches!(call.decision, Decision::Allow | Decision::Monitor)
        || (call.decision == Decision::Escalate && !call.is_denied())
}

fn close(told: &Value, wanted: f64) {
    assert!((told.as_f64().unwrap() - wanted).abs() < 0.006, "{told} {wanted}");
}

fn mean(calls: &[&Call]) -> f64 {
    let sum: u64 = calls.iter().map(|c| u64::from(c.risk)).sum();
    if calls.is_empty() { 0.0 } else { sum as f64 / calls.len() as f64 }
}

/// The calls of each day of a series, with what was told of that day.
fn by_day<'a>(series: &'a Value, calls: &[&'a Call], now: Timestamp) -> Vec<(&'a Value, Vec<&'a Call>)> {
    let series = series.as_array().unwrap();
    let first = now.day() + 1 - series.len() as i64;
    let of_day = |day: i64| calls.iter().copied().filter(|c| c.ts.day() == day).collect();
    let days: Vec<_> = (first..).zip(series).map(|(day, told)| (told, of_day(day))).collect();
    let date = Timestamp::from_micros(first * MICROS_PER_DAY).to_string();
    assert_eq!(days[0].0["date"].as_str().unwrap(), &date[..10]);
    days
}

#[tokio::test]
async fn daily_series_have_every_day() {
    let (api, who, calls) = seeded().await;
    let now = api.app.store.now();
    let all: Vec<&Call> = calls.iter().collect();
    let trend = data(&api, &who, "/audit/decision-trend?days=60").await;
    assert_eq!(trend["series"].as_array().unwrap().len(), 60);
    for (told, of_day) in by_day(&trend["series"], &all, now) {
        let is = |decision| move |call: &Call| call.decision == decision;
        assert_eq!(told["allow"], count(&of_day, is(Decision::Allow)));
        assert_eq!(told["monitor"], count(&of_day, is(Decision::Monitor)));
        assert_eq!(told["escalate"], count(&of_day, is(Decision::Escalate)));
        assert_eq!(told["kill"], count(&of_day, is(Decision::Kill)));
        assert_eq!(told["throttle"], count(&of_day, is(Decision::Throttle)));
        assert_eq!(told["refused"], count(&of_day, is(Decision::Refused)));
        assert_eq!(told["deny"], count(&of_day, Call::is_denied));
    }
    let escalations = data(&api, &who, "/audit/escalation-rate-trend?days=60").await;
    for (told, of_day) in by_day(&escalations["series"], &all, now) {
        let escalated = count(&of_day, |c| c.decision == Decision::Escalate);
        assert_eq!((&told["total"], &told["escalate_count"]), (&json!(of_day.len()), &json!(escalated)));
        match of_day.len() {
            0 => assert_eq!(told["escalation_rate"], Value::Null),
            n => close(&told["escalation_rate"], escalated as f64 / n as f64),
        }
    }
    close(&escalations["avg_rate"], count(&all, |c| c.decision == Decision::Escalate) as f64 / all.len() as f64);
    let posture = data(&api, &who, "/audit/posture-score-trend?days=60").await;
    for (told, of_day) in by_day(&posture["series"], &all, now) {
        assert_eq!(told["allow_count"], count(&of_day, went_on));
        assert_eq!(told["deny_count"], count(&of_day, Call::is_denied));
    }
    close(&posture["avg_score"], 100.0 * count(&all, went_on) as f64 / all.len() as f64);
    let active = data(&api, &who, "/audit/daily-active-agents?days=60").await;
    for (told, of_day) in by_day(&active["series"], &all, now) {
        let agents: BTreeSet<_> = of_day.iter().map(|c| c.agent).collect();
        assert_eq!((&told["active_agents"], &told["total_calls"]), (&json!(agents.len()), &json!(of_day.len())));
    }
}

#[tokio::test]
async fn one_agents_series_are_its_own() {
    let (api, who, calls) = seeded().await;
    let (now, one) = (api.app.store.now(), agent(2));
    let own: Vec<&Call> = last(&calls, now, 30).into_iter().filter(|c| c.agent == one).collect();
    let told = data(&api, &who, &format!("/audit/agent-daily-decisions/{one}")).await;
    assert_eq!((&told["total_calls"], &told["total_deny"]), (&json!(own.len()), &json!(count(&own, Call::is_denied))));
    for (told, of_day) in by_day(&told["series"], &own, now) {
        assert_eq!((&told["total"], &told["allow"]), (&json!(of_day.len()), &json!(count(&of_day, went_on))));
    }
    let told = data(&api, &who, &format!("/audit/risk-trend/{one}")).await;
    for (told, of_day) in by_day(&told["series"], &own, now) {
        close(&told["avg_risk"], mean(&of_day));
    }
    close(&told["summary"]["avg_risk"], mean(&own));
    let filtered = data(&api, &who, &format!("/audit/trends?days=30&agent_id={one}")).await;
    let total: u64 = filtered.as_array().unwrap().iter().map(|day| day["count"].as_u64().unwrap()).sum();
    assert_eq!((filtered.as_array().unwrap().len(), total), (30, own.len() as u64));
}

#[tokio::test]
async fn hours_have_every_cell() {
    let (api, who, calls) = seeded().await;
    let now = api.app.store.now();
    let week = last(&calls, now, 7);
    let heat = data(&api, &who, "/audit/logs/heatmap").await;
    for (n, day) in (1_u8..).zip(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]) {
        let of_hour = |hour: u8| count(&week, |c| c.ts.weekday() == n && c.ts.hour() == hour);
        assert_eq!(heat[day], json!((0..24).map(of_hour).collect::<Vec<_>>()), "{day}");
    }
    let by_hour = data(&api, &who, "/audit/hourly-activity").await;
    for (hour, told) in (0_u8..24).zip(by_hour["buckets"].as_array().unwrap()) {
        let of_hour: Vec<&Call> = week.iter().copied().filter(|c| c.ts.hour() == hour).collect();
        assert_eq!((&told["hour"], &told["count"]), (&json!(hour), &json!(of_hour.len())));
        assert_eq!(told["deny_count"], count(&of_hour, Call::is_denied));
        close(&told["avg_risk"], mean(&of_hour));
    }
    let by_week = data(&api, &who, "/audit/weekly-heatmap").await;
    let grid = by_week["cells"].as_array().unwrap();
    let month = last(&calls, now, 28);
    assert_eq!((grid.len(), &grid[25]["day_label"], &grid[25]["hour"]), (168, &json!("Tue"), &json!(1)));
    let sum: u64 = grid.iter().map(|cell| cell["count"].as_u64().unwrap()).sum();
    let fullest = grid.iter().map(|cell| cell["count"].as_u64().unwrap()).max().unwrap();
    assert_eq!((sum, &by_week["max_count"]), (month.len() as u64, &json!(fullest)));
    assert!(grid.iter().any(|cell| cell["pct"] == 100.0));
}

#[tokio::test]
async fn rankings_count_calls() {
    let (api, who, calls) = seeded().await;
    let now = api.app.store.now();
    let month = last(&calls, now, 30);
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    month.iter().flat_map(|c| &c.findings).for_each(|f| *found.entry(f.to_string()).or_default() += 1);
    let total: usize = found.values().sum();
    let top = data(&api, &who, "/audit/top-findings").await;
    let breakdown = data(&api, &who, "/audit/finding-breakdown").await;
    assert_eq!((&top["total_events"], &breakdown["total"]), (&json!(total), &json!(total)));
    for told in breakdown["findings"].as_array().unwrap() {
        let wanted = found[told["finding"].as_str().unwrap()];
        assert_eq!(told["count"], wanted);
        close(&told["pct"], 100.0 * wanted as f64 / total as f64);
    }
    let denied = count(&month, Call::is_denied);
    let reasons = data(&api, &who, "/audit/deny-reasons?limit=50").await;
    assert_eq!(reasons["total_denied"], denied);
    let tools = data(&api, &who, "/audit/tool-breakdown").await;
    let list = tools["tools"].as_array().unwrap();
    assert_eq!((&tools["total_tools"], list.len()), (&json!(5), 5));
    for told in list {
        let of_tool: Vec<&Call> = month.iter().copied().filter(|c| told["tool"] == c.tool).collect();
        let wrong = count(&of_tool, Call::is_denied);
        assert_eq!((&told["total_calls"], &told["denied_calls"]), (&json!(of_tool.len()), &json!(wrong)));
        close(&told["deny_rate"], wrong as f64 / of_tool.len() as f64);
    }
    let risky = data(&api, &who, "/audit/tool-risk").await;
    let means: Vec<f64> = risky["tools"].as_array().unwrap().iter().map(|t| t["avg_risk"].as_f64().unwrap()).collect();
    assert!(means.is_sorted_by(|a, b| a >= b), "{means:?}");
    assert_eq!(risky["tools"][0]["agent_count"], 4);
    let usage = data(&api, &who, &format!("/audit/tool-usage/{}", agent(1))).await;
    assert_eq!(usage["total_calls"], count(&month, |c| c.agent == agent(1)));
    let findings = data(&api, &who, &format!("/audit/agent-findings/{}", agent(1))).await;
    let of_agent: usize = month.iter().filter(|c| c.agent == agent(1)).map(|c| c.findings.len()).sum();
    assert_eq!(findings["total"], of_agent);
    let activity = data(&api, &who, "/audit/agent-activity").await;
    for told in activity["agents"].as_array().unwrap() {
        let own: Vec<&Call> = calls.iter().filter(|c| told["agent_id"] == c.agent.to_string()).collect();
        assert_eq!(
            (&told["total_calls"], &told["deny_count"]),
            (&json!(own.len()), &json!(count(&own, Call::is_denied)))
        );
        assert_eq!((&told["first_seen"], &told["last_seen"]), (&json!(own[0].ts), &json!(own[own.len() - 1].ts)));
    }
}

#[tokio::test]
async fn risk_is_distributed_as_the_scores_are() {
    let (api, who, calls) = seeded().await;
    let now = api.app.store.now();
    let month = last(&calls, now, 30);
    for bins in [5_u32, 7, 20] {
        let told = data(&api, &who, &format!("/audit/risk-histogram?bins={bins}")).await;
        for (n, bucket) in (0_u32..).zip(told["buckets"].as_array().unwrap()) {
            let inside = |c: &Call| (u32::from(c.risk) * bins / 100).min(bins - 1) == n;
            assert_eq!(bucket["count"], count(&month, inside), "{bins} {n}");
        }
        assert_eq!((&told["total"], &told["buckets"][0]["low"]), (&json!(month.len()), &json!(0.0)));
    }
    let told = data(&api, &who, "/audit/risk-percentile-trend").await;
    for (told, of_day) in by_day(&told["series"], &month, now) {
        let mut scores: Vec<u8> = of_day.iter().map(|c| c.risk).collect();
        scores.sort_unstable();
        let rank = |p: usize| (scores.len() * p).div_ceil(100).checked_sub(1).map(|at| scores[at]);
        assert_eq!(told["scored_count"], scores.len());
        assert_eq!([&told["p50"], &told["p75"], &told["p95"]], [&json!(rank(50)), &json!(rank(75)), &json!(rank(95))]);
    }
    let events = data(&api, &who, "/audit/high-risk-events?threshold=0.9&days=30&limit=100").await;
    let wanted: Vec<Value> = month.iter().rev().filter(|c| c.risk >= 90).map(|c| json!(c.audit_id)).collect();
    let told: Vec<Value> = events["events"].as_array().unwrap().iter().map(|e| e["id"].clone()).collect();
    assert_eq!(told, wanted[..wanted.len().min(100)]);
    assert!(!told.is_empty());
    assert_eq!(api.get(&who, "/audit/high-risk-events?threshold=1.1").await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn an_agent_is_compared_with_its_peers_and_its_past() {
    let (api, who, calls) = seeded().await;
    let (now, one) = (api.app.store.now(), agent(3));
    let month = last(&calls, now, 30);
    let told = data(&api, &who, &format!("/audit/peer-benchmark/{one}")).await;
    let volume = |n: u64| count(&month, |c| c.agent == agent(n));
    let volumes: Vec<usize> = (0..4).map(volume).collect();
    let below = volumes.iter().filter(|v| **v <= volumes[3]).count();
    assert_eq!((&told["peer_count"], &told["agent_stats"]["total_calls"]), (&json!(4), &json!(volumes[3])));
    close(&told["percentiles"]["call_volume"], 25.0 * below as f64);
    let mut sorted = volumes;
    sorted.sort_unstable();
    assert_eq!(told["references"]["call_volume"]["p50"], sorted[1] as f64);
    let told = data(&api, &who, &format!("/audit/drift/{one}?baseline_days=20&comparison_hours=168")).await;
    let hour = |ts: Timestamp| ts.as_micros().div_euclid(MICROS_PER_HOUR);
    let split = hour(now) - 168;
    let own = || calls.iter().filter(|c| c.agent == one);
    let recent: Vec<&Call> = own().filter(|c| hour(c.ts) >= split).collect();
    let before: Vec<&Call> = own().filter(|c| (split - 480..split).contains(&hour(c.ts))).collect();
    for (part, of) in [("baseline", &before), ("recent", &recent)] {
        assert_eq!(told[part]["total"], of.len());
        close(&told[part]["avg_risk"], mean(of));
        close(&told[part]["deny_rate"], count(of, Call::is_denied) as f64 / of.len() as f64);
    }
    close(&told["metrics"]["risk_drift"], (mean(&recent) - mean(&before)).abs() / 100.0);
    let (slow, fast) = (before.len() as f64 / 480.0, recent.len() as f64 / 168.0);
    close(&told["metrics"]["volume_drift"], (slow - fast).abs() / slow.max(fast));
    let parts = ["risk_drift", "deny_drift", "volume_drift", "tool_drift"];
    close(&told["drift_score"], parts.iter().map(|p| told["metrics"][p].as_f64().unwrap()).sum::<f64>() / 4.0);
    let ghost = format!("/audit/drift/{}", agent(99));
    assert_eq!(api.get(&who, &ghost).await.0, StatusCode::NOT_FOUND);
    let theirs = api.user_of(api.other, Role::Admin);
    assert_eq!(api.get(&theirs, &format!("/audit/drift/{one}")).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_soc_sees_calls_switches_and_policies_in_order() {
    let (api, who, calls) = seeded().await;
    let admin = api.user(Role::Admin);
    let path = format!("/decision/kill-switch/{}", api.tenant);
    api.post(&admin, &path, json!({ "reason": "drill" })).await;
    let rego = "package aegis.decision\nimport rego.v1\nmonitor contains \"own.watch\" if input.time.hour == 3\n";
    api.post(&admin, "/policy/upload", json!({ "name": "watch", "rego": rego })).await;
    let told = data(&api, &who, "/audit/logs/soc-timeline?limit=50").await;
    let told = told.as_array().unwrap();
    assert_eq!((told.len(), &told[0]["type"], &told[1]["type"]), (50, &json!("policy_change"), &json!("kill_switch")));
    assert_eq!(told[1]["message"], "kill_switch.engage drill");
    let matters = |c: &&Call| c.risk >= 70 || matches!(c.decision, Decision::Kill | Decision::Escalate);
    let wanted: Vec<Value> = calls.iter().rev().filter(matters).take(48).map(|c| json!(c.audit_id)).collect();
    assert_eq!(told[2..].iter().map(|e| e["id"].clone()).collect::<Vec<_>>(), wanted);
    assert_eq!(api.get(&api.user(Role::Viewer), "/audit/logs/soc-timeline").await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn another_tenants_statistics_are_empty_and_whole() {
    let (api, _, _) = seeded().await;
    let theirs = api.user_of(api.other, Role::Viewer);
    let trend = data(&api, &theirs, "/audit/decision-trend").await;
    assert_eq!((trend["series"].as_array().unwrap().len(), &trend["series"][7]["allow"]), (30, &json!(0)));
    let posture = data(&api, &theirs, "/audit/posture-score-trend").await;
    assert_eq!((&posture["avg_score"], &posture["series"][0]["posture_score"]), (&Value::Null, &Value::Null));
    assert_eq!(data(&api, &theirs, "/audit/top-findings").await["findings"], json!([]));
    assert_eq!(data(&api, &theirs, "/audit/risk-histogram").await["total"], 0);
    assert_eq!(api.get(&theirs, "/audit/decision-trend?days=6").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(api.get(&theirs, "/audit/decision-trend?day=7").await.0, StatusCode::UNPROCESSABLE_ENTITY);
}
