//! Who may ask, and in what form.

use std::time::Duration;

use dormouse::Principal;
use dormouse_http::ApiKey;
use dormouse_tests::TestServer;
use dormouse_tests::client::Request;
use reqwest::Method;
use serde_json::json;

use super::{Answer, is_error, send};

#[tokio::test]
async fn a_request_for_another_host_is_misdirected() {
    let server = TestServer::new().await;
    let ask = async |host: &str, path: &str| {
        send(server.client.request(Method::GET, path).header("host", host)).await
    };
    for host in ["evil.example", "evil.example:3333", "127.0.0.1.evil.example", "127.0.0.1:1"] {
        for path in ["/", "/healthz", "/metrics", "/api/sessions", "/nothing"] {
            let answer = ask(host, path).await;
            is_error(&(answer.status, answer.body), 421, "misdirected_request");
        }
    }
    let port = server.address().rsplit(':').next().unwrap();
    for host in [format!("localhost:{port}"), format!("[::1]:{port}"), server.address().to_owned()]
    {
        assert_eq!(ask(&host, "/api/sessions").await.status, 200, "{host}");
    }
    let twice = format!(
        "GET /healthz HTTP/1.1\r\nhost: {}\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
        server.address()
    );
    let answer = server.raw(twice.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    server.shut_down().await;

    let server =
        TestServer::with(|_| {}, |api| api.allowed_hosts = vec!["example.org".to_owned()]).await;
    let answer =
        send(server.client.request(Method::GET, "/healthz").header("host", "example.org")).await;
    assert_eq!(answer.status, 200);
    server.shut_down().await;
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_call() {
    let server = TestServer::new().await;
    let ask = async |origin: &str| {
        let request = server.client.request(Method::POST, "/api/sessions");
        send(request.header("origin", origin).json(&json!({}))).await
    };
    for origin in
        ["http://evil.example", "null", "http://localhost", "http://127.0.0.1:1", "file://"]
    {
        let answer = ask(origin).await;
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        is_error(&(answer.status, answer.body), 403, "foreign_origin");
    }
    assert_eq!(ask(&format!("http://{}", server.address())).await.status, 201);
    let (_, list) = server.client.get("/api/sessions").await.unwrap();
    assert_eq!(list["total"], 1);
    server.shut_down().await;
}

#[tokio::test]
async fn a_whole_address_wins_over_the_host_header() {
    let server = TestServer::new().await;
    let ask = async |address: &str, host: &str| {
        let head = format!("GET http://{address}/healthz HTTP/1.1\r\nhost: {host}\r\n");
        server.raw(format!("{head}connection: close\r\n\r\n").as_bytes()).await
    };
    let own = server.address();
    let misdirected = ask("evil.example", own).await;
    assert!(misdirected.starts_with("HTTP/1.1 421"), "{misdirected}");
    let answer = ask(own, "evil.example").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_as_it_is_says_so() {
    let server = TestServer::new().await;
    let post = async |name: &str, value: &str, body: &'static [u8]| {
        let request = server.client.request(Method::POST, "/api/sessions");
        let kind = if name == "content-type" { value } else { "application/json" };
        let request = request.header("content-type", kind).body(body);
        send(if name == "content-type" { request } else { request.header(name, value) }).await
    };
    for encoding in ["gzip", "br", "identity, gzip"] {
        let refused = post("content-encoding", encoding, b"\x1f\x8b\x08").await;
        assert_eq!(refused.headers["accept-encoding"], "identity");
        is_error(&(refused.status, refused.body), 415, "unsupported_content_encoding");
    }
    assert_eq!(post("content-encoding", "identity", b"{}").await.status, 201);
    for charset in ["utf-16", "iso-8859-1", "\"latin1\""] {
        let kind = format!("application/json; charset={charset}");
        let refused = post("content-type", &kind, b"{}").await;
        is_error(&(refused.status, refused.body), 415, "unsupported_charset");
    }
    for charset in ["utf-8", "\"UTF-8\"", "US-ASCII"] {
        let kind = format!("application/json;charset={charset}");
        assert_eq!(post("content-type", &kind, b"{}").await.status, 201, "{charset}");
    }
    // What some programs write before a text.
    assert_eq!(post("accept", "*/*", b"\xef\xbb\xbf{}").await.status, 201);
    server.shut_down().await;
}

async fn with_keys() -> TestServer {
    let key = |name: &str, key: &str| ApiKey::new(Principal(name.to_owned()), key);
    let keys = vec![key("ann", "key-of-ann"), key("ben", "key-of-ben")];
    TestServer::with(|_| {}, |api| api.keys = keys).await
}

#[tokio::test]
async fn where_there_are_keys_nobody_comes_in_without_one() {
    let server = with_keys().await;
    let ask = async |path: &str, key: Option<&str>| {
        let request = server.client.request(Method::GET, path);
        send(match key {
            Some(key) => request.header("authorization", key),
            None => request,
        })
        .await
    };
    for key in
        [None, Some("Bearer wrong"), Some("Bearer "), Some("key-of-ann"), Some("Basic key-of-ann")]
    {
        for path in ["/api/sessions", "/api/agents", "/api/events", "/api/nothing"] {
            let answer = ask(path, key).await;
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            is_error(&(answer.status, answer.body), 401, "unauthorized");
        }
    }
    assert_eq!(ask("/api/sessions", Some("Bearer key-of-ann")).await.status, 200);
    assert_eq!(ask("/healthz", None).await.status, 200, "the health of the server is no secret");
    server.shut_down().await;
}

#[tokio::test]
async fn the_sessions_of_one_key_do_not_exist_for_another() {
    let server = with_keys().await;
    let call =
        async |key: &str, request: Request| -> Answer { send(request.bearer_auth(key)).await };
    let get = |path: &str| server.client.request(Method::GET, path);
    let post = |path: &str| {
        server
            .client
            .request(Method::POST, path)
            .json(&json!({ "prompt": "hello", "streaming": false }))
    };
    let create = server
        .client
        .request(Method::POST, "/api/sessions")
        .json(&json!({ "agent": "counter", "pattern": "hybrid" }));
    let created = call("key-of-ann", create).await;
    let id = created.body["id"].as_str().unwrap().to_owned();
    let path = format!("/api/sessions/{id}");
    assert_eq!(call("key-of-ann", post(&format!("{path}/message"))).await.status, 200);

    for rest in ["", "/status", "/turns", "/turns/1", "/events"] {
        let answer = call("key-of-ben", get(&format!("{path}{rest}"))).await;
        is_error(&(answer.status, answer.body), 404, "session_not_found");
    }
    for rest in ["message", "sleep", "wake", "stop", "terminate", "force-kill"] {
        let answer = call("key-of-ben", post(&format!("{path}/{rest}"))).await;
        is_error(&(answer.status, answer.body), 404, "session_not_found");
    }
    let body = json!({ "message": "hello", "sessionId": id });
    let answer =
        call("key-of-ben", server.client.request(Method::POST, "/api/agent/stream").json(&body))
            .await;
    is_error(&(answer.status, answer.body), 404, "session_not_found");
    let answer = call("key-of-ben", server.client.request(Method::DELETE, &path)).await;
    is_error(&(answer.status, answer.body), 404, "session_not_found");

    for (key, sessions) in [("key-of-ann", 1), ("key-of-ben", 0)] {
        let list = call(key, get("/api/sessions")).await;
        assert_eq!(
            (&list.body["total"], &list.body["count"]),
            (&json!(sessions), &json!(sessions))
        );
        let events = call(key, get("/api/events")).await.body.to_string();
        assert_eq!(events.contains(&id), sessions == 1, "{key}: {events}");
    }
    assert_eq!(call("key-of-ann", get(&path)).await.body["numTurns"], 1);
    server.shut_down().await;
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() {
    let server = TestServer::new().await;
    let ask = async |id: Option<&str>, path: &str| {
        let request = server.client.request(Method::GET, path);
        send(match id {
            Some(id) => request.header("x-request-id", id),
            None => request,
        })
        .await
    };
    for path in ["/healthz", "/api/sessions", "/api/sessions/me", "/nothing"] {
        let chosen = ask(Some("my-id.1:2/3"), path).await;
        assert_eq!(chosen.headers["x-request-id"], "my-id.1:2/3", "{path}");
        let given = ask(None, path).await.headers["x-request-id"].clone();
        assert_ne!(given, ask(None, path).await.headers["x-request-id"], "{path}");
        for insane in ["", "a b", "<script>", &"x".repeat(129)] {
            let answer = ask(Some(insane), path).await;
            assert_ne!(answer.headers["x-request-id"], insane);
        }
        assert_eq!(chosen.headers["x-content-type-options"], "nosniff");
    }
    let refused = ask(Some("mine"), "/api/sessions/me").await;
    assert_eq!(refused.body["requestId"], "mine");
    server.shut_down().await;
}

#[tokio::test]
async fn a_path_or_a_method_that_is_not_there_is_told_as_an_error_of_the_usual_form() {
    let server = TestServer::new().await;
    for path in
        ["/nothing", "/api", "/api/", "/api/nothing", "/api/sessions/", "/api/sessions/a/b", "//"]
    {
        let answer = send(server.client.request(Method::GET, path)).await;
        is_error(&(answer.status, answer.body), 404, "not_found");
    }
    // A path that no client would send: reqwest tidies it up.
    let climbing = format!(
        "GET /api/../../etc/passwd HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        server.address()
    );
    assert!(server.raw(climbing.as_bytes()).await.contains("\"code\":\"not_found\""));
    for (method, path, allowed) in [
        (Method::PUT, "/api/sessions", "GET"),
        (Method::PUT, "/api/sessions/a", "PATCH"),
        (Method::GET, "/api/agent/stream", "POST"),
        (Method::POST, "/healthz", "GET"),
        (Method::DELETE, "/", "GET"),
    ] {
        let answer = send(server.client.request(method, path)).await;
        assert!(answer.headers["allow"].to_str().unwrap().contains(allowed), "{path}");
        is_error(&(answer.status, answer.body), 405, "method_not_allowed");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_body_of_another_type_or_shape_is_refused() {
    let server = TestServer::new().await;
    let post = async |kind: Option<&str>, body: &'static str| {
        let request = server.client.request(Method::POST, "/api/sessions").body(body);
        let answer = send(match kind {
            Some(kind) => request.header("content-type", kind),
            None => request,
        })
        .await;
        (answer.status, answer.body)
    };
    for kind in
        ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/html"]
    {
        is_error(&post(Some(kind), "{}").await, 415, "unsupported_media_type");
    }
    for body in ["{", "[]", "7", "\"text\"", "null", "{\"a\":}", "{\"a\":1}}"] {
        is_error(&post(Some("application/json"), body).await, 400, "invalid_json");
    }
    let refused = post(Some("application/json"), "{\n  \"pattern\": nothing\n}").await;
    assert_eq!((&refused.1["line"], refused.1["column"].is_u64()), (&json!(2), true));
    assert_eq!(post(Some("Application/JSON; charset=utf-8"), "{}").await.0, 201);
    server.shut_down().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_however_it_is_sent() {
    let server = TestServer::with(|_| {}, |api| api.max_body = 1000).await;
    let body = format!("{{\"description\":\"{}\"}}", "x".repeat(2000));
    let request = || {
        server
            .client
            .request(Method::POST, "/api/sessions")
            .header("content-type", "application/json")
    };
    let whole = send(request().body(body.clone())).await;
    assert_eq!(whole.body["limit"], 1000);
    is_error(&(whole.status, whole.body), 413, "body_too_large");
    let pieces: Vec<_> =
        body.as_bytes().chunks(100).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let chunked = send(request().body(stream)).await;
    is_error(&(chunked.status, chunked.body), 413, "body_too_large");
    assert_eq!(server.client.post("/api/sessions", &json!({})).await.unwrap().0, 201);
    server.shut_down().await;
}

#[tokio::test]
async fn who_sends_everything_before_reading_gets_the_refusal_and_not_a_broken_connection() {
    let server =
        TestServer::with(|host| host.max_component_bytes = 1000, |api| api.max_body = 1000).await;
    for (path, kind) in [
        ("/api/sessions", "application/json"),
        ("/api/agents?name=a&version=1", "application/wasm"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: {kind}\r\nconnection: close\r\n",
            server.address()
        );
        // More than the sockets of both sides hold.
        let body = "x".repeat(50_000_000);
        let whole = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let chunked = format!(
            "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        for request in [whole, chunked] {
            let answer = server.raw(request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
            assert!(answer.contains("\"code\":\"body_too_large\""), "{answer}");
        }
        // Who asks first need not send anything.
        let asking = format!("{head}expect: 100-continue\r\ncontent-length: 50000000\r\n\r\n");
        let answer = server.raw(asking.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = TestServer::with(|_| {}, |api| api.body_timeout = Duration::from_millis(20)).await;
    for (path, kind) in [
        ("/api/sessions", "application/json"),
        ("/api/agents?name=a&version=1", "application/wasm"),
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: {kind}\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{{",
            server.address()
        );
        let answer = server.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.contains("\"code\":\"body_timeout\""), "{answer}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_page_of_an_origin_that_the_operator_allows_may_call_and_read() {
    let origin = "https://app.example.org";
    let server =
        TestServer::with(|_| {}, |api| api.allowed_origins = vec![origin.parse().unwrap()]).await;
    let preflight = async |from: &str| {
        let request = server.client.request(Method::OPTIONS, "/api/sessions");
        let request = request.header("access-control-request-method", "POST");
        let request =
            request.header("access-control-request-headers", "authorization,content-type");
        send(request.header("origin", from)).await
    };
    let answer = preflight(origin).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["access-control-allow-origin"], origin);
    assert_eq!(answer.headers["access-control-allow-headers"], "authorization,content-type");
    let methods = answer.headers["access-control-allow-methods"].to_str().unwrap().to_owned();
    assert!(["POST", "PATCH", "DELETE"].iter().all(|method| methods.contains(method)), "{methods}");
    let foreign = preflight("https://evil.example").await;
    assert!(!foreign.headers.contains_key("access-control-allow-origin"));

    let request = server.client.request(Method::POST, "/api/sessions").header("origin", origin);
    let answer = send(request.json(&json!({ "agent": "counter" }))).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.headers["access-control-allow-origin"], origin);
    let exposed = answer.headers["access-control-expose-headers"].to_str().unwrap().to_owned();
    assert!(exposed.contains("x-session-id") && exposed.contains("x-request-id"), "{exposed}");
    // The page can read why it was refused.
    let request = server.client.request(Method::GET, "/api/sessions/none").header("origin", origin);
    let answer = send(request).await;
    assert_eq!(answer.headers["access-control-allow-origin"], origin);
    is_error(&(answer.status, answer.body), 404, "session_not_found");
    let request = server.client.request(Method::GET, "/api/sessions");
    let answer = send(request.header("origin", "https://evil.example")).await;
    is_error(&(answer.status, answer.body), 403, "foreign_origin");
    server.shut_down().await;
}
