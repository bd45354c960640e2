//! Many files and large ones, against the simplest model that there is: a map from names to bytes. In between they are
//! committed, read anew, rolled back and forked.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::differences::by_hand;
use crate::support::{NEW, Shelf, at, cases, commit, dump, read, reopen, workspace};
use dormouse_workspace::{DiffQuery, Error, FileType, Tree, Usage, Workspace, check, diff};

type Model = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    /// Make files with names of this sort, from this number on.
    Make {
        sort: usize,
        from: u16,
        count: u16,
    },
    Remove {
        sort: usize,
        from: u16,
        count: u16,
    },
    Write {
        file: u8,
        offset: u32,
        length: u32,
        byte: u8,
    },
    Append {
        file: u8,
        length: u32,
        byte: u8,
    },
    Resize {
        file: u8,
        size: u32,
    },
    Move {
        from: u8,
        to: u8,
    },
    Commit,
    Reopen,
    Rollback,
}

fn step() -> impl Strategy<Value = Step> {
    let many = || (0..4_usize, 0..300_u16, 1..150_u16);
    // About chunks and their ends as often as anywhere.
    let place = || {
        prop_oneof![
            0..1_500_000_u32,
            (0..24_u32, 0..3_u32)
                .prop_map(|(chunk, by)| { (chunk * 65_536 + by).saturating_sub(1) })
        ]
    };
    // A few bytes as often as several chunks.
    let length = || prop_oneof![0..300_u32, 0..5_000_u32, 0..200_000_u32];
    prop_oneof![
        3 => many().prop_map(|(sort, from, count)| Step::Make { sort, from, count }),
        2 => many().prop_map(|(sort, from, count)| Step::Remove { sort, from, count }),
        5 => (0..4_u8, place(), length(), 0..4_u8).prop_map(|(file, offset, length, byte)| {
            Step::Write { file, offset, length, byte }
        }),
        3 => (0..4_u8, length(), 0..4_u8)
            .prop_map(|(file, length, byte)| Step::Append { file, length, byte }),
        3 => (0..4_u8, place()).prop_map(|(file, size)| Step::Resize { file, size }),
        1 => (0..4_u8, 0..4_u8).prop_map(|(from, to)| Step::Move { from, to }),
        2 => Just(Step::Commit),
        1 => Just(Step::Reopen),
        1 => Just(Step::Rollback),
    ]
}

/// Names that are alike in different ways: at their end, at their beginning, one the beginning of the next, short ones.
fn name(sort: usize, number: u16) -> String {
    match sort {
        0 => format!("file{number:04}"),
        1 => format!("{number:x}-and-a-long-end-that-all-of-them-have"),
        2 => "a".repeat(usize::from(number % 250) + 1),
        _ => char::from_u32(0x100 + u32::from(number)).unwrap().to_string(),
    }
}

fn file(number: u8) -> String {
    format!("large{number}")
}

struct Pair {
    workspace: Workspace,
    model: Model,
}

impl Pair {
    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Make { sort, from, count } => {
                for number in from..from + count {
                    self.write(&name(sort, number), 0, &number.to_le_bytes());
                }
            }
            Step::Remove { sort, from, count } => {
                for number in from..from + count {
                    let name = name(sort, number);
                    let done = at(&mut self.workspace, |it, root| it.unlink(root, &name));
                    let expected = self.model.remove(&name).map(drop).ok_or(Error::NoEntry);
                    assert_eq!(done, expected);
                }
            }
            Step::Write { file: number, offset, length, byte } => {
                self.write(&file(number), offset as usize, &vec![byte; length as usize]);
            }
            Step::Append { file: number, length, byte } => {
                let (name, bytes) = (file(number), vec![byte; length as usize]);
                self.with(&name, |it, file| it.append(file, &bytes).unwrap());
                self.model.entry(name).or_default().extend(bytes);
            }
            Step::Resize { file: number, size } => {
                let name = file(number);
                self.write(&name, 0, b"");
                self.with(&name, |it, file| it.set_size(file, size.into()).unwrap());
                self.model.entry(name).or_default().resize(size as usize, 0);
            }
            Step::Move { from, to } => {
                let (from, to) = (file(from), file(to));
                let moved = at(&mut self.workspace, |it, root| it.rename(root, &from, root, &to));
                match self.model.remove(&from) {
                    None => assert_eq!(moved, Err(Error::NoEntry)),
                    Some(bytes) => {
                        assert_eq!(moved, Ok(()));
                        self.model.insert(to, bytes);
                    }
                }
            }
            Step::Commit | Step::Reopen | Step::Rollback => {}
        }
    }

    fn with(&mut self, name: &str, what: impl FnOnce(&mut Workspace, &dormouse_workspace::Handle)) {
        at(&mut self.workspace, |it, root| {
            let (file, _) = it.open(root, name, NEW).unwrap();
            what(it, &file);
            it.close(file);
        });
    }

    fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) {
        self.with(name, |it, file| it.write(file, offset as u64, bytes).unwrap());
        let model = self.model.entry(name.to_owned()).or_default();
        if !bytes.is_empty() {
            model.resize(model.len().max(offset + bytes.len()), 0);
            model[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }
}

fn same(tree: &Tree, model: &Model) {
    let entries = tree.read_directory(".", None, usize::MAX).unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| &*entry.name).collect();
    assert_eq!(names, model.keys().collect::<Vec<_>>());
    for (name, bytes) in model {
        let stat = tree.stat(name, false).unwrap();
        assert_eq!((stat.size, stat.file_type), (bytes.len() as u64, FileType::Regular));
        assert!(read(tree, name) == *bytes, "{name} has other bytes");
        let middle = bytes.len() / 2;
        let piece = tree.read(name, middle as u64, 70_000).unwrap();
        assert!(piece == bytes[middle..bytes.len().min(middle + 70_000)], "{name}");
    }
    let bytes = model.values().map(|bytes| bytes.len() as u64).sum();
    let usage = Usage { bytes, names: model.len() as u64 };
    assert_eq!(tree.usage(), Ok(usage));
    let checked = check(tree).unwrap();
    assert_eq!((checked.usage, checked.inodes), (usage, usage.names + 1));
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn files_are_what_a_map_says(steps in prop::collection::vec(step(), 1..40)) {
        let shelf = Arc::new(Shelf::default());
        let mut pair = Pair { workspace: workspace(&shelf), model: Model::new() };
        let mut kept = (commit(&mut pair.workspace, &shelf).tree, Model::new());
        let mut forks = Vec::new();
        for step in &steps {
            pair.apply(step);
            match step {
                Step::Rollback => {
                    pair.workspace.rollback();
                    pair.model.clone_from(&kept.1);
                }
                Step::Commit | Step::Reopen => {
                    let commit = commit(&mut pair.workspace, &shelf);
                    let tree = reopen(&shelf, commit.root);
                    same(&tree, &pair.model);
                    let query = DiffQuery { limit: usize::MAX, after: None };
                    let changes = diff(&kept.0, &tree, &query).unwrap();
                    let changes: Vec<_> =
                        changes.list.into_iter().map(|it| (it.kind, it.path)).collect();
                    prop_assert_eq!(changes, by_hand(&kept.0, &tree));
                    if matches!(step, Step::Reopen) {
                        // Somebody else goes on from here, and goes another way.
                        forks.push((kept.0.clone(), kept.1.clone(), dump(&kept.0)));
                        let quotas = dormouse_workspace::Quotas { names: 1 << 20, ..Default::default() };
                        pair.workspace = Workspace::new(tree.clone(), quotas).unwrap();
                    }
                    kept = (tree, pair.model.clone());
                }
                _ => {}
            }
            let usage = pair.workspace.usage();
            prop_assert_eq!(usage.names, pair.model.len() as u64);
            let bytes: u64 = pair.model.values().map(|bytes| bytes.len() as u64).sum();
            prop_assert_eq!(usage.bytes, bytes);
        }
        let commit = commit(&mut pair.workspace, &shelf);
        same(&reopen(&shelf, commit.root), &pair.model);
        for (tree, model, text) in forks {
            same(&tree, &model);
            prop_assert_eq!(dump(&tree), text);
        }
    }
}
