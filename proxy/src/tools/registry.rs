//! The tools as they are called: each route with its client, breaker and bulkhead; the nearest route wins.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aegis_core::pattern::{ToolName, ToolPattern};
use aegis_core::sidecar::ToolAnnouncement;
use aegis_core::time::Clock;

use super::breaker::Breaker;
use super::bulkhead::Bulkhead;
use super::routes::{Base, Route, RoutesError};

/// Idle connections kept per tool host.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// How long an idle connection is kept: shorter than what servers usually keep theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// One route, ready to be called.
pub struct Tool {
    /// Its terms.
    pub route: Route,
    /// Its circuit.
    pub breaker: Breaker,
    /// Its room.
    pub bulkhead: Bulkhead,
    /// The pooled client.
    pub client: reqwest::Client,
}

impl Tool {
    /// The name that metrics carry: the route's, so that clients cannot make labels.
    pub fn label(&self) -> String {
        self.route.tool.to_string()
    }
}

/// All tools.
#[derive(Default)]
pub struct Tools {
    exact: HashMap<ToolName, Arc<Tool>>,
    /// Longest prefix first.
    below: Vec<(ToolPattern, Arc<Tool>)>,
    any: Option<Arc<Tool>>,
}

/// Clients are shared by all tools that are reached the same way.
type ClientKey = (Option<PathBuf>, Option<Vec<u8>>);

impl Tools {
    /// Makes the tools of these routes.
    pub fn new(routes: Vec<Route>, clock: &Arc<dyn Clock>, connect_timeout: Duration) -> Result<Self, RoutesError> {
        let mut clients: HashMap<ClientKey, reqwest::Client> = HashMap::new();
        let mut tools = Self::default();
        for route in routes {
            let socket = match &route.base {
                Base::Unix(path) => Some(path.clone()),
                Base::Url(_) => None,
            };
            let key = (socket, route.ca.clone());
            let client = match clients.get(&key) {
                Some(client) => client.clone(),
                None => make_client(&key, connect_timeout)?,
            };
            clients.insert(key, client.clone());
            tools.add(Arc::new(Tool {
                breaker: Breaker::new(Arc::clone(clock), route.timeout),
                bulkhead: Bulkhead::new(route.concurrency),
                client,
                route,
            }));
        }
        tools.below.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.to_string().len()));
        Ok(tools)
    }

    fn add(&mut self, tool: Arc<Tool>) {
        match &tool.route.tool {
            ToolPattern::Exact(name) => drop(self.exact.insert(name.clone(), tool)),
            pattern @ ToolPattern::Below(_) => self.below.push((pattern.clone(), tool)),
            ToolPattern::Any => self.any = Some(tool),
        }
    }

    /// The tool's route: the exact name, else the longest prefix, else the one for all.
    pub fn find(&self, name: &ToolName) -> Option<&Arc<Tool>> {
        let below = || self.below.iter().find(|(pattern, _)| pattern.matches(name)).map(|(_, tool)| tool);
        self.exact.get(name).or_else(below).or(self.any.as_ref())
    }

    /// Every tool.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.exact.values().chain(self.below.iter().map(|(_, tool)| tool)).chain(&self.any)
    }

    /// What the control plane is told of them, ordered.
    pub fn announcements(&self) -> Vec<ToolAnnouncement> {
        let mut all: Vec<_> = self
            .iter()
            .map(|tool| ToolAnnouncement {
                tool: tool.route.tool.clone(),
                effect: tool.route.effect,
                cost_micro_usd: tool.route.cost,
                audit_mode: tool.route.audit_mode,
            })
            .collect();
        all.sort_by(|a, b| a.tool.cmp(&b.tool));
        all
    }
}

fn make_client((socket, ca): &ClientKey, connect_timeout: Duration) -> Result<reqwest::Client, RoutesError> {
    let failed = |e: reqwest::Error| RoutesError::Client(e.to_string());
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .tcp_nodelay(true)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
    if let Some(path) = socket {
        builder = builder.unix_socket(path.clone());
    }
    if let Some(pem) = ca {
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem).map_err(failed)?);
    }
    builder.build().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use aegis_core::time::SystemClock;

    #[test]
    fn the_nearest_route_wins() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let names = ["*", "db.*", "db.query", "db.admin.*"];
        let text: String = names.map(|n| ["[[tool]]\nname = \"", n, "\"\nurl = \"http://h\"\n"].concat()).concat();
        let routes = super::super::routes::parse(&text, &Environment::new(), 1_000).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let tools = Tools::new(routes, &clock, Duration::from_secs(1)).unwrap();
        for (name, route) in [("db.query", "db.query"), ("db.x", "db.*"), ("db.admin.x", "db.admin.*"), ("other", "*")]
        {
            let name = ToolName::parse(name).unwrap();
            assert_eq!(tools.find(&name).unwrap().label(), route, "{name}");
        }
        assert_eq!(tools.announcements().len(), 4);
    }
}
