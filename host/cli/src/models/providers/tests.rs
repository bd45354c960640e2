//! What providers can be, and what is refused.

use super::*;

const LIST: &str = "local.kind=openai,local.url=http://127.0.0.1:11434/v1,local.models=llama3* qwen3,\
                    local.max-calls=2,local.prices.*.input=0,local.prices.*.output=0,\
                    claude.kind=anthropic,claude.key-env=CLAUDE_KEY,claude.models=claude-*,\
                    claude.max-calls=64";

#[test]
fn providers_are_read_by_name_and_shown_as_they_are_read() {
    let providers = read(LIST).expect("it reads");
    assert_eq!(show_all(&providers), LIST);
    let [local, claude] = providers.as_slice() else { panic!("{providers:?}") };
    assert_eq!((local.name.as_str(), local.max_calls, local.prices.len()), ("local", 2, 1));
    assert_eq!(claude.key, Some(KeySource::Variable("CLAUDE_KEY".to_owned())));
    assert_eq!(read(&show_all(&[])), Ok(Vec::new()));
}

#[test]
fn what_is_no_provider_is_refused_by_what_it_must_be() {
    for (text, why) in [
        ("local", "must be NAME.SETTING=VALUE"),
        ("lo/cal.kind=openai", "letters, digits"),
        ("offline.kind=openai", "is always there"),
        ("local.kind=ollama", "must be anthropic or openai"),
        ("local.kinds=openai", "there is no setting kinds; there are kind, url"),
        ("local.url=127.0.0.1:1", "must be an address such as"),
        ("local.url=https://a:b@c", "must be an address such as"),
        ("local.url=https://c/v1?k=1", "must be an address such as"),
        ("local.key-env=sk-secret-1", "must be the name of a variable"),
        ("local.key-file=", "must be a path"),
        ("local.key-env=A,local.key-file=b", "is named already"),
        ("local.key=sk-secret-1", "name its variable with key-env"),
        ("local.max-calls=0", "must be at least 1"),
        ("local.max-calls=1000001", "must be at most 1000000"),
        ("local.models=*llama", "its beginning and a *"),
        ("local.prices.llama3.imput=1", "there is no price of imput"),
        ("local.models=a", "has no local.kind"),
        ("local.kind=openai", "has no local.models"),
        (
            "local.kind=openai,local.models=a,local.prices.a.input=1",
            "has no price of output for a: 0 if it is free (provider local)",
        ),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(why), "{text}: {error}");
        assert!(!error.contains("sk-secret-1"), "{error}");
    }
}

#[test]
fn a_key_is_read_from_its_variable_or_its_file_and_shown_nowhere() {
    let directory = tempfile::tempdir().expect("there is a directory");
    let path = directory.path().join("key");
    let file = KeySource::File(path.clone());
    let none = |_: &str| None;
    assert!(file.read(&none).unwrap_err().contains("cannot be read"));
    std::fs::write(&path, "\n").expect("it is written");
    assert!(file.read(&none).unwrap_err().contains("is empty"));
    std::fs::write(&path, "sk-secret-2\n").expect("it is written");
    let secret = file.read(&none).expect("it is there");
    assert!(!format!("{secret:?}").contains("sk-secret-2"));
    std::fs::write(&path, vec![b'a'; 20_000]).expect("it is written");
    assert!(file.read(&none).unwrap_err().contains("over 16384 bytes"));
    let variable = KeySource::Variable("KEY".to_owned());
    assert!(variable.read(&none).unwrap_err().contains("KEY, which is not set"));
    assert!(variable.read(&|name| Some(name.to_owned())).is_ok());
}

#[test]
fn the_address_of_anthropic_may_come_without_its_version() {
    for url in ["https://a.example", "https://a.example/", "https://a.example/v1/"] {
        assert_eq!(with_version(url), "https://a.example/v1");
    }
}
