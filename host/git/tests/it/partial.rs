//! Clones that have a part of the history, or of the files.

use crate::clones::random_session;
use crate::server::Server;
use crate::support::{Git, files_in, files_of};

#[test]
fn a_shallow_clone_has_the_newest_commits_and_can_be_deepened() {
    let (session, _) = random_session(40, 21);
    let server = Server::new(session.repository());
    for version in ["0", "2"] {
        let git = Git::new(version);
        let clone = git.path("clone");
        git.ok(".", &["clone", "--depth=3", &server.url(), "clone"]);
        assert_eq!(git.ok("clone", &["rev-list", "--count", "HEAD"]), "3");
        assert_eq!(files_in(&clone), files_of(&session.tree(&session.head.unwrap())));
        git.check("clone");
        git.ok("clone", &["fetch", "--depth=7"]);
        assert_eq!(git.ok("clone", &["rev-list", "--count", "HEAD"]), "7");
        git.ok("clone", &["fetch", "--unshallow"]);
        assert_eq!(git.ok("clone", &["rev-list", "--count", "HEAD"]), "40");
        git.check("clone");
    }
    assert_eq!(server.errors(), []);
}

#[test]
fn a_clone_without_files_gets_those_that_it_needs() {
    let (mut session, _) = random_session(20, 22);
    session.put("old", &vec![3; 300_000]);
    session.turn("old");
    session.remove("old");
    session.turn("gone");
    let server = Server::new(session.repository());
    let git = Git::new("2");
    git.ok(".", &["clone", "--filter=blob:none", &server.url(), "clone"]);
    let clone = git.path("clone");
    assert_eq!(files_in(&clone), files_of(&session.tree(&session.head.unwrap())));
    git.ok("clone", &["checkout", "--quiet", "HEAD~1"]);
    assert_eq!(std::fs::read(clone.join("old")).unwrap().len(), 300_000);
    assert_eq!(server.errors(), []);
}
