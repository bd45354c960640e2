//! `Write` and `Edit`.

use serde_json::{Value, json};

use super::{Told, Workspace};

fn edit(workspace: &Workspace, path: &str, old: &str, new: &str, all: Value) -> Told {
    let arguments =
        json!({ "file_path": path, "old_string": old, "new_string": new, "replace_all": all });
    workspace.call("Edit", arguments)
}

#[test]
fn a_file_is_written_with_its_directories_and_replaced() {
    let workspace = Workspace::new(&[("a", b"old"), ("d/b", b"")]);
    let write = |path: &str, content: &str| {
        workspace.call("Write", json!({ "file_path": path, "content": content }))
    };
    assert_eq!(write("a", "ü\r\n").unwrap(), "`/w/a` is replaced: 4 bytes.");
    assert_eq!(write("x/y/z", "").unwrap(), "`/w/x/y/z` is written: 0 bytes.");
    assert_eq!((workspace.get("a"), workspace.get("x/y/z")), ("ü\r\n".to_owned(), String::new()));
    assert_eq!(write("d", "x").unwrap_err(), "`/w/d` is a directory: Glob lists its files");
    for path in ["a/b", "a/b/c"] {
        let told = write(path, "x").unwrap_err();
        assert!(told.contains("is a file"), "{told}");
    }
    let told = write("large", &"x".repeat((8 << 20) + 1)).unwrap_err();
    assert_eq!(told, "a file has at most 8 MiB: nothing is written");
    // Nothing is left of how it was done.
    assert_eq!(workspace.names(), ["a", "d", "x"]);
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_written_stays_as_it_was_and_a_link_stays_a_link() {
    use std::os::unix::fs::symlink;

    let workspace = Workspace::new(&[("a", b"old\n"), (".dormouse-new-file", b"mine")]);
    let told = edit(&workspace, "a", "old", "new", json!(null)).unwrap_err();
    assert!(told.starts_with("nothing is written, perhaps because no room is left: "), "{told}");
    assert_eq!(workspace.get("a"), "old\n");
    assert_eq!(workspace.get(".dormouse-new-file"), "mine");
    std::fs::remove_file(workspace.root().join(".dormouse-new-file")).unwrap();
    symlink("a", workspace.root().join("link")).unwrap();
    edit(&workspace, "link", "old", "new", json!(null)).unwrap();
    assert_eq!(workspace.get("a"), "new\n");
    assert!(workspace.root().join("link").is_symlink());
}

#[test]
fn a_text_is_replaced_where_it_is_once_or_wherever_it_is() {
    let workspace = Workspace::new(&[("a", b"one\ntwo\none\n")]);
    let told = edit(&workspace, "a", "one", "three", json!(null)).unwrap_err();
    let expected = "`old_string` occurs 2 times, lines 1, 3: add what stands around the one that you mean, or set \
                    `replace_all`";
    assert_eq!(told, expected);
    assert_eq!(workspace.get("a"), "one\ntwo\none\n");
    let told = edit(&workspace, "a", "two\none", "four", json!(false)).unwrap();
    assert_eq!(told, "`/w/a` is changed in one place, line 2.");
    assert_eq!(workspace.get("a"), "one\nfour\n");
    let told = edit(&workspace, "a", "o", "", json!(true)).unwrap();
    assert_eq!(told, "`/w/a` is changed in all places, lines 1, 2.");
    assert_eq!(workspace.get("a"), "ne\nfur\n");
    workspace.put("many", &b"x\n".repeat(100));
    let told = edit(&workspace, "many", "x", "y", json!(null)).unwrap_err();
    assert!(
        told.contains("occurs 100 times, lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and others:"),
        "{told}"
    );
}

#[test]
fn a_text_that_is_not_there_is_told_with_what_is_like_it() {
    let workspace = Workspace::new(&[("a", b"fn a() {\n\tb();\n}\n")]);
    let told = edit(&workspace, "a", "  b();\n", "c();\n", json!(null)).unwrap_err();
    let expected = "`old_string` is not in the file; its first line is line 2, so white space or what follows differs. Read \
                    the file again, and copy what is there";
    assert_eq!(told, expected);
    for old in ["nothing", " \n \n"] {
        let told = edit(&workspace, "a", old, "x", json!(null)).unwrap_err();
        assert_eq!(
            told,
            "`old_string` is not in the file. Read the file again, and copy what is there"
        );
    }
    let told = edit(&workspace, "a", "", "x", json!(null)).unwrap_err();
    assert_eq!(told, "`old_string` is empty: Write makes a file");
    let told = edit(&workspace, "a", "b", "b", json!(null)).unwrap_err();
    assert_eq!(told, "`old_string` and `new_string` are the same");
}

#[test]
fn lines_that_end_with_cr_lf_go_on_to_do_so() {
    let workspace = Workspace::new(&[("a", b"one\r\ntwo\r\n"), ("mixed", b"one\r\ntwo\n")]);
    edit(&workspace, "a", "one\ntwo", "1\n2\n3", json!(null)).unwrap();
    assert_eq!(workspace.get("a"), "1\r\n2\r\n3\r\n");
    edit(&workspace, "a", "2\r\n", "2\r\n\r\n", json!(null)).unwrap();
    assert_eq!(workspace.get("a"), "1\r\n2\r\n\r\n3\r\n");
    // Which of them a line is to have, nobody knows: what is asked for is done.
    edit(&workspace, "mixed", "two\n", "2\n", json!(null)).unwrap();
    assert_eq!(workspace.get("mixed"), "one\r\n2\n");
    let told = edit(&workspace, "mixed", "one\n2", "x", json!(null)).unwrap_err();
    assert!(told.contains("its first line is line 1"), "{told}");
}

#[test]
fn what_cannot_be_edited_is_told() {
    let large = "x".repeat((8 << 20) + 1);
    let workspace = Workspace::new(&[
        ("d/a", b"x"),
        ("binary", b"x\0"),
        ("latin", b"x\xe9"),
        ("large", large.as_bytes()),
        ("grows", &b"x\n".repeat(1 << 20)),
    ]);
    let told = |path: &str| edit(&workspace, path, "x", "yyyyyyyyyy", json!(true)).unwrap_err();
    assert_eq!(told("none"), "there is no `/w/none`: Glob finds files");
    assert_eq!(told("d"), "`/w/d` is a directory: Glob lists its files");
    assert_eq!(told("binary"), "`/w/binary` is no text");
    assert_eq!(told("latin"), "`/w/latin` is not UTF-8: it cannot be edited");
    assert_eq!(told("large"), "`/w/large` has 8388609 bytes, and Edit takes 8 MiB");
    assert_eq!(told("grows"), "the file would have more than 8 MiB");
    assert_eq!(workspace.get("large"), large);
}

#[test]
fn text_of_any_language_is_found_and_replaced() {
    let workspace = Workspace::new(&[("Größe/日本語.txt", "größe = “5”\n".as_bytes())]);
    edit(&workspace, "Größe/日本語.txt", "“5”", "„6“", json!(null)).unwrap();
    assert_eq!(workspace.get("Größe/日本語.txt"), "größe = „6“\n");
    assert_eq!(
        workspace.call("Glob", json!({ "pattern": "Gr?ße/*語.[s-u]xt" })).unwrap(),
        "/w/Größe/日本語.txt\n"
    );
}
