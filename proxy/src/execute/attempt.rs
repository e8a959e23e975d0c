//! Calling a tool, again if it is idempotent, within one time limit for all attempts.

use std::time::Duration;

use tokio::time::Instant;

use crate::tools::Tool;
use crate::tools::answer::{ToolAnswer, ToolFailure};
use crate::tools::client::{self, Opened, ToolRequest};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// What an engaged kill switch makes of a call.
pub(super) const ABORTED: ToolFailure = ToolFailure::Aborted;

/// What a tool gave.
pub(super) enum Got {
    Whole(ToolAnswer),
    Stream(Opened),
}

/// Calls the tool.
pub(super) async fn call(tool: &Tool, request: &ToolRequest) -> Result<Got, ToolFailure> {
    let deadline = Instant::now() + tool.route.timeout;
    let mut left = tool.route.retries;
    loop {
        match once(tool, request, deadline).await {
            Err(failure) if left > 0 && may_pass(failure) && Instant::now() + PAUSE < deadline => {
                left -= 1;
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}

async fn once(tool: &Tool, request: &ToolRequest, deadline: Instant) -> Result<Got, ToolFailure> {
    let opened = client::open(tool, request, deadline).await?;
    if request.wants_stream && opened.is_stream() {
        return Ok(Got::Stream(opened));
    }
    client::read(opened, deadline).await.map(Got::Whole)
}

/// Whether another attempt may go better.
fn may_pass(failure: ToolFailure) -> bool {
    match failure {
        ToolFailure::Unreachable | ToolFailure::NoAnswer => true,
        ToolFailure::ServerError { status } => matches!(status, 502..=504),
        ToolFailure::Timeout { .. } | ToolFailure::Withheld { .. } | ToolFailure::Aborted => false,
    }
}
