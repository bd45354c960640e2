//! What a guest writes attacks no client, and no tree of it spoils the clone.

use crate::server::Server;
use crate::support::{Found, Git, Session, files_in};

#[test]
fn names_that_git_refuses_or_obeys_are_left_out() {
    let mut session = Session::new();
    for path in [
        ".git/config",
        ".GIT/hooks/post-checkout",
        "a/.git/config",
        "git~1/config",
        ".git /x",
        ".git./x",
        ".git::$INDEX_ALLOCATION/x",
        "a/.g\u{200c}it/config",
        ".gitmodules",
        ".GitModules",
        "gitmod~1",
        "sub/.gitmodules",
    ] {
        session.put(path, b"[core]\n\tfsmonitor = \"touch /tmp/attacked\"\n");
    }
    session.link("to-git", ".git/config");
    session.link(".gitattributes", "x");
    session.link(".gitignore", "x");
    session.put("sub/.gitattributes", &vec![b'x'; 200 << 20 >> 1]);
    session.put("-rf", b"1");
    session.put("back\\slash", b"2");
    session.put("new\nline", b"3");
    session.put("con", b"4");
    session.put("\u{202e}txt.exe", b"5");
    session.at(|it, root| it.make_directories(root, "empty/below").unwrap());
    session.turn("hostile");
    let server = Server::new(session.repository());
    for version in ["0", "2"] {
        let git = Git::new(version);
        let clone = git.clone(&server.url(), "clone");
        let found = files_in(&clone);
        for (path, content) in
            [("-rf", "1"), ("new\nline", "3"), ("con", "4"), ("\u{202e}txt.exe", "5")]
        {
            assert_eq!(found.get(path), Some(&Found::File(content.into())), "{path}");
        }
        for path in found.keys() {
            let lower = path.to_lowercase();
            assert!(
                !lower.contains(".git/") && !lower.contains("git~") && !lower.contains("gitmod"),
                "{path}"
            );
        }
    }
    assert_eq!(server.errors(), []);
}
