//! Which names a clone has.
//!
//! A tree that a guest wrote must not be able to attack whoever clones it, nor to spoil the clone. So what
//! `git fsck --strict` complains of is left out:
//!
//! - `.git`, and what file systems of other systems take for it: in any case, with spaces, dots or a stream behind it
//!   (`.git .`, `.git::$INDEX_ALLOCATION`), as a short name (`git~1`), with characters in it that HFS+ passes over, and
//!   any of these behind a backslash.
//! - `.gitmodules`, and what is taken for it: there are no submodules here.
//! - What is taken for `.gitattributes`, and that file itself where it is a link, is larger than
//!   [`MAX_ATTRIBUTES`], or has a line that git does not read.
//! - Links in the place of `.gitignore` and `.mailmap`, and links that lead into what is taken for `.git`.
//!
//! A path of [`MAX_PATH`] bytes and more is left out as well: no client could make the file.

use dormouse_workspace::MAX_PATH;

/// The most bytes of `.gitattributes`.
pub(crate) const MAX_ATTRIBUTES: u64 = 64 << 10;
/// How long a line of `.gitattributes` has to be for git not to read it.
const LONG_LINE: usize = 2048;

/// The file with attributes of paths.
const ATTRIBUTES: &str = ".gitattributes";

/// A name of git's own, and what it begins with where NTFS has no other short name for it.
struct Own {
    name: &'static str,
    short: &'static str,
}

const MODULES: Own = Own { name: "gitmodules", short: "gi7eba" };
const ATTRIBUTES_LIKE: Own = Own { name: "gitattributes", short: "gi7d29" };
const IGNORE: Own = Own { name: "gitignore", short: "gi250a" };
const MAILMAP: Own = Own { name: "mailmap", short: "maba30" };

/// Whether a file or directory of this name is shown.
pub(crate) fn is_shown(name: &str) -> bool {
    let is_own = |part: &str| is_git(part) || MODULES.is_like(part);
    !name.split('\\').any(is_own) && (name == ATTRIBUTES || !ATTRIBUTES_LIKE.is_like(name))
}

/// Whether a path may be so long.
pub(crate) fn has_room(path: &str) -> bool {
    path.len() < MAX_PATH
}

/// Whether a link of this name, which is one that is shown, may lead there.
pub(crate) fn is_link_shown(name: &str, target: &str) -> bool {
    let leads_into_git = target.split(['/', '\\']).any(is_git);
    let is_read_by_git = [ATTRIBUTES_LIKE, IGNORE, MAILMAP].iter().any(|own| own.is_like(name));
    !leads_into_git && !is_read_by_git
}

/// Whether the contents of a file of this name have to be looked at.
pub(crate) fn is_attributes(name: &str) -> bool {
    name == ATTRIBUTES
}

/// Whether git reads these attributes.
pub(crate) fn are_attributes_shown(contents: &[u8]) -> bool {
    contents.split(|byte| *byte == b'\n').all(|line| line.len() < LONG_LINE)
}

/// Whether some file system takes a name for `.git`.
fn is_git(name: &str) -> bool {
    let bytes = name.as_bytes();
    let after = |prefix: &str| match bytes.split_at_checked(prefix.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(prefix.as_bytes()) => Some(rest),
        Some(_) | None => None,
    };
    let rest = after(".git").or_else(|| after("git~1"));
    rest.is_some_and(ends_for_ntfs) || for_hfs(name).eq_ignore_ascii_case(".git")
}

impl Own {
    /// Whether some file system takes a name for this one, with a dot before it.
    fn is_like(&self, name: &str) -> bool {
        let folded = for_hfs(name);
        let is_same = folded.strip_prefix('.').is_some_and(|it| it.eq_ignore_ascii_case(self.name));
        is_same || self.is_like_for_ntfs(name.as_bytes())
    }

    fn is_like_for_ntfs(&self, name: &[u8]) -> bool {
        let begins = |name: &[u8], with: &str| {
            name.get(..with.len()).is_some_and(|it| it.eq_ignore_ascii_case(with.as_bytes()))
        };
        if let Some(rest) = name.strip_prefix(b".")
            && begins(rest, self.name)
        {
            return ends_for_ntfs(&rest[self.name.len()..]);
        }
        let first = &self.name[..6];
        if begins(name, first)
            && name.get(6) == Some(&b'~')
            && name.get(7).is_some_and(|it| (b'1'..=b'4').contains(it))
        {
            return ends_for_ntfs(&name[8..]);
        }
        // Up to six letters of the short name, a tilde, and digits: eight bytes in all.
        let Some((short, rest)) = name.split_at_checked(8) else { return false };
        let Some(tilde) = short.iter().position(|byte| *byte == b'~') else { return false };
        let (letters, digits) = (&short[..tilde], &short[tilde + 1..]);
        tilde <= 6
            && begins(self.short.as_bytes(), std::str::from_utf8(letters).unwrap_or("?"))
            && digits.first().is_some_and(|it| (b'1'..=b'9').contains(it))
            && digits.iter().all(u8::is_ascii_digit)
            && ends_for_ntfs(rest)
    }
}

/// Whether NTFS does not look at this end of a name.
fn ends_for_ntfs(rest: &[u8]) -> bool {
    let end = rest.iter().position(|byte| !matches!(byte, b' ' | b'.'));
    end.is_none_or(|end| rest[end] == b':')
}

/// A name without what HFS+ passes over.
fn for_hfs(name: &str) -> String {
    let is_ignored = |c: char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    name.chars().filter(|c| !is_ignored(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_for_a_name_of_gits_own_is_left_out() {
        let names = [
            ".git",
            ".GIT",
            ".Git ",
            ".git...",
            ".git. .",
            ".git:",
            ".git::$INDEX_ALLOCATION",
            "git~1",
            "GIT~1",
            "git~1.",
            "git~1:x",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".gi\u{206f}T",
            "a\\.git",
            "a\\b\\git~1",
            ".git\\config",
            ".gitmodules",
            ".GITMODULES",
            ".gitmodules ",
            "gitmod~1",
            "GITMOD~4",
            "gi7eba~1",
            "gi7eb~11",
            "GI7E~123",
            "~1000000",
            ".gitmodules:x",
            "x\\.gitmodules",
            ".git\u{200d}modules",
            ".GitAttributes",
            "gitatt~1",
            "gi7d29~1",
        ];
        for name in names {
            assert!(!is_shown(name), "{name:?}");
        }
    }

    #[test]
    fn other_names_are_shown() {
        let names = [
            "a",
            ".gitignore",
            ".gitattributes",
            ".github",
            ".gitkeep",
            "git",
            "git~2",
            "git~10",
            ".gi",
            ".git-x",
            "x.git",
            "gitmodules",
            "gitmod~5",
            "gitmod~1x",
            "gi7eba~0",
            ".mailmap",
            "\u{200c}",
            "a\\b",
            "ä",
            "gi250a~1",
            "~",
            "......",
            "gi7eb~01",
            ".gitmodulesx",
        ];
        for name in names {
            assert!(is_shown(name), "{name:?}");
        }
    }

    #[test]
    fn links_lead_neither_into_git_nor_stand_where_git_reads() {
        assert!(is_link_shown("a", "b/c"));
        assert!(is_link_shown("a", "../../x"));
        assert!(!is_link_shown("a", ".git"));
        assert!(!is_link_shown("a", "x/.GIT/hooks"));
        assert!(!is_link_shown("a", "x\\git~1\\hooks"));
        for name in [".gitattributes", ".gitignore", ".mailmap", "gi250a~1", ".MailMap"] {
            assert!(!is_link_shown(name, "b"), "{name}");
        }
    }

    #[test]
    fn attributes_with_long_lines_are_left_out() {
        assert!(are_attributes_shown(b""));
        let mut text = vec![b'x'; LONG_LINE - 1];
        text.push(b'\n');
        assert!(are_attributes_shown(&text));
        text.extend([b'x'; LONG_LINE]);
        assert!(!are_attributes_shown(&text));
    }
}
