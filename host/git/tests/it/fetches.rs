//! A fetch brings what is new, and not much more.

use dormouse_git::Cache;

use crate::clones::random_session;
use crate::server::Server;
use crate::support::{Git, files_in, files_of};

#[test]
fn a_fetch_brings_what_is_new_and_no_more() {
    let (mut session, _) = random_session(60, 3);
    session.put("large", &vec![7; 3_000_000]);
    session.put(
        "random",
        &(0..400_000_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect::<Vec<u8>>(),
    );
    session.turn("large");
    let server = Server::new(session.repository());
    for version in ["0", "2"] {
        let git = Git::new(version);
        let clone = git.clone(&server.url(), "clone");
        let whole = server.sent();
        for turn in 0..3 {
            session.put(&format!("new/{version}/{turn}"), b"hello");
            session.turn("new");
        }
        server.set(session.repository());
        git.ok("clone", &["pull", "--ff-only"]);
        let sent = server.sent();
        assert!(sent < 20_000 && whole > 400_000, "{sent} of {whole}");
        git.check("clone");
        assert_eq!(files_in(&clone), files_of(&session.tree(&session.head.unwrap())));
        git.ok("clone", &["fetch"]);
        assert!(server.sent() < 2_000, "nothing is new");
    }
    assert_eq!(server.errors(), []);
}

#[test]
fn a_rewind_takes_the_branch_back_and_a_fork_shares_its_history() {
    let (mut session, revisions) = random_session(30, 5);
    let cache = Cache::new(8 << 20);
    let server = Server::new(session.repository_with(&cache));
    let git = Git::new("2");
    let clone = git.clone(&server.url(), "clone");
    let before = git.ok("clone", &["rev-parse", "HEAD~10"]);
    session.rewind(revisions[19]);
    server.set(session.repository_with(&cache));
    git.ok("clone", &["fetch"]);
    assert_eq!(git.ok("clone", &["rev-parse", "origin/main"]), before);
    session.put("other", b"way");
    let other = session.turn("another way");
    let repository = session.repository_with(&cache);
    let repository = repository.with_reference("refs/heads/old", revisions[29]).unwrap();
    server.set(repository);
    server.sent();
    git.ok("clone", &["fetch"]);
    assert!(server.sent() < 20_000);
    assert_eq!(git.ok("clone", &["rev-parse", "origin/main~1"]), before);
    assert_eq!(git.ok("clone", &["rev-parse", "origin/old~10"]), before);
    git.ok("clone", &["checkout", "--quiet", "origin/main"]);
    assert_eq!(files_in(&clone), files_of(&session.tree(&other)));
    git.check("clone");
    assert_eq!(server.errors(), []);
}
