//! Calls of a tool of the host: a page on loopback that an agent reads with `WebFetch`, beside the same page read
//! directly, by a client that keeps no connection either.

use anyhow::{Result, ensure};
use dormouse_test_guests as guests;
use serde_json::json;

use super::Options;
use super::beside::Calls;
use super::report::{Aim, Report};
use super::running::Running;
use super::turns::disk_itself;
use crate::web::{Page, Web};

/// Calls of a turn.
const CALLS: u32 = 50;
/// What the operator lets agents reach.
const EGRESS: [&str; 4] = ["--egress", "GET 127.0.0.1:*", "--egress-private", "127.0.0.1"];

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    disk_itself(report)?;
    let web =
        Web::start(|_, _| Page::text("I am a page of some sixty characters, and I am short."))
            .await;
    let directory = tempfile::tempdir()?;
    let running = Running::start_with(&options.binary()?, directory.path(), &EGRESS).await?;
    running.upload("calls", &guests::CALLS_TOOLS).await?;
    let new = json!({
        "agent": "calls",
        "pattern": "long-running",
        "egress": ["GET 127.0.0.1:*"],
        "config": { "allowedTools": ["WebFetch"] },
    });
    let session = running.client().create(&new).await?;
    let page = web.at("/page");
    // As applications send it, once: a refusal would be an answer as well.
    let told = running.client().ask(&session, &format!("fetch {page}")).await?;
    ensure!(told.contains("some sixty characters"), "the page is not read: {told}");
    let script = |lines: String| json!({ "prompt": lines, "streaming": false }).to_string();
    let calls = Calls {
        path: format!("/api/sessions/{session}/message"),
        without: script("turns".to_owned()),
        with: script(vec![format!("fetch {page}"); CALLS as usize].join("\n")),
        count: CALLS,
        rounds: options.choose(60, 20),
        rest: Aim::None,
        syncs: Aim::Most(2.0),
    };
    let client = reqwest::Client::builder();
    let client = client.no_proxy().tls_certs_only([]).pool_max_idle_per_host(0).build()?;
    let direct = async |count| {
        for _ in 0..count {
            let text = client.get(&page).send().await?.error_for_status()?.text().await?;
            ensure!(!text.is_empty(), "the page is empty");
        }
        Ok(())
    };
    calls.compare(&running, report, direct).await?;
    running.end()
}
