//! `Read`.

use serde_json::json;

use super::Workspace;

#[test]
fn lines_have_numbers_and_an_answer_says_where_the_file_goes_on() {
    let lines: String = (1..=2_500).map(|number| format!("line {number}\n")).collect();
    let workspace = Workspace::new(&[("a", lines.as_bytes())]);
    let read = workspace.call("Read", json!({ "file_path": "a" })).unwrap();
    assert!(read.starts_with("     1\tline 1\n     2\tline 2\n"), "{read}");
    assert!(
        read.ends_with(
            "  2000\tline 2000\n[The file goes on: `offset` 2001 reads the next lines.]\n"
        )
    );
    let read = workspace.call("Read", json!({ "file_path": "a", "offset": 2_499, "limit": 2 }));
    assert_eq!(read.unwrap(), "  2499\tline 2499\n  2500\tline 2500\n");
    let read = workspace.call("Read", json!({ "file_path": "a", "offset": 0, "limit": 1 }));
    let first = "     1\tline 1\n[The file goes on: `offset` 2 reads the next lines.]\n";
    assert_eq!(read.unwrap(), first);
    let told = workspace.call("Read", json!({ "file_path": "a", "offset": 2_501 })).unwrap_err();
    assert_eq!(told, "`/w/a` has 2500 lines, and no line 2501");
    let told = workspace.call("Read", json!({ "file_path": "a", "offset": u64::MAX })).unwrap_err();
    assert!(told.starts_with("`/w/a` has 2500 lines"), "{told}");
    let told = workspace.call("Read", json!({ "file_path": "a", "offset": -1 })).unwrap_err();
    assert!(told.starts_with("the arguments are not as the schema says"), "{told}");
}

#[test]
fn what_is_no_file_of_text_is_told() {
    let workspace = Workspace::new(&[
        ("d/a", b"x"),
        ("empty", b""),
        ("image", b"\x89PNG\r\n\x1a\n\0\0"),
        ("latin", b"caf\xe9\n"),
    ]);
    let read = |path: &str| workspace.call("Read", json!({ "file_path": path }));
    assert_eq!(read("empty").unwrap(), "`/w/empty` is empty.");
    assert_eq!(
        read("image").unwrap_err(),
        "`/w/image` is no text: it is a binary file of 10 bytes"
    );
    assert_eq!(read("none").unwrap_err(), "there is no `/w/none`: Glob finds files");
    assert_eq!(read("d").unwrap_err(), "`/w/d` is a directory: Glob lists its files");
    assert_eq!(read("d/a/b").unwrap_err(), "a directory on the way to `/w/d/a/b` is a file");
    let latin =
        "     1\tcaf\u{fffd}\n[The file is not UTF-8: what is not, is shown as \u{fffd}.]\n";
    assert_eq!(read("latin").unwrap(), latin);
}

#[test]
fn ends_of_lines_are_left_out_and_long_lines_are_cut_between_characters() {
    let long = "€".repeat(1_000);
    let whole = "x".repeat(2_000);
    let text = format!("a\r\n\r\n{long}\r\n{whole}\r\n{whole}y\nlast");
    let workspace = Workspace::new(&[("a", text.as_bytes())]);
    let read = workspace.call("Read", json!({ "file_path": "a" })).unwrap();
    let cut = "€".repeat(666);
    let expected = format!(
        "     1\ta\n     2\t\n     3\t{cut}… [the line is cut]\n     4\t{whole}\n     5\t{whole}… [the line is cut]\n     6\tlast\n"
    );
    assert_eq!(read, expected);
}

#[test]
fn an_answer_has_bounds_whatever_the_file_has() {
    let lines = format!("{}\n", "x".repeat(1_999)).repeat(1_000);
    // Each byte of it is shown as three.
    let wrong = [&[0xff; 1_999][..], b"\n"].concat().repeat(1_000);
    let workspace = Workspace::new(&[("a", lines.as_bytes()), ("b", &wrong)]);
    for (path, next) in [("a", 52), ("b", 18)] {
        let read = workspace.call("Read", json!({ "file_path": path })).unwrap();
        assert!(read.len() < 101 << 10, "{}", read.len());
        assert!(read.contains(&format!("[The file goes on: `offset` {next} ")), "{path}");
    }
    // Only its beginning is read.
    let file = std::fs::File::create(workspace.root().join("huge")).unwrap();
    std::io::Write::write_all(&mut &file, b"first\n").unwrap();
    file.set_len(1 << 40).unwrap();
    let read = workspace.call("Read", json!({ "file_path": "huge", "offset": 3 }));
    assert!(read.unwrap_err().contains("is no text"));
    file.set_len(6).unwrap();
    std::io::Write::write_all(&mut &file, &b"xxxxxxx\n".repeat(1 << 10)).unwrap();
    file.set_len(1 << 40).unwrap();
    let read = workspace.call("Read", json!({ "file_path": "huge", "limit": 1 }));
    assert!(read.unwrap().starts_with("     1\tfirst\n[The file goes on"));
    let read = workspace.call("Read", json!({ "file_path": "huge", "offset": 5_000 }));
    assert!(read.unwrap_err().contains("is not within its first 64 MiB"));
}
