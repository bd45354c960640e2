//! Compiled forms on the disk.

use std::path::Path;

use bytes::Bytes;

use super::agent::doing;
use super::{call, grant, options, world};
use crate::{CacheOptions, Sandbox};
use dormouse_base::memory::MemoryBudget;

/// Whether an agent that answers comes from the cache of a host with this key.
async fn comes_from_cache(dir: &Path, key: u8) -> bool {
    let cache = Some(CacheOptions { dir: dir.join("compiled"), key: [key; 32] });
    let options = crate::SandboxOptions { cache, ..options(&MemoryBudget::new(1 << 30)) };
    let sandbox = Sandbox::new(options).expect("a sandbox");
    let prepared = sandbox.prepare(Bytes::from(doing("")), None).await.expect("it is taken");
    let mut instance = prepared.code.try_out(grant()).await.expect("it starts");
    assert!(instance.run(call(1_000_000), world()).await.answer.is_ok());
    prepared.from_cache
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir.join("compiled")).expect("it is there");
    entries.map(|entry| entry.expect("it is readable").path()).collect()
}

#[tokio::test]
async fn a_component_is_compiled_once() {
    let dir = tempfile::tempdir().expect("a directory");
    assert!(!comes_from_cache(dir.path(), 1).await);
    assert!(comes_from_cache(dir.path(), 1).await);
    assert_eq!(files(dir.path()).len(), 1);
}

#[tokio::test]
async fn the_cache_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("compiled")).expect("made");
    let wide = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path().join("compiled"), wide).expect("set");
    comes_from_cache(dir.path(), 1).await;
    let mode =
        |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("compiled")), 0o700);
    assert_eq!(mode(&files(dir.path())[0]), 0o600);
}

#[tokio::test]
async fn what_another_key_has_written_is_not_loaded() {
    let dir = tempfile::tempdir().expect("a directory");
    assert!(!comes_from_cache(dir.path(), 1).await);
    assert!(!comes_from_cache(dir.path(), 2).await);
    assert!(comes_from_cache(dir.path(), 2).await);
}

#[tokio::test]
async fn what_was_tampered_with_is_not_loaded_but_compiled_again() {
    let dir = tempfile::tempdir().expect("a directory");
    comes_from_cache(dir.path(), 1).await;
    let file = files(dir.path()).remove(0);
    let sound = std::fs::read(&file).expect("it is readable");
    let mut changes: Vec<Vec<u8>> =
        vec![Vec::new(), sound[..20].to_vec(), sound[..sound.len() - 1].to_vec()];
    for place in [0, 40, sound.len() / 2, sound.len() - 1] {
        let mut changed = sound.clone();
        changed[place] ^= 1;
        changes.push(changed);
    }
    for changed in changes {
        std::fs::write(&file, changed).expect("written");
        assert!(!comes_from_cache(dir.path(), 1).await);
        assert!(comes_from_cache(dir.path(), 1).await);
    }
}
