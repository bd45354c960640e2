//! Agents that sample numbers: what is kept of them, and read as a series.

use dormouse::{Fork, ManualClock, SampleBatch, SamplePlace, SessionHandle, TurnRecord};
use dormouse_test_guests as guests;
use dormouse_tests::provider::Play;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{ProviderServer, TestHost};
use serde_json::{Value, json};

async fn tell(session: &SessionHandle, script: &str) -> Value {
    let reply = session.send(script).await.unwrap();
    serde_json::from_str(&reply.text()).unwrap()
}

async fn samples(session: &SessionHandle, name: Option<&str>) -> Vec<(u64, String, f64)> {
    listed(&session.metrics(name, SamplePlace::default(), 10_000).await.unwrap())
}

fn listed(batch: &SampleBatch) -> Vec<(u64, String, f64)> {
    let entry = batch.samples.iter();
    entry.map(|it| (it.turn, it.sample.name.clone(), it.sample.value)).collect()
}

fn sample(turn: u64, name: &str, value: f64) -> (u64, String, f64) {
    (turn, name.to_owned(), value)
}

#[tokio::test]
async fn what_an_agent_samples_is_kept_with_its_turns_and_read_as_a_series_of_its_name() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.session(&guests::SAMPLES_NUMBERS).await;
    let id = session.id();
    assert_eq!(tell(&session, "words 12\nerrors 0\nwords -0.5").await, json!(vec!["sampled"; 3]));
    let first = session.turn(1).await.unwrap().unwrap();
    assert_eq!(first.samples.len(), 3);
    assert!(first.samples.iter().all(|sample| sample.at == test.clock.now()), "{first:?}");
    tell(&session, "words 7").await;
    drop(session);
    test.shut_down().await;

    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.host.sessions().get(id);
    let words = [sample(1, "words", 12.0), sample(1, "words", -0.5), sample(2, "words", 7.0)];
    assert_eq!(samples(&session, Some("words")).await, words);
    assert_eq!(samples(&session, Some("word")).await, []);
    assert_eq!(samples(&session, None).await.len(), 4);
    test.shut_down().await;
}

#[tokio::test]
async fn a_series_is_read_page_by_page_and_on_from_its_end() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SAMPLES_NUMBERS).await;
    for turn in ["a 1\nb 2\na 3", "b 4", "a 5 256"] {
        tell(&session, turn).await;
    }
    let (mut after, mut pages, mut read) = (SamplePlace::default(), 0, Vec::new());
    loop {
        let page = session.metrics(Some("a"), after, 3).await.unwrap();
        assert!(page.next > after && page.samples.len() <= 3);
        read.extend(listed(&page));
        (after, pages) = (page.next, pages + 1);
        if !page.more {
            break;
        }
    }
    assert_eq!((read.len(), pages), (258, 86));
    assert_eq!(read[..3], [sample(1, "a", 1.0), sample(1, "a", 3.0), sample(3, "a", 5.0)]);
    let nothing = session.metrics(Some("a"), after, 3).await.unwrap();
    assert_eq!((nothing.samples.len(), nothing.next, nothing.more), (0, after, false));
    tell(&session, "b 6\na 7").await;
    let later = session.metrics(Some("a"), after, 3).await.unwrap();
    assert_eq!(listed(&later), [sample(4, "a", 7.0)]);
    test.shut_down().await;
}

#[tokio::test]
async fn a_series_is_read_across_many_turns_that_have_nothing_of_it() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SAMPLES_NUMBERS).await;
    tell(&session, "rare 1").await;
    for _ in 0..210 {
        tell(&session, "often 0").await;
    }
    tell(&session, "rare 2").await;
    let rare = [sample(1, "rare", 1.0), sample(212, "rare", 2.0)];
    assert_eq!(samples(&session, Some("rare")).await, rare);
    test.shut_down().await;
}

#[tokio::test]
async fn a_sample_that_is_out_of_bounds_is_refused_and_the_turn_goes_on_with_those_it_has() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SAMPLES_NUMBERS).await;
    let long = "n".repeat(65);
    let script = format!("{} 1\n{long} 1\nä 1\na{{b}} 1\na inf\na NaN\n.-_9 1e300", &long[1..]);
    let told = tell(&session, &script).await;
    let refused =
        |place: usize| told[place].as_str().unwrap().starts_with("Invalid(\"the ").then_some(place);
    let invalid: Vec<usize> = (0..7).filter_map(refused).collect();
    assert_eq!(invalid, [1, 2, 3, 4, 5], "{told}");
    assert_eq!(samples(&session, None).await.len(), 2);

    let told = tell(&session, "n0 1 200\nnames 64\nn1 1\nmore 1").await;
    assert_eq!(told[1], "TooManySamples(256)");
    assert_eq!((&told[2], &told[3]), (&told[1], &told[1]));
    let told = tell(&session, "names 64\nn63 2\nmore 1\nn0 3").await;
    assert_eq!(told, json!(["sampled", "sampled", "TooManyNames(64)", "sampled"]));
    assert_eq!(session.turn(2).await.unwrap().unwrap().samples.len(), 256);
    assert_eq!(session.turn(3).await.unwrap().unwrap().samples.len(), 66);
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_fails_keeps_its_samples_as_it_keeps_its_log() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SAMPLES_NUMBERS).await;
    for end in ["fail", "trap"] {
        session.send(&*format!("tries 1\n{end}\ntries 2")).await.unwrap_err();
    }
    tell(&session, "tries 3").await;
    let tries = [sample(1, "tries", 1.0), sample(2, "tries", 1.0), sample(3, "tries", 3.0)];
    assert_eq!(samples(&session, None).await, tries);
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_goes_back_keeps_what_it_has_sampled_and_a_fork_begins_with_nothing() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SAMPLES_NUMBERS).await;
    tell(&session, "a 1").await;
    let first = session.info().await.unwrap().session.head.unwrap();
    tell(&session, "a 2").await;
    session.rewind(first).await.unwrap();
    let fork = session.fork(Fork::default()).await.unwrap().remove(0);
    let fork = test.host.sessions().get(fork.session.id);
    tell(&session, "a 3").await;
    tell(&fork, "a 4").await;
    let values = async |session| -> Vec<f64> {
        samples(session, Some("a")).await.iter().map(|sample| sample.2).collect()
    };
    assert_eq!(values(&session).await, [1.0, 2.0, 3.0]);
    assert_eq!(values(&fork).await, [4.0]);
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_the_end_of_its_host_has_cut_off_has_each_sample_once() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let provider = ProviderServer::start(|asked| match asked.number {
        1 => Play::Waits("late".to_owned()),
        _ => Play::Says("early".to_owned()),
    })
    .await;
    let price = super::models::PRICE;
    let start =
        async || TestHost::thinking(directory.path(), &clock, || provider.catalog(price)).await;
    let test = start().await;
    let session = test.session(&guests::SAMPLES_NUMBERS).await;
    let id = session.id();
    let turn = tokio::spawn(async move { session.send("a 1\nthink\na 2\nthink\na 3").await });
    eventually("the second is asked", async || provider.asked().len() == 2).await;
    turn.abort();
    let _ = turn.await;
    drop(test);

    let test = start().await;
    provider.let_go();
    let session = test.host.sessions().get(id);
    let is_over = async || session.turn(1).await.unwrap().is_some();
    eventually("the turn is over", is_over).await;
    let turn: TurnRecord = session.turn(1).await.unwrap().unwrap();
    assert_eq!(turn.attempts, 2);
    let values: Vec<f64> = turn.samples.iter().map(|sample| sample.value).collect();
    assert_eq!(values, [1.0, 2.0, 3.0], "{turn:?}");
    assert_eq!(samples(&session, None).await.len(), 3);
    test.shut_down().await;
}
