//! Types of files, by their names.

use crate::{Error, Result, files::pattern::Pattern};

/// Each type with the pattern of the names of its files. The names of types are those of ripgrep.
const KINDS: [(&str, &str); 34] = [
    ("c", "*.{c,h}"),
    ("cpp", "*.{cpp,cc,cxx,hpp,hh,hxx,h,inl}"),
    ("cs", "*.cs"),
    ("css", "*.{css,scss}"),
    ("csv", "*.csv"),
    ("dart", "*.dart"),
    ("docker", "*Dockerfile*"),
    ("elixir", "*.{ex,exs,eex,heex,leex}"),
    ("go", "*.go"),
    ("haskell", "*.{hs,lhs}"),
    ("html", "*.{html,htm,ejs}"),
    ("java", "*.{java,jsp}"),
    ("js", "*.{js,jsx,mjs,cjs,vue}"),
    ("json", "*.{json,jsonl}"),
    ("kotlin", "*.{kt,kts}"),
    ("lua", "*.lua"),
    ("make", "{[Mm]akefile,GNUmakefile,*.{mk,mak}}"),
    ("markdown", "*.{md,markdown,mdx,mkd}"),
    ("md", "*.{md,markdown,mdx,mkd}"),
    ("php", "*.{php,phtml}"),
    ("protobuf", "*.proto"),
    ("py", "*.{py,pyi}"),
    ("r", "*.{R,r,Rmd,Rnw}"),
    ("ruby", "{*.{rb,gemspec},Gemfile,Rakefile}"),
    ("rust", "*.rs"),
    ("scala", "*.{scala,sbt}"),
    ("sh", "*.{sh,bash,zsh,ksh}"),
    ("sql", "*.{sql,psql}"),
    ("swift", "*.swift"),
    ("toml", "{*.toml,Cargo.lock}"),
    ("ts", "*.{ts,tsx,cts,mts}"),
    ("txt", "*.txt"),
    ("xml", "*.{xml,xsd,xsl,xslt,svg}"),
    ("yaml", "*.{yaml,yml}"),
];

/// The pattern of the files of a type.
///
/// # Errors
/// Where there is no type of this name: which there are.
pub(super) fn pattern_of(kind: &str) -> Result<Pattern> {
    match KINDS.iter().find(|(name, _)| *name == kind) {
        Some((_, pattern)) => Pattern::new(pattern),
        None => {
            let names = KINDS.map(|(name, _)| name).join(", ");
            let text = format!("there is no type `{kind}`; use `glob`, or one of {names}");
            Err(Error::invalid(text))
        }
    }
}
