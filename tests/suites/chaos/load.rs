//! Agents that keep calling and remember every answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aegis_tests::client::Agent;
use serde_json::json;
use tokio::task::JoinHandle;

/// Callers that run until stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<Mutex<Vec<String>>>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    /// `callers` callers per agent, each at one sidecar.
    pub(crate) fn start(agents: &[(Agent, String)], callers: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<String>>>::default());
        let number = Arc::new(AtomicU64::new(0));
        let tasks = agents.iter().flat_map(|pair| std::iter::repeat_n(pair, callers)).map(|(agent, url)| {
            let (agent, url) = (agent.clone(), url.clone());
            let (stop, answered, number) = (Arc::clone(&stop), Arc::clone(&answered), Arc::clone(&number));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let n = number.fetch_add(1, Ordering::SeqCst);
                    // Different tools and payloads, so that nothing looks like a loop.
                    let tool = ["test.echo", "test.one", "test.two"][usize::try_from(n % 3).unwrap_or(0)];
                    if let Some(answer) = agent.try_call(&url, tool, &json!({ "n": n })).await
                        && !answer.header("x-aegis-audit-id").is_empty()
                    {
                        answered.lock().unwrap().push(answer.header("x-aegis-audit-id").to_owned());
                    }
                }
            })
        });
        Self { callers: tasks.collect(), stop, answered }
    }

    /// How many answers came so far.
    pub(crate) fn count(&self) -> usize {
        self.answered.lock().unwrap().len()
    }

    /// Stops; the audit ids of all answers.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        for caller in self.callers {
            caller.await.unwrap();
        }
        let answered = self.answered.lock().unwrap();
        answered.clone()
    }
}

/// The tools that the load calls.
pub(crate) const TOOLS: [&str; 3] = ["test.echo", "test.one", "test.two"];
