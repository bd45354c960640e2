//! A world as a file, which somebody else verifies.

use dormouse::{Bundle, Record};
use dormouse_tests::TestHost;

use super::world;

async fn bundle(test: &TestHost) -> Bundle {
    let spec = r#"
        name = "wealth"
        seed = 3
        ticks = 20
        members = [{ role = "traders", agent = "wealth", count = 100 }]
        aggregates = [{ name = "gini", of = "traders.wealth", is = "gini", every = 5 }]
        "#;
    let mut world = world(test, spec).await;
    let mut record = Record::default();
    world.run(20).await.unwrap().iter().for_each(|summary| record.note(summary));
    record.fingerprint = world.fingerprint().await.unwrap();
    world.bundle(record).await.unwrap()
}

fn written(bundle: &Bundle) -> Vec<u8> {
    let mut bytes = Vec::new();
    bundle.write(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn a_bundle_is_verified_by_whoever_has_nothing_but_the_file() {
    let bytes = written(&bundle(&TestHost::new().await).await);
    let elsewhere = TestHost::new().await;
    let read = Bundle::read(bytes.as_slice()).unwrap();
    assert_eq!(elsewhere.host.simulations().verify(&read).await.unwrap(), None);
    // The same bundle is the same bytes.
    assert_eq!(written(&read), bytes);
}

#[tokio::test]
async fn whatever_was_changed_in_a_bundle_is_found() {
    let test = TestHost::new().await;
    let good = bundle(&test).await;
    type Change = fn(&mut Bundle);
    let changes: [(&str, Change); 6] = [
        ("the seed", |bundle| bundle.spec.seed += 1),
        ("the number of members", |bundle| bundle.spec.members[0].count += 1),
        ("a tick", |bundle| bundle.record.hashes[7][31] ^= 1),
        ("the fingerprint", |bundle| bundle.record.fingerprint[0] ^= 1),
        ("an aggregate", |bundle| {
            let value = &mut bundle.record.aggregates[2].value;
            *value = value.map(|value| f64::from_bits(value.to_bits() ^ 1));
        }),
        ("the aggregates", |bundle| {
            bundle.record.aggregates.pop();
        }),
    ];
    for (what, change) in changes {
        let mut changed = good.clone();
        change(&mut changed);
        let read = Bundle::read(written(&changed).as_slice()).unwrap();
        let difference = test.host.simulations().verify(&read).await.unwrap();
        assert!(difference.is_some(), "{what}");
    }
}

#[tokio::test]
async fn what_is_no_bundle_is_told_and_never_run() {
    let test = TestHost::new().await;
    let good = bundle(&test).await;
    let bytes = written(&good);
    let refused = |bytes: &[u8]| Bundle::read(bytes).unwrap_err().to_string();
    assert!(refused(b"").contains("there is no `outcome.json`"));
    assert!(refused(&[7; 4_096]).contains("this is no bundle"));
    assert!(refused(&bytes[..bytes.len() / 2]).contains("this is no bundle"));
    let mut other = good.clone();
    let component = other.populations.values_mut().next().unwrap();
    component[100] ^= 1;
    assert!(refused(&written(&other)).contains("was changed"));
    let mut other = good.clone();
    other.record.hashes.pop();
    assert!(refused(&written(&other)).contains("its world has 20 ticks and not 19"));
    let mut other = good.clone();
    other.spec.ticks = 400;
    assert!(refused(&written(&other)).contains("its world has 400 ticks and not 20"));
    let twice = [&bytes[..bytes.len() - 1_024], &bytes].concat();
    assert!(refused(&twice).contains("twice"));
    let mut other = good;
    other.spec.members[0].count = 0;
    assert!(refused(&written(&other)).contains("members[0].count"));
}
