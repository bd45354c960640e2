//! A call through the gate, beside the same call by the same client of providers without a host.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use dormouse::model::{ModelRequest, OpenAi, Provider as _};

use super::super::Options;
use super::super::beside::Calls;
use super::super::provider::Provider;
use super::super::report::{Aim, Report};
use super::super::turns::disk_itself;
use super::{QUESTION, THINKS, request, script, start};

/// Calls of a turn.
const CALLS: u32 = 50;

pub(super) async fn measure(
    options: &Options,
    report: &mut Report,
    provider: &Provider,
) -> Result<()> {
    disk_itself(report)?;
    let directory = tempfile::tempdir()?;
    let running = start(options, directory.path(), provider).await?;
    let session = running.connect().await?.create(THINKS).await?;
    let (client, request) = (OpenAi::new("loopback", &provider.url, None)?, Arc::new(request()));
    let calls = Calls {
        path: format!("/api/sessions/{session}/message"),
        without: script("forward", false),
        with: script(&format!("ask {CALLS} {QUESTION}"), false),
        count: CALLS,
        rounds: options.choose(60, 20),
        rest: Aim::Most(100e-6),
        syncs: Aim::Most(2.0),
    };
    calls.compare(&running, report, async |count| direct(&client, &request, count).await).await?;
    running.end()
}

/// Ask so often without a host.
async fn direct(client: &OpenAi, request: &Arc<ModelRequest>, count: u32) -> Result<()> {
    for _ in 0..count {
        let answered = client.ask(Arc::clone(request), &mut |_| {}).await;
        answered.map_err(|failure| anyhow!("{}", failure.error))?;
    }
    Ok(())
}
