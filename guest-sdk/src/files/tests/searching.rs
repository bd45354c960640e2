//! `Grep`.

use serde_json::{Value, json};

use super::{Told, Workspace};

fn grep(workspace: &Workspace, pattern: &str, more: Value) -> Told {
    let mut arguments = json!({ "pattern": pattern });
    arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    workspace.call("Grep", arguments)
}

fn workspace() -> Workspace {
    Workspace::new(&[
        ("src/a.rs", b"fn one() {}\nfn two() {}\n\nfn three() {}\n"),
        ("src/b.py", b"def one(): pass\r\nONE = 1\r\n"),
        ("notes.md", b"One for all.\n"),
        ("image", b"one\0one"),
        (".git/one", b"one\n"),
    ])
}

#[test]
fn files_lines_and_counts_are_found() {
    let workspace = workspace();
    assert_eq!(grep(&workspace, "one", json!({})).unwrap(), "/w/src/a.rs\n/w/src/b.py\n");
    let all = json!({ "-i": true, "output_mode": "files_with_matches" });
    assert_eq!(grep(&workspace, "one", all).unwrap(), "/w/notes.md\n/w/src/a.rs\n/w/src/b.py\n");
    let count = json!({ "-i": true, "output_mode": "count" });
    assert_eq!(
        grep(&workspace, "one", count).unwrap(),
        "/w/notes.md:1\n/w/src/a.rs:1\n/w/src/b.py:2\n"
    );
    let content = grep(&workspace, r"^(fn|def) \w+e\(\)", json!({ "output_mode": "content" }));
    let lines =
        "/w/src/a.rs:1:fn one() {}\n/w/src/a.rs:4:fn three() {}\n/w/src/b.py:1:def one(): pass\n";
    assert_eq!(content.unwrap(), lines);
    let plain = json!({ "output_mode": "content", "-n": false, "path": "/w/src/b.py" });
    // A line ends before its CR LF.
    assert_eq!(grep(&workspace, "1$", plain).unwrap(), "/w/src/b.py:ONE = 1\n");
    assert_eq!(grep(&workspace, "four", json!({})).unwrap(), "[Nothing matches.]\n");
}

#[test]
fn a_search_is_of_some_files() {
    let workspace = workspace();
    for (filter, found) in [
        (json!({ "glob": "*.rs" }), "/w/src/a.rs\n"),
        (json!({ "glob": "!*.rs" }), "/w/src/b.py\n"),
        (json!({ "glob": "src/*.{py,md}" }), "/w/src/b.py\n"),
        (json!({ "glob": "" , "type": "" }), "/w/src/a.rs\n/w/src/b.py\n"),
        (json!({ "type": "py" }), "/w/src/b.py\n"),
        (json!({ "type": "rust", "glob": "*.py" }), "[Nothing matches.]\n"),
        (json!({ "path": "src", "glob": "a*" }), "/w/src/a.rs\n"),
        (json!({ "path": "src/a.rs", "glob": null }), "/w/src/a.rs\n"),
        (json!({ "path": ".git" }), "/w/.git/one\n"),
    ] {
        assert_eq!(grep(&workspace, "one", filter.clone()).unwrap(), found, "{filter}");
    }
    let told = grep(&workspace, "one", json!({ "type": "cobol" })).unwrap_err();
    assert!(told.starts_with("there is no type `cobol`; use `glob`, or one of c, cpp, "), "{told}");
    assert!(grep(&workspace, "one", json!({ "glob": "[" })).is_err());
    assert!(grep(&workspace, "one", json!({ "output_mode": "all" })).is_err());
    let told = grep(&workspace, "one", json!({ "path": "image" })).unwrap_err();
    assert_eq!(told, "`/w/image` is no text, or too large");
    let told = grep(&workspace, "one", json!({ "path": "none" })).unwrap_err();
    assert_eq!(told, "there is no `/w/none`: Glob finds files");
}

#[test]
fn every_type_of_files_has_a_pattern() {
    let workspace = Workspace::new(&[("Makefile", b"x"), ("a.h", b"x"), ("b.tsx", b"x")]);
    let told = grep(&workspace, "x", json!({ "type": "?" })).unwrap_err();
    let kinds: Vec<&str> = told.rsplit_once(" of ").unwrap().1.split(", ").collect();
    assert_eq!(kinds.len(), 34);
    for kind in kinds {
        let found = grep(&workspace, "x", json!({ "type": kind })).unwrap();
        let expected = match kind {
            "c" | "cpp" => "/w/a.h\n",
            "make" => "/w/Makefile\n",
            "ts" => "/w/b.tsx\n",
            _ => "[Nothing matches.]\n",
        };
        assert_eq!(found, expected, "{kind}");
    }
}

#[test]
fn lines_around_a_match_are_shown_once() {
    let workspace =
        Workspace::new(&[("a", b"1\n2 x\n3\n4 x\n5\n6\n7\n8\n9 x\n"), ("b", b"x\n2\n")]);
    let show = |more: Value| {
        let mut all = json!({ "output_mode": "content" });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        grep(&workspace, "x", all).unwrap().replace("/w/", "")
    };
    let around = "a-1-1\na:2:2 x\na-3-3\na:4:4 x\na-5-5\n--\na-8-8\na:9:9 x\n--\nb:1:x\nb-2-2\n";
    assert_eq!(show(json!({ "-C": 1 })), around);
    assert_eq!(show(json!({ "-C": 0, "-A": 1, "-B": 1 })), around);
    assert_eq!(
        show(json!({ "-B": 1, "path": "a" })),
        "a-1-1\na:2:2 x\na-3-3\na:4:4 x\n--\na-8-8\na:9:9 x\n"
    );
    assert_eq!(show(json!({ "-A": u64::MAX, "path": "b" })), "b:1:x\nb-2-2\n");
    assert_eq!(show(json!({ "-n": false, "-A": 1, "path": "b" })), "b:x\nb-2\n");
    let cut = "a:2:2 x\na:4:4 x\n[There is more: `head_limit`, `path`, `glob` or `type` say what to show.]\n";
    assert_eq!(show(json!({ "head_limit": 2 })), cut);
    assert_eq!(show(json!({ "head_limit": 0 })).lines().count(), 4);
}

#[test]
fn a_match_may_go_across_lines() {
    let workspace = Workspace::new(&[("a", "{\r\n  é\n}\n\n{\n}\nend".as_bytes())]);
    let show = |pattern: &str| {
        let more = json!({ "output_mode": "content", "multiline": true });
        grep(&workspace, pattern, more).unwrap().replace("/w/a:", "")
    };
    assert_eq!(show(r"\{.*?é"), "1:{\n2:  é\n");
    assert_eq!(show("é\n}\n"), "2:  é\n3:}\n");
    assert_eq!(show(r"^$"), "4:\n");
    assert_eq!(show(r"\}\n\z"), "[Nothing matches.]\n");
    assert_eq!(show("d$"), "7:end\n");
    assert_eq!(show("()").lines().count(), 7);
    let counted = json!({ "output_mode": "count", "multiline": true });
    assert_eq!(grep(&workspace, r"\{.*?\}", counted).unwrap(), "/w/a:5\n");
    let told = grep(&workspace, "a\nb", json!({})).unwrap_err();
    assert_eq!(told, "a `pattern` of several lines needs `multiline`");
}

#[test]
fn what_is_no_expression_is_told_and_none_takes_long() {
    let workspace = Workspace::new(&[("a", &b"a".repeat(100_000))]);
    let long = "a".repeat(4_097);
    for pattern in ["", "(", "a{", "[z-a]", r"\p{Greek}", "(?=a)", r"(a)\1", "*", &*long] {
        let told = grep(&workspace, pattern, json!({})).unwrap_err();
        assert!(told.starts_with("`pattern` "), "{pattern}: {told}");
    }
    let deep = format!("{}a{}", "(".repeat(2_000), ")".repeat(2_000));
    assert!(grep(&workspace, &deep, json!({})).is_err());
    assert!(grep(&workspace, "(((a{99}){99}){99}){99}", json!({})).is_err());
    // Engines that go back take longer than the universe for these.
    for pattern in ["(a*)*b", "(a|a)*b", "(a|aa)+$b", "(.*)(.*)(.*)(.*)(.*)b"] {
        assert_eq!(
            grep(&workspace, pattern, json!({})).unwrap(),
            "[Nothing matches.]\n",
            "{pattern}"
        );
    }
    // A large expression may be tried on few bytes, unless what each match has is not there.
    workspace.put("b", &b"a\n".repeat(200_000));
    let told = grep(&workspace, "[xy][ab]{2000}", json!({})).unwrap();
    assert!(
        told.starts_with(
            "[Nothing matches in what was searched.]\n[Not all files were searched, because there is too much"
        ),
        "{told}"
    );
    let told = grep(&workspace, "x[ab]{2000}", json!({})).unwrap();
    assert_eq!(told, "[Nothing matches.]\n");
}

#[test]
fn large_files_are_left_out_and_long_lines_are_cut_around_the_match() {
    let line = format!("{}é needle {}", "ä".repeat(1_000), "ö".repeat(1_000));
    let large = "needle\n".repeat(1 << 21);
    let workspace = Workspace::new(&[("a", line.as_bytes()), ("large", large.as_bytes())]);
    let found = grep(&workspace, "needle", json!({ "output_mode": "content" })).unwrap();
    let (shown, note) = found.split_once('\n').unwrap();
    assert_eq!(note, "[Files that are too large to be searched: 1.]\n");
    assert!(
        shown.starts_with("/w/a:1:…ä") && shown.contains("äé needle ö") && shown.ends_with("ö…")
    );
    assert!(shown.len() < 530, "{shown}");
    let told = grep(&workspace, "needle", json!({ "path": "large" })).unwrap_err();
    assert_eq!(told, "`/w/large` is no text, or too large");
}

#[test]
fn an_answer_has_bounds_and_what_is_not_utf_8_is_searched() {
    let many = format!("{}\n", "x".repeat(400)).repeat(10_000);
    let workspace = Workspace::new(&[("a", many.as_bytes()), ("b", b"caf\xe9 needle\n")]);
    let most = json!({ "output_mode": "content", "head_limit": 1_000_000 });
    let found = grep(&workspace, "x+", most).unwrap();
    assert!(found.len() < 101 << 10 && found.contains("[There is more"), "{}", found.len());
    let found = grep(&workspace, "needle", json!({ "output_mode": "content" })).unwrap();
    assert_eq!(found, "/w/b:1:caf\u{fffd} needle\n");
}
