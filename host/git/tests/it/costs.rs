//! The next commit costs what differs, however many files there are.

use dormouse_git::Cache;

use crate::support::Session;

#[test]
fn the_next_commit_reads_what_differs_alone() {
    let mut session = Session::new();
    for number in 0..3_000 {
        let text = format!("{number} ").repeat(500);
        session.put(&format!("d{}/f{number}", number % 60), text.as_bytes());
    }
    let first = session.turn("many");
    let cache = Cache::new(32 << 20);
    let shelf = session.shelf.clone();
    session.repository_with(&cache).commit_id(&first).unwrap();
    let whole = shelf.bytes_read();
    session.put("d1/f1", b"another");
    let second = session.turn("one");
    session.repository_with(&cache).commit_id(&second).unwrap();
    let more = shelf.bytes_read() - whole;
    assert!(more * 20 < whole, "{more} of {whole}");
    let revisions = shelf.revisions_read();
    session.repository_with(&cache).commit_id(&second).unwrap();
    assert_eq!(shelf.revisions_read(), revisions, "it is remembered");
}
