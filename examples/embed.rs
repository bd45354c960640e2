//! The host inside a program: talk to an agent, let it sleep, turn the clock, read what happened.
//!
//! `cargo run -p dormouse-examples --example embed`

use std::time::Duration;

use dormouse::{Cursor, Host, ManualClock, NewSession, Pattern, Residency};
use futures::StreamExt;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = ManualClock::new();
    let host = Host::builder().in_memory().manual_clock(&clock).build().await?;

    // A session of an agent that comes with the host. Your own: `host.agents().upload(…)`.
    let notepad = NewSession::agent("notepad").pattern(Pattern::Hybrid);
    let session = host.sessions().create(notepad).await?;
    println!("{}", session.send("add milk").await?.text());
    println!("{}", session.send("add bread").await?.text());

    // A minute later it is asleep: its instance is gone, its state is in the store.
    clock.advance(Duration::from_secs(61));
    host.settle().await;
    assert_eq!(session.info().await?.residency, Residency::Asleep);

    // The next message wakes it where it was. This one is followed while it is answered.
    let streaming = session.stream("list").await?;
    let mut deltas = std::pin::pin!(streaming.deltas());
    while let Some(delta) = deltas.next().await {
        println!("… {delta:?}");
    }
    let reply = streaming.reply().await?;
    println!("{} ({} fuel, {})", reply.text(), reply.turn.fuel, reply.turn.cost);

    for logged in session.events(Cursor(0), 100).await?.entries {
        println!("{} {}", logged.event.occurred_at, logged.event.kind().as_str());
    }
    host.shut_down().await?;
    Ok(())
}

#[test]
fn the_example_runs() {
    main().expect("it runs");
}
