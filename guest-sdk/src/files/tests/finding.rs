//! `Glob`, and the patterns of paths.

use serde_json::json;

use super::Workspace;
use crate::files::pattern::Pattern;

#[test]
fn patterns_are_of_paths() {
    for (pattern, matched, others) in [
        ("*.rs", vec!["a.rs", "x/y/a.rs", ".rs"], vec!["a.rsx", "a.rs/b", "ars"]),
        ("./*.rs", vec!["a.rs"], vec!["x/a.rs"]),
        ("src/*.rs", vec!["src/a.rs"], vec!["a.rs", "x/src/a.rs", "src/x/a.rs"]),
        ("**/*.rs", vec!["a.rs", "x/a.rs", "x/y/a.rs"], vec!["a.md"]),
        ("src/**", vec!["src/a", "src/x/a"], vec!["src", "x/src/a"]),
        ("src/", vec!["src/a", "src/x/a"], vec!["src", "srcs/a"]),
        ("a/**/b", vec!["a/b", "a/x/b", "a/x/y/b"], vec!["ab", "a/xb", "a/b/c"]),
        ("**", vec!["a", "a/b"], vec![]),
        ("a**b", vec!["ab", "axb", "x/ab"], vec!["a/b"]),
        ("***/a", vec!["a", "x/a"], vec!["xa"]),
        ("a?c", vec!["abc", "aéc"], vec!["ac", "a/c", "abbc"]),
        ("*.{js,ts}", vec!["a.js", "x/a.ts"], vec!["a.jsx", "a.{js,ts}"]),
        ("{src/**,lib/*}.rs", vec!["lib/a.rs"], vec!["src/a.rs.x"]),
        ("{src/**/*,lib/*}.rs", vec!["src/a.rs", "src/x/a.rs", "lib/a.rs"], vec!["lib/x/a.rs"]),
        ("{a,{b,c}d}", vec!["a", "bd", "cd"], vec!["b", "ad"]),
        ("[a-c]x", vec!["ax", "cx", "y/bx"], vec!["dx", "-x", "x"]),
        ("[!a-c]x", vec!["dx", "-x"], vec!["ax", "x"]),
        ("[^a]b", vec!["cb", "x/cb"], vec!["ab"]),
        ("a/[^b]c", vec!["a/xc"], vec!["a/bc", "a//c"]),
        ("a/b[!c]d", vec!["a/bxd"], vec!["a/b/d"]),
        ("a/b[+-9]d", vec!["a/b+d", "a/b0d"], vec!["a/b/d"]),
        ("[]]", vec!["]"], vec!["[", "[]]"]),
        ("[!]]", vec!["["], vec!["]"]),
        ("[a-]", vec!["a", "-"], vec!["b"]),
        (r"[\^.&~]", vec!["^", "\\", ".", "&", "~"], vec!["x"]),
        (r"\*\[a\]\é", vec!["*[a]é"], vec!["x[a]é"]),
        ("a,b}", vec!["a,b}"], vec!["a"]),
        ("a.b+(c)|^$<x>_&&~#", vec!["a.b+(c)|^$<x>_&&~#"], vec!["axb"]),
        ("*", vec!["a\nb", "a"], vec![]),
    ] {
        let compiled = Pattern::new(pattern).unwrap();
        for path in matched {
            assert!(compiled.matches(path), "{pattern}: {path}");
        }
        for path in others {
            assert!(!compiled.matches(path), "{pattern}: {path}");
        }
    }
}

#[test]
fn what_is_no_pattern_is_told_and_no_pattern_takes_long() {
    let long = "a".repeat(1_001);
    let nested = format!("{}a{}", "{".repeat(300), "}".repeat(300));
    for (pattern, why) in [
        ("", "1 to 1000 bytes"),
        (&*long, "1 to 1000 bytes"),
        ("a[b", "a `[` has no `]`"),
        ("[", "a `[` has no `]`"),
        ("[!", "a `[` has no `]`"),
        ("a{b,c", "a `{` has no `}`"),
        ("a\\", "ends with a backslash"),
        ("[z-a]", "a range that ends before it begins"),
        ("[/]", "a slash is in no `[…]`"),
        (&*nested, "too many alternatives"),
    ] {
        let Err(error) = Pattern::new(pattern) else { panic!("{pattern} is one") };
        assert!(error.to_string().contains(why), "{pattern}: {error}");
    }
    // What tries one alternative after the other would never end.
    let slow = Pattern::new(&format!("{}b", "{a,a}*".repeat(100))).unwrap();
    assert!(!slow.matches(&"a".repeat(255)));
    let slow = Pattern::new(&"**/a*a*a*".repeat(50)).unwrap();
    assert!(!slow.matches(&"aa/".repeat(80)));
}

#[test]
fn files_are_found_in_the_order_of_their_names() {
    let workspace = Workspace::new(&[
        ("b.rs", b""),
        ("a/z.rs", b""),
        ("a/.hidden.rs", b""),
        ("a.rs", b""),
        ("a/b/c.rs", b""),
        (".git/x.rs", b""),
        ("é.md", b""),
    ]);
    std::fs::create_dir(workspace.root().join("empty.rs")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("..", workspace.root().join("a/up")).unwrap();
    let glob = |arguments| workspace.call("Glob", arguments);
    let all = "/w/a/.hidden.rs\n/w/a/b/c.rs\n/w/a/z.rs\n/w/a.rs\n/w/b.rs\n";
    for pattern in ["*.rs", "**/*.rs", "/w/**/*.rs"] {
        assert_eq!(glob(json!({ "pattern": pattern })).unwrap(), all, "{pattern}");
    }
    let within = glob(json!({ "pattern": "*.rs", "path": "/w/a/" })).unwrap();
    assert_eq!(within, "/w/a/.hidden.rs\n/w/a/b/c.rs\n/w/a/z.rs\n");
    let within = glob(json!({ "pattern": "/w/a/*.rs", "path": "a" })).unwrap();
    assert_eq!(within, "/w/a/.hidden.rs\n/w/a/z.rs\n");
    let none = glob(json!({ "pattern": "*.py", "path": null })).unwrap();
    assert_eq!(none, "[No file has a path of this pattern.]\n");
    let told = glob(json!({ "pattern": "/etc/*" })).unwrap_err();
    assert_eq!(told, "`/etc/*` is not below `/w/`, where it looks");
    let told = glob(json!({ "pattern": "*", "path": "none" })).unwrap_err();
    assert_eq!(told, "there is no `/w/none`: Glob finds files");
    let told = glob(json!({ "pattern": "*", "path": "a.rs" })).unwrap_err();
    assert!(told.contains("is a file"), "{told}");
    assert!(glob(json!({ "pattern": "[" })).unwrap_err().contains("no pattern of paths"));
}

#[test]
fn an_answer_has_so_many_paths_and_a_search_goes_so_deep() {
    let workspace = Workspace::new(&[]);
    for number in 0..1_001 {
        workspace.put(&format!("{number:04}"), b"");
    }
    let found = workspace.call("Glob", json!({ "pattern": "*" })).unwrap();
    assert_eq!(found.lines().count(), 1_001);
    assert!(
        found.ends_with("/w/0999\n[There are more: a narrower pattern finds them.]\n"),
        "{found}"
    );
    let workspace = Workspace::new(&[]);
    workspace.put(&format!("{}deep", "d/".repeat(63)), b"");
    workspace.put(&format!("{}deeper", "d/".repeat(64)), b"");
    let found = workspace.call("Glob", json!({ "pattern": "deep*" })).unwrap();
    assert!(
        found.contains("/deep\n[There are more than 50000 files, or 64 directories"),
        "{found}"
    );
    assert!(!found.contains("deeper"), "{found}");
}
