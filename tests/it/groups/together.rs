//! A group ends, is removed, pauses, sleeps, goes back and is forked as one.

use super::*;

/// What members of this group have received, Ann first.
async fn received(test: &TestHost, lead: &SessionHandle) -> [Value; 2] {
    let (ann, bob) = (member(test, lead, "ann").await, member(test, lead, "bob").await);
    [tell(&ann, "received").await[0].take(), tell(&bob, "received").await[0].take()]
}

async fn head(session: &SessionHandle) -> dormouse::SnapshotId {
    session.info().await.unwrap().session.head.unwrap()
}

#[tokio::test]
async fn members_end_with_their_coordinator_also_in_mid_turn() {
    let test = TestHost::new().await;
    let lead = group(&test).await;
    tell(&lead, "task ann one").await;
    let ann = member(&test, &lead, "ann").await;
    let working = {
        let ann = ann.clone();
        tokio::spawn(async move { ann.send("sleep").await })
    };
    let works = async || ann.info().await.unwrap().running_turn.is_some();
    eventually("Ann works", works).await;
    lead.complete().await.unwrap();
    let ended = async || ann.status().await.unwrap() == Status::Terminated;
    eventually("Ann ends", ended).await;
    let reason = ann.info().await.unwrap().session.state.reason().cloned();
    assert_eq!(reason.unwrap().0, "group_ended");
    assert!(working.await.unwrap().is_err(), "her turn was killed");
    let refused = ann.send("hello").await.unwrap_err();
    assert!(refused.to_string().contains("not active"), "{refused}");
    // Bob was never there, and never will be.
    assert_eq!(there(&lead).await, ["ann"]);
    test.shut_down().await;
}

#[tokio::test]
async fn members_end_after_the_start_where_the_host_has_ended_before_them() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let id = {
        let test = TestHost::on(directory.path(), &clock).await;
        let lead = group(&test).await;
        tell(&lead, "task ann one").await;
        lead.terminate("enough").await.unwrap();
        lead.id()
    };
    let test = TestHost::on(directory.path(), &clock).await;
    let lead = test.host.sessions().get(id);
    let ann = member(&test, &lead, "ann").await;
    let ended = async || ann.status().await.unwrap() == Status::Terminated;
    eventually("Ann ends after the start", ended).await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_member_does_nothing_alone_that_its_group_does_as_one() {
    let test = TestHost::new().await;
    let lead = group(&test).await;
    tell(&lead, "task ann one").await;
    let ann = member(&test, &lead, "ann").await;
    let snapshot = head(&ann).await;
    let patch = SessionPatch { status: Some(StatusChange::Paused), ..SessionPatch::default() };
    let refused = [
        ann.stop().await,
        ann.terminate("enough").await,
        ann.force_kill().await,
        ann.complete().await,
        ann.pause().await,
        ann.change(patch).await,
        ann.rewind(snapshot).await,
        ann.resume(Some(snapshot)).await,
        ann.delete().await.map(|()| unreachable!()),
    ];
    for refused in refused {
        match refused {
            Err(CommandError::MemberOfGroup(member)) => {
                assert_eq!((member.coordinator, member.name.as_str()), (lead.id(), "ann"));
            }
            other => panic!("{other:?}"),
        }
    }
    let refused = ann.fork(Fork::default()).await.unwrap_err();
    assert!(refused.to_string().contains("member `ann`"), "{refused}");
    // But it may be spoken to, and put to sleep, and told of.
    assert_eq!(tell(&ann, "received").await, json!([["coordinator: one"]]));
    ann.sleep().await.unwrap();
    let patch = SessionPatch { tags: Some(vec!["white".to_owned()]), ..SessionPatch::default() };
    assert_eq!(ann.change(patch).await.unwrap().session.profile.tags, ["white"]);
    test.shut_down().await;
}

#[tokio::test]
async fn a_group_is_removed_whole_with_its_account_and_its_mail() {
    let test = TestHost::new().await;
    let lead = group(&test).await;
    tell(&lead, "task ann one\nask bob two").await;
    let (ann, bob) = (member(&test, &lead, "ann").await, member(&test, &lead, "bob").await);
    // Bob is in a turn that asks Ann, who is in one.
    let working = [(&ann, "sleep"), (&bob, "ask ann three")].map(|(session, orders)| {
        let session = session.clone();
        tokio::spawn(async move { session.send(orders).await })
    });
    for session in [&ann, &bob] {
        eventually("it works", async || session.info().await.unwrap().running_turn.is_some()).await;
    }
    lead.delete().await.unwrap();
    for session in [&lead, &ann, &bob] {
        assert!(session.info().await.is_err(), "it is gone");
    }
    for working in working {
        assert!(working.await.unwrap().is_err());
    }
    test.host.settle().await;
    assert!(test.host.store().check().await.unwrap().findings.is_empty());
    test.shut_down().await;
}

#[tokio::test]
async fn a_group_pauses_and_sleeps_as_one() {
    let test = TestHost::new().await;
    let lead = group(&test).await;
    tell(&lead, "task ann one\ntask bob run send ann two").await;
    let (ann, bob) = (member(&test, &lead, "ann").await, member(&test, &lead, "bob").await);
    let came = json!(["coordinator: one", "bob: two"]);
    eventually("the mail came", async || tell(&ann, "received").await[0] == came).await;
    lead.pause().await.unwrap();
    let refused = ann.send("received").await.unwrap_err();
    assert!(matches!(refused, dormouse::SendError::Denied(TurnDenied::Paused)), "{refused:?}");
    lead.resume(None).await.unwrap();
    tell(&bob, "later send ann three").await;
    lead.pause().await.unwrap();
    test.advance(Duration::from_secs(2));
    lead.resume(None).await.unwrap();
    // A timer that could not send its turn is looked at again.
    test.advance(Duration::from_secs(31));
    let came = json!(["coordinator: one", "bob: two", "bob: three"]);
    eventually("the mail came", async || tell(&ann, "received").await[0] == came).await;
    lead.wake().await.unwrap();
    for session in [&lead, &ann, &bob] {
        let residency = session.info().await.unwrap().residency;
        assert_eq!(residency, dormouse::Residency::Resident);
    }
    lead.sleep().await.unwrap();
    for session in [&lead, &ann, &bob] {
        assert_eq!(session.info().await.unwrap().residency, dormouse::Residency::Asleep);
    }
    test.shut_down().await;
}

#[tokio::test]
async fn mail_to_a_member_waits_while_its_coordinator_is_paused() {
    let test = TestHost::new().await;
    let lead = group(&test).await;
    tell(&lead, "task ann one\ntask bob one").await;
    let (ann, bob) = (member(&test, &lead, "ann").await, member(&test, &lead, "bob").await);
    let sending = {
        let bob = bob.clone();
        tokio::spawn(async move { bob.send("sleep\nsend ann two").await })
    };
    eventually("Bob works", async || bob.info().await.unwrap().running_turn.is_some()).await;
    lead.pause().await.unwrap();
    sending.await.unwrap().unwrap();
    assert_eq!(ann.info().await.unwrap().mail_waiting, 1);
    assert_eq!(ann.info().await.unwrap().session.usage.turns, 1);
    lead.resume(None).await.unwrap();
    eventually("it has come", async || ann.info().await.unwrap().mail_waiting == 0).await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_group_goes_back_as_one() {
    let test = TestHost::new().await;
    let lead = group(&test).await;
    tell(&lead, "task ann one").await;
    let first = head(&lead).await;
    tell(&lead, "task ann two\ntask bob three").await;
    let second = head(&lead).await;
    tell(&lead, "task bob four").await;
    let before = lead.account().await.unwrap().unwrap().spent;
    lead.rewind(second).await.unwrap();
    let two = [json!(["coordinator: one", "coordinator: two"]), json!(["coordinator: three"])];
    assert_eq!(received(&test, &lead).await, two);
    lead.rewind(first).await.unwrap();
    assert_eq!(received(&test, &lead).await, [json!(["coordinator: one"]), json!([])]);
    // What was left is still there to go back to, and what was spent is spent.
    lead.rewind(second).await.unwrap();
    assert_eq!(received(&test, &lead).await, two);
    assert!(lead.account().await.unwrap().unwrap().spent.fuel > before.fuel);

    // Where it went back to is a place to go back to, and not what was left there.
    let again = head(&lead).await;
    tell(&lead, "task ann five\ntask bob six").await;
    lead.rewind(again).await.unwrap();
    assert_eq!(received(&test, &lead).await, two);
    // Who began anew stays so where its group goes on.
    lead.rewind(first).await.unwrap();
    tell(&lead, "task ann seven").await;
    let third = head(&lead).await;
    tell(&lead, "task bob eight").await;
    lead.rewind(third).await.unwrap();
    let three = [json!(["coordinator: one", "coordinator: seven"]), json!([])];
    assert_eq!(received(&test, &lead).await, three);
    let fork = Fork { snapshot: Some(third), ..Fork::default() };
    let fork = lead.fork(fork).await.unwrap().remove(0).session.id;
    let fork = test.host.sessions().get(fork);
    let begin = head(&fork).await;
    assert_eq!(received(&test, &fork).await, three);
    tell(&fork, "task ann nine\ntask bob ten").await;
    fork.rewind(begin).await.unwrap();
    assert_eq!(received(&test, &fork).await, three);
    lead.rewind(second).await.unwrap();

    let ann = member(&test, &lead, "ann").await;
    let working = {
        let ann = ann.clone();
        tokio::spawn(async move { ann.send("sleep").await })
    };
    eventually("Ann works", async || ann.info().await.unwrap().running_turn.is_some()).await;
    let refused = lead.rewind(first).await.unwrap_err();
    assert!(matches!(refused, CommandError::TurnInProgress), "{refused:?}");
    let refused = lead.fork(Fork::default()).await.unwrap_err();
    assert!(refused.to_string().contains("turn"), "{refused}");
    working.await.unwrap().unwrap();
    assert_eq!(received(&test, &lead).await, two, "nothing has changed");
    test.shut_down().await;
}

#[tokio::test]
async fn a_group_goes_back_as_one_whatever_the_moment_in_which_the_host_ends() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let mut outcomes = BTreeSet::new();
    for after in [0, 200, 1_000, 3_000, 10_000, 100_000] {
        let test = TestHost::on(directory.path(), &clock).await;
        let lead = group(&test).await;
        tell(&lead, "task ann one\ntask bob one").await;
        let first = head(&lead).await;
        tell(&lead, "task ann two\ntask bob two").await;
        let (id, back) = (lead.id(), lead.clone());
        let going = tokio::spawn(async move { back.rewind(first).await });
        for _ in 0..after {
            tokio::task::yield_now().await;
        }
        going.abort();
        let _ = going.await;
        drop((test, lead));
        let test = TestHost::on(directory.path(), &clock).await;
        let lead = test.host.sessions().get(id);
        let [ann, bob] = received(&test, &lead).await;
        let count = |received: &Value| received.as_array().unwrap().len();
        assert_eq!(count(&ann), count(&bob), "both, or none");
        outcomes.insert(count(&ann));
        lead.delete().await.unwrap();
        test.shut_down().await;
    }
    assert!(outcomes.is_subset(&BTreeSet::from([1, 2])), "{outcomes:?}");
}

#[tokio::test]
async fn a_group_does_not_go_back_to_where_nothing_is_kept_of_a_member() {
    let test = TestHost::new().await;
    let change = |new: &mut NewSession| new.durability = dormouse::Durability::Sleep;
    let lead = group_with(&test, change).await;
    tell(&lead, "task ann one").await;
    // The coordinator is saved, and Ann later: where she was in between, nobody knows any more.
    let from = lead.id().to_string();
    let template = dormouse::NewTemplate { name: "start".to_owned(), from, description: None };
    test.host.templates().create(template).await.unwrap();
    let first = head(&lead).await;
    tell(&lead, "task ann two").await;
    lead.sleep().await.unwrap();
    let second = head(&lead).await;
    tell(&lead, "task ann three").await;
    lead.rewind(second).await.unwrap();
    let ann = member(&test, &lead, "ann").await;
    let two = json!(["coordinator: one", "coordinator: two"]);
    assert_eq!(tell(&ann, "received").await[0], two);
    match lead.rewind(first).await {
        Err(CommandError::MemberStateGone(name)) => assert_eq!(name, "ann"),
        other => panic!("{other:?}"),
    }
    let refused = lead.fork(Fork { snapshot: Some(first), ..Fork::default() }).await.unwrap_err();
    assert!(refused.to_string().contains("member `ann`"), "{refused}");
    assert_eq!(tell(&ann, "received").await[0], two, "nothing has changed");
    test.shut_down().await;
}

#[tokio::test]
async fn one_member_that_cannot_wake_keeps_no_other_from_it() {
    let test = TestHost::new().await;
    let lead = group(&test).await;
    tell(&lead, "task ann one\ntask bob two").await;
    let (ann, bob) = (member(&test, &lead, "ann").await, member(&test, &lead, "bob").await);
    for _ in 0..5 {
        ann.send("fail").await.unwrap_err();
    }
    assert_eq!(ann.status().await.unwrap(), Status::Error);
    lead.sleep().await.unwrap();
    lead.wake().await.unwrap();
    assert_eq!(bob.info().await.unwrap().residency, dormouse::Residency::Resident);
    ann.resume(None).await.unwrap();
    assert_eq!(tell(&ann, "received").await[0], json!(["coordinator: one"]));
    test.shut_down().await;
}

#[tokio::test]
async fn forks_of_a_group_are_groups_of_their_own() {
    let test = TestHost::new().await;
    let lead = group(&test).await;
    tell(&lead, "task ann one").await;
    let first = head(&lead).await;
    tell(&lead, "task ann two\ntask bob three").await;
    let forks = lead.fork(Fork { count: 2, ..Fork::default() }).await.unwrap();
    let ids: BTreeSet<_> = forks.iter().map(|fork| fork.session.id).collect();
    assert_eq!(ids.len(), 2);
    for fork in &forks {
        let fork = test.host.sessions().get(fork.session.id);
        assert_eq!(there(&fork).await, ["ann", "bob"]);
        let have = [json!(["coordinator: one", "coordinator: two"]), json!(["coordinator: three"])];
        assert_eq!(received(&test, &fork).await, have);
        tell(&fork, "task ann only here").await;
    }
    assert_eq!(received(&test, &lead).await[0], json!(["coordinator: one", "coordinator: two"]));
    let account = lead.account().await.unwrap().unwrap();
    assert_eq!(account.members, 9, "three groups of three spend from it");

    let limits = dormouse::ForkLimits { max_fuel: Some(50_000_000_000), ..Default::default() };
    let fork = Fork { snapshot: Some(first), limits, ..Fork::default() };
    let fork = lead.fork(fork).await.unwrap().remove(0).session.id;
    let fork = test.host.sessions().get(fork);
    // Bob was not there then: in this group he begins.
    assert_eq!(there(&fork).await, ["ann", "bob"]);
    assert_eq!(received(&test, &fork).await, [json!(["coordinator: one"]), json!([])]);
    let account = fork.account().await.unwrap().unwrap();
    assert_eq!((account.id.0, account.members), (fork.id(), 3));
    assert_eq!(account.limits.fuel, Some(50_000_000_000));
    let refused = lead.fork(Fork { count: 100, ..Fork::default() }).await.unwrap_err();
    assert!(refused.to_string().contains("3 sessions"), "{refused}");
    fork.delete().await.unwrap();
    assert_eq!(received(&test, &lead).await[1], json!(["coordinator: three"]));

    // One that has ended is there to go on from, with all that its members know.
    lead.complete().await.unwrap();
    let bob = member(&test, &lead, "bob").await;
    eventually("all end", async || bob.status().await.unwrap() == Status::Terminated).await;
    let fork = lead.fork(Fork::default()).await.unwrap().remove(0).session.id;
    let fork = test.host.sessions().get(fork);
    assert_eq!(received(&test, &fork).await[1], json!(["coordinator: three"]));
    // Old sessions are removed as groups, and no member alone.
    test.advance(Duration::from_secs(3_600));
    let older_than = Duration::from_secs(60);
    let (status, pattern, user_id, dry_run) = (None, None, None, false);
    let old = dormouse::Cleanup { status, pattern, user_id, older_than, dry_run };
    let removed = test.host.sessions().clean_up(old).await.unwrap().removed;
    assert_eq!(removed, [lead.id()]);
    assert!(bob.info().await.is_err());
    test.shut_down().await;
}
