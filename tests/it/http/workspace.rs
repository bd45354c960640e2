//! The files of a session over HTTP: in and out, conditions, parts, lists, archives, and what differs.

use std::io::Read;

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

/// The workspace of a session that keeps files.
struct Files<'a> {
    server: &'a TestServer,
    id: String,
}

impl<'a> Files<'a> {
    async fn new(server: &'a TestServer) -> Files<'a> {
        let id = server.session(&guests::KEEPS_FILES, json!({ "pattern": "hybrid" })).await;
        Files { server, id }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Response {
        let path = format!("/api/sessions/{}/workspace{path}", self.id);
        let mut request = self.server.client.request(method, &path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body.into()).send().await.unwrap()
    }

    async fn get(&self, path: &str, headers: &[(&'static str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
        let response = self.send(Method::GET, path, headers, "").await;
        let (status, told) = (response.status().as_u16(), response.headers().clone());
        (status, told, response.bytes().await.unwrap().to_vec())
    }

    async fn put(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> (u16, Value) {
        json_of(self.send(Method::PUT, path, headers, body).await).await
    }

    async fn delete(&self, path: &str, headers: &[(&'static str, &str)]) -> (u16, Value) {
        json_of(self.send(Method::DELETE, path, headers, "").await).await
    }

    async fn list(&self, query: &str) -> Value {
        let (status, listed) = json_of(self.send(Method::GET, query, &[], "").await).await;
        assert_eq!(status, 200, "{listed}");
        listed
    }

    async fn operate(&self, body: Value) -> (u16, Value) {
        let path = format!("/api/sessions/{}/workspace/ops", self.id);
        let (status, body) = self.server.client.post(&path, &body).await.unwrap();
        (status.as_u16(), body)
    }

    async fn says(&self, orders: &str) -> String {
        self.server.client.ask(&self.id, orders).await.unwrap()
    }
}

async fn json_of(response: Response) -> (u16, Value) {
    (response.status().as_u16(), response.json().await.unwrap())
}

fn paths(listed: &Value) -> Vec<&str> {
    let files = listed["files"].as_array().unwrap();
    files.iter().map(|file| file["path"].as_str().unwrap()).collect()
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers[name].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_put_is_there_for_the_agent_and_what_it_writes_can_be_read() {
    let server = TestServer::new().await;
    let files = Files::new(&server).await;
    let (status, put) = files.put("/src/main.rs", &[], "fn main() {}").await;
    assert_eq!((status, &put["added"]), (201, &json!(2)));
    assert_eq!(
        files.says("read src/main.rs\nwrite src/lib.rs // none\nturns").await,
        "fn main() {}\nwritten\n1"
    );
    let (status, headers, body) = files.get("/src/lib.rs", &[]).await;
    assert_eq!((status, &body[..]), (200, &b"// none"[..]));
    assert_eq!(text(&headers, "content-length"), "7");
    assert_eq!(text(&headers, "x-content-type-options"), "nosniff");
    // The agent goes on where it was: what came from outside has taken nothing from it.
    let (status, put) = files.put("/src/lib.rs", &[], "pub mod a;").await;
    assert_eq!((status, &put["changed"]), (200, &json!(1)));
    assert_eq!(files.says("read src/lib.rs\nturns").await, "pub mod a;\n2");
    let (status, _, _) = files.get("/src/none.rs", &[]).await;
    assert_eq!(status, 404);
    let (status, removed) = files.delete("/src", &[]).await;
    assert_eq!(
        (status, &removed["code"], &removed["reason"]),
        (409, &json!("file_conflict"), &json!("not-empty"))
    );
    let (status, removed) = files.delete("/src?recursive=true", &[]).await;
    assert_eq!((status, &removed["removed"]), (200, &json!(3)));
    assert_eq!(files.says("list .").await, "");
    let events = format!("/api/sessions/{}/events", files.id);
    let (_, events) = server.client.get(&events).await.unwrap();
    let of = |event: &&Value| event["event_type"] == "workspace.changed";
    let turns: Vec<Value> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(of)
        .map(|event| event["payload"]["turn"].clone())
        .collect();
    assert_eq!(turns, [Value::Null, json!(1), Value::Null, Value::Null]);
    server.shut_down().await;
}

#[tokio::test]
async fn conditions_hold_for_contents_and_not_for_what_somebody_believes() {
    let server = TestServer::new().await;
    let files = Files::new(&server).await;
    let (status, _) = files.put("/a", &[("if-match", "*")], "x").await;
    assert_eq!(status, 412);
    let (status, _) = files.put("/a", &[("if-none-match", "*")], "one").await;
    assert_eq!(status, 201);
    let (status, refused) = files.put("/a", &[("if-none-match", "*")], "two").await;
    assert_eq!((status, &refused["code"]), (412, &json!("precondition_failed")));
    let (_, headers, _) = files.get("/a", &[]).await;
    let one = text(&headers, "etag");
    assert_eq!(json!(one), refused["etag"]);
    let put = files.send(Method::PUT, "/a", &[("if-match", &one)], "two").await;
    assert_eq!(put.status(), StatusCode::OK);
    let two = text(put.headers(), "etag");
    assert_ne!(one, two);
    let (status, _) = files.put("/a", &[("if-match", &one)], "three").await;
    assert_eq!(status, 412);
    let (status, _) = files.delete("/a", &[("if-match", &one)]).await;
    assert_eq!(status, 412);
    let (status, _, body) = files.get("/a", &[("if-none-match", &two)]).await;
    assert_eq!((status, body.len()), (304, 0));
    let (status, _, body) = files.get("/a", &[("if-none-match", &one)]).await;
    assert_eq!((status, &body[..]), (200, &b"two"[..]));
    assert_eq!(files.get("/a", &[("if-match", &one)]).await.0, 412);
    // Equal contents have equal tags, also of other files.
    let put = files.send(Method::PUT, "/b", &[], "one").await;
    assert_eq!(text(put.headers(), "etag"), one);
    for bad in ["one", "\"a\", \"b\"", "W/x"] {
        let (status, refused) = files.put("/a", &[("if-match", bad)], "x").await;
        assert_eq!((status, &refused["code"]), (400, &json!("invalid_field")), "{bad}");
    }
    let (status, _) = files.delete("/a", &[("if-match", &two)]).await;
    assert_eq!(status, 200);
    server.shut_down().await;
}

#[tokio::test]
async fn a_part_of_a_file_and_a_large_one_are_read_as_they_are() {
    let server = TestServer::new().await;
    let files = Files::new(&server).await;
    let large: Vec<u8> = (0..3_000_000u32).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect();
    assert_eq!(files.put("/large", &[], large.clone()).await.0, 201);
    let (status, headers, body) = files.get("/large", &[]).await;
    assert_eq!((status, text(&headers, "content-length").as_str()), (200, "3000000"));
    assert!(body == large);
    for (range, from, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=65535-65536", 65_535, 65_537),
        ("bytes=2999990-", 2_999_990, 3_000_000),
        ("bytes=-7", 2_999_993, 3_000_000),
        ("bytes=1000000-9999999", 1_000_000, 3_000_000),
    ] {
        let (status, headers, body) = files.get("/large", &[("range", range)]).await;
        assert_eq!(status, 206, "{range}");
        let told = format!("bytes {from}-{}/3000000", end - 1);
        assert_eq!(text(&headers, "content-range"), told);
        assert!(body == large[from..end], "{range}");
    }
    let (status, _, body) = files.get("/large", &[("range", "bytes=3000000-")]).await;
    let refused: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status, &refused["code"], &refused["size"]),
        (416, &json!("invalid_range"), &json!(3_000_000))
    );
    for whole in ["bytes=0-1,5-6", "lines=1-2", "x"] {
        assert_eq!(files.get("/large", &[("range", whole)]).await.0, 200, "{whole}");
    }
    let head = files.send(Method::HEAD, "/large", &[], "").await;
    assert_eq!(text(head.headers(), "content-length"), "3000000");
    assert_eq!(head.bytes().await.unwrap().len(), 0);
    assert_eq!(files.put("/empty", &[], "").await.0, 201);
    let (status, headers, body) = files.get("/empty", &[]).await;
    assert_eq!((status, text(&headers, "content-length").as_str(), body.len()), (200, "0", 0));
    server.shut_down().await;
}

#[tokio::test]
async fn lists_go_by_depth_and_pattern_and_page_by_page() {
    let server = TestServer::new().await;
    let files = Files::new(&server).await;
    files.says("mkdir src/a\nwrite src/a/x.rs 1\nwrite src/y.rs 22\nwrite src/z.txt 333\nwrite top 4444").await;
    let listed = files.list("").await;
    assert_eq!(paths(&listed), ["src", "top"]);
    assert_eq!(
        (&listed["files"][0]["type"], &listed["files"][1]["bytes"]),
        (&json!("directory"), &json!(4))
    );
    assert_eq!((&listed["usage"]["bytes"], &listed["usage"]["files"]), (&json!(10), &json!(6)));
    assert_eq!(listed["quotas"]["fileBytes"], json!(100 << 20));
    assert_eq!(paths(&files.list("?path=src").await), ["a", "y.rs", "z.txt"]);
    assert_eq!(paths(&files.list("?path=src&depth=9").await), ["a", "a/x.rs", "y.rs", "z.txt"]);
    assert_eq!(paths(&files.list("?glob=**/*.rs").await), ["src/a/x.rs", "src/y.rs"]);
    assert_eq!(paths(&files.list("?glob=**/*.rs&depth=2").await), ["src/y.rs"]);
    let first = files.list("?depth=9&limit=4").await;
    let next = first["nextCursor"].as_str().unwrap();
    let rest = files.list(&format!("?depth=9&limit=4&cursor={next}")).await;
    assert_eq!(
        [paths(&first), paths(&rest)].concat(),
        ["src", "src/a", "src/a/x.rs", "src/y.rs", "src/z.txt", "top"]
    );
    assert_eq!(rest["nextCursor"], Value::Null);
    for (query, code) in [
        ("?path=none", "file_not_found"),
        ("?path=top", "file_conflict"),
        ("?path=../..", "invalid_path"),
        ("?path=/etc", "invalid_path"),
        ("?glob=%5B", "invalid_field"),
    ] {
        let (_, refused) = json_of(files.send(Method::GET, query, &[], "").await).await;
        assert_eq!(refused["code"], code, "{query}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn several_changes_are_one_or_none() {
    let server = TestServer::new().await;
    let files = Files::new(&server).await;
    let (status, done) = files
        .operate(json!({ "operations": [
            { "op": "write", "path": "a/b.txt", "text": "one" },
            { "op": "makeDirectory", "path": "c/d" },
            { "op": "move", "from": "a/b.txt", "to": "e/f.txt" },
            { "op": "remove", "path": "a" },
        ]}))
        .await;
    assert_eq!((status, &done["added"]), (200, &json!(4)), "{done}");
    assert_eq!(paths(&files.list("?depth=9").await), ["c", "c/d", "e", "e/f.txt"]);
    let (_, headers, _) = files.get("/e/f.txt", &[]).await;
    let etag = text(&headers, "etag");
    let (status, refused) = files
        .operate(json!({ "operations": [
            { "op": "remove", "path": "c", "recursive": true },
            { "op": "expect", "path": "e/f.txt", "etag": etag },
            { "op": "expect", "path": "e/f.txt" },
        ]}))
        .await;
    assert_eq!((status, &refused["path"]), (412, &json!("e/f.txt")), "{refused}");
    let (status, refused) = files
        .operate(json!({ "operations": [
            { "op": "remove", "path": "c", "recursive": true },
            { "op": "move", "from": "none", "to": "x" },
        ]}))
        .await;
    assert_eq!(
        (status, &refused["code"], &refused["path"]),
        (404, &json!("file_not_found"), &json!("none"))
    );
    assert_eq!(paths(&files.list("?depth=9").await), ["c", "c/d", "e", "e/f.txt"]);
    for bad in [
        json!({}),
        json!({ "operations": [{ "op": "explode" }] }),
        json!({ "operations": [{ "op": "move", "from": "a" }] }),
        json!({ "operations": 7 }),
    ] {
        let (status, refused) = files.operate(bad.clone()).await;
        assert_eq!((status, &refused["code"]), (400, &json!("invalid_field")), "{bad} {refused}");
    }
    // A file may have the name of the route.
    assert_eq!(files.put("/ops", &[], "x").await.0, 201);
    assert_eq!(files.get("/ops", &[]).await.2, b"x");
    assert_eq!(files.delete("/ops", &[]).await.0, 200);
    server.shut_down().await;
}

#[tokio::test]
async fn an_archive_goes_in_and_comes_out_as_it_was() {
    let server = TestServer::new().await;
    let files = Files::new(&server).await;
    let mut builder = tar::Builder::new(Vec::new());
    let long = format!("deep/{}/file", "n".repeat(200));
    let large: Vec<u8> = (0..700_001u32).map(|at| (at >> 3) as u8).collect();
    let contents: [(&str, &[u8]); 4] =
        [("./a", b"1"), ("b/c", b"22"), (&long, b"333"), ("large", &large)];
    for (path, content) in contents {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        builder.append_data(&mut header, path, content).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "b/to-a", "../a").unwrap();
    header.set_entry_type(tar::EntryType::Link);
    builder.append_link(&mut header, "b/same", "b/c").unwrap();
    let archive = builder.into_inner().unwrap();
    let (status, put) = files.put(".tar", &[], archive.clone()).await;
    assert_eq!((status, &put["added"]), (200, &json!(9)), "{put}");
    assert_eq!(files.says("read b/to-a\nread b/same\nsize large").await, "1\n22\n700001");
    let (status, put) = files.put(".tar?path=copy", &[], archive).await;
    assert_eq!((status, &put["added"]), (200, &json!(10)), "{put}");

    for directory in ["", "?path=copy"] {
        let (status, _, out) = files.get(&format!(".tar{directory}"), &[]).await;
        assert_eq!(status, 200);
        let mut found = Vec::new();
        let mut archive = tar::Archive::new(&out[..]);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if path == "large" {
                assert!(content == large);
            }
            let kind = entry.header().entry_type();
            let link = entry.link_name().unwrap().map(|to| to.to_str().unwrap().to_owned());
            found.push((path, kind, content.len(), link.unwrap_or_default()));
        }
        found.retain(|(path, ..)| !path.starts_with("copy"));
        let told: Vec<_> = found
            .iter()
            .map(|(path, kind, size, link)| (path.as_str(), kind.is_file(), *size, link.as_str()))
            .collect();
        let deep = format!("deep/{}/", "n".repeat(200));
        assert_eq!(
            told,
            [
                ("a", true, 1, ""),
                ("b/", false, 0, ""),
                ("b/c", true, 2, ""),
                ("b/same", false, 0, "b/c"),
                ("b/to-a", false, 0, "../a"),
                ("deep/", false, 0, ""),
                (deep.as_str(), false, 0, ""),
                (long.as_str(), true, 3, ""),
                ("large", true, 700_001, ""),
            ]
        );
    }
    for bad in [&b"no archive"[..], &[7; 2_000]] {
        let (status, refused) = files.put(".tar", &[], bad).await;
        assert_eq!((status, &refused["code"]), (400, &json!("invalid_archive")));
    }
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Fifo);
    header.set_size(0);
    builder.append_data(&mut header, "pipe", std::io::empty()).unwrap();
    let (status, refused) = files.put(".tar", &[], builder.into_inner().unwrap()).await;
    assert_eq!((status, &refused["code"]), (400, &json!("invalid_archive")));
    server.shut_down().await;
}

#[tokio::test]
async fn snapshots_have_their_files_and_a_difference() {
    let server = TestServer::new().await;
    let files = Files::new(&server).await;
    files.says("write a one\nwrite b two").await;
    let (_, snapshots) =
        server.client.get(&format!("/api/sessions/{}/snapshots", files.id)).await.unwrap();
    let first = snapshots["snapshots"][0]["id"].as_str().unwrap().to_owned();
    files.says("write a three\nremove b\nmkdir c").await;
    let (status, _, body) = files.get(&format!("/b?snapshot={first}"), &[]).await;
    assert_eq!((status, &body[..]), (200, &b"two"[..]));
    assert_eq!(paths(&files.list(&format!("?snapshot={first}")).await), ["a", "b"]);
    let difference = files.list(&format!(".diff?from={first}")).await;
    assert_eq!(
        difference["files"],
        json!([
            { "path": "a", "change": "changed", "type": "file" },
            { "path": "b", "change": "removed", "type": "file" },
            { "path": "c", "change": "added", "type": "directory" },
        ])
    );
    assert_eq!(
        (&difference["added"], &difference["changed"], &difference["removed"]),
        (&json!(1), &json!(1), &json!(1))
    );
    let same = files.list(&format!(".diff?from={first}&to={first}")).await;
    assert_eq!(same["files"], json!([]));
    let nobody = "0190f4c6-0000-7000-8000-000000000000";
    for path in [format!("/a?snapshot={nobody}"), format!(".diff?from={nobody}")] {
        let (status, refused) = json_of(files.send(Method::GET, &path, &[], "").await).await;
        assert_eq!((status, &refused["code"]), (404, &json!("snapshot_not_found")), "{path}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn while_a_turn_runs_a_change_waits_or_is_refused_as_it_says() {
    let server = TestServer::new().await;
    let session = server.session(&guests::SLEEPS_IN_TURN, json!({ "pattern": "hybrid" })).await;
    let files = Files { server: &server, id: session.clone() };
    let handle = server.test.host.sessions().get(session.parse().unwrap());
    let turn = handle.stream("sleep 1500").await.unwrap();
    assert_eq!(turn.output().begun().await, Some(1));
    let (status, refused) = files.put("/a?onBusy=reject", &[], "x").await;
    assert_eq!((status, &refused["code"]), (409, &json!("turn_in_progress")));
    let mut waiting = Box::pin(files.put("/a", &[], "x"));
    tokio::select! {
        done = &mut waiting => panic!("it did not wait: {done:?}"),
        () = tokio::time::sleep(std::time::Duration::from_millis(100)) => {}
    }
    turn.reply().await.unwrap();
    assert_eq!(waiting.as_mut().await.0, 201);
    drop(waiting);
    server.shut_down().await;
}

#[tokio::test]
async fn bad_paths_and_what_is_too_large_are_refused_and_change_nothing() {
    let server = TestServer::with(
        |host| {
            host.workspaces.quotas.file_bytes = 1_000;
            host.workspaces.quotas.bytes = 1_500;
            host.workspaces.quotas.names = 4;
        },
        |_| {},
    )
    .await;
    let files = Files::new(&server).await;
    assert_eq!(files.put("/dir/a", &[], "x").await.0, 201);
    for (path, status, code) in [
        ("/..%2Fx", 400, "invalid_path"),
        ("/dir/..%2F..%2Fx", 400, "invalid_path"),
        ("/%2Fetc/passwd", 400, "invalid_path"),
        ("/a%00b", 400, "invalid_path"),
        // A path that is no text names nothing.
        ("/%FF", 404, "session_not_found"),
        ("/dir", 409, "file_conflict"),
        ("/dir/", 409, "file_conflict"),
        ("/dir/a/b", 409, "file_conflict"),
        (&format!("/{}", "n".repeat(256)), 400, "invalid_path"),
        (&"/d".repeat(300), 400, "invalid_path"),
    ] {
        let (found, refused) = files.put(path, &[], "x").await;
        assert_eq!((found, &refused["code"]), (status, &json!(code)), "{path}: {refused}");
    }
    let (status, refused) = files.put("/b", &[], vec![b'x'; 1_001]).await;
    assert_eq!((status, &refused["code"]), (413, &json!("body_too_large")));
    assert_eq!(files.put("/b", &[], vec![b'x'; 1_000]).await.0, 201);
    let (status, refused) = files.put("/c", &[], vec![b'x'; 500]).await;
    assert_eq!(
        (status, &refused["code"], &refused["reason"]),
        (413, &json!("workspace_full"), &json!("bytes"))
    );
    let (status, refused) = files.put("/c/d/e", &[], "x").await;
    assert_eq!(
        (status, &refused["code"], &refused["reason"]),
        (413, &json!("workspace_full"), &json!("files"))
    );
    assert_eq!(paths(&files.list("?depth=9").await), ["b", "dir", "dir/a"]);
    let (status, refused) = server
        .client
        .get("/api/sessions/0190f4c6-0000-7000-8000-000000000000/workspace")
        .await
        .unwrap();
    assert_eq!((status.as_u16(), &refused["code"]), (404, &json!("session_not_found")));
    // What is over takes no change any more, and is still read.
    let path = format!("/api/sessions/{}/complete", files.id);
    server.client.post(&path, &json!({})).await.unwrap();
    let (status, refused) = files.put("/dir/a", &[], "y").await;
    assert_eq!((status, &refused["code"]), (409, &json!("session_not_active")));
    assert_eq!(files.get("/dir/a", &[]).await.2, b"x");
    server.shut_down().await;
}
