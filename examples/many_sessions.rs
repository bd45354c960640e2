//! A thousand sessions in one process, a hundred of them in memory at a time.
//!
//! `cargo run --release -p dormouse-examples --example many_sessions`

use dormouse::{Host, NewSession, Pattern};
use futures::future::try_join_all;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let few = |options: &mut dormouse::HostOptions| options.max_residents = 100;
    let host = Host::builder().in_memory().configure(few).build().await?;
    let create = |_| {
        let host = host.clone();
        async move {
            let counter = NewSession::agent("counter").pattern(Pattern::Hybrid);
            anyhow::Ok(host.sessions().create(counter).await?)
        }
    };
    let sessions = try_join_all((0..1000).map(create)).await?;

    for round in 1..=3 {
        for some in sessions.chunks(100) {
            let replies = try_join_all(some.iter().map(|session| session.send("hello"))).await?;
            for reply in replies {
                assert_eq!(reply.text(), format!("turn {round}: hello"));
            }
        }
        let stats = host.stats();
        println!("round {round}: {} in memory, {} stored", stats.residents, stats.store.sessions);
    }
    host.shut_down().await?;
    Ok(())
}

#[test]
fn the_example_runs() {
    main().expect("it runs");
}
