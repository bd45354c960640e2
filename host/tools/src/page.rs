//! The text of a page in HTML, for readers who pay by the word: what a browser shows, with marks for headings, links and
//! lists.
//!
//! A page is read once, from its beginning, token by token, until there is as much text as is wanted. No tree is made of
//! it, so neither its nesting nor its mistakes cost more than their bytes.

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};
use url::Url;

/// The most bytes of an address that is written beside its link.
const MAX_LINK: usize = 2 << 10;

/// The text of a page that comes from here: at most so many bytes, and whether there is more of it.
pub(crate) fn text_of(html: &str, base: &Url, most: usize) -> (String, bool) {
    let mut writer = Writer::new(base, most);
    let take = |event: CallbackEvent<'_>, _: Span<()>| writer.take(&event);
    let mut emitter = CallbackEmitter::new(take);
    emitter.naively_switch_states(true);
    // An event of the emitter says that the text is full.
    let is_cut = Tokenizer::new_with_emitter(html, emitter).next().is_some();
    (writer.finish(), is_cut)
}

/// What an element does to the text.
enum Role {
    /// Nothing of it is shown.
    Hidden,
    /// It begins a line of its own.
    Line,
    /// It stands between empty lines.
    Paragraph,
    /// A heading of this level.
    Heading(usize),
    Item,
    Cell,
    /// Its white space counts.
    Preformatted,
    Break,
    Rule,
    Link,
    Image,
    /// It stands in the text as it is.
    Inline,
}

fn role(name: &[u8]) -> Role {
    match name {
        b"script" | b"style" | b"template" | b"svg" | b"math" | b"iframe" | b"noscript"
        | b"object" | b"canvas" | b"audio" | b"video" | b"select" | b"noembed" | b"noframes" => {
            Role::Hidden
        }
        b"address" | b"article" | b"aside" | b"body" | b"dd" | b"details" | b"div" | b"dt"
        | b"fieldset" | b"figcaption" | b"figure" | b"footer" | b"form" | b"header" | b"html"
        | b"legend" | b"main" | b"nav" | b"option" | b"section" | b"summary" | b"tr" => Role::Line,
        b"p" | b"blockquote" | b"table" | b"ul" | b"ol" | b"dl" => Role::Paragraph,
        b"title" | b"h1" => Role::Heading(1),
        b"h2" => Role::Heading(2),
        b"h3" => Role::Heading(3),
        b"h4" => Role::Heading(4),
        b"h5" => Role::Heading(5),
        b"h6" => Role::Heading(6),
        b"li" => Role::Item,
        b"td" | b"th" => Role::Cell,
        b"pre" | b"textarea" | b"listing" => Role::Preformatted,
        b"br" => Role::Break,
        b"hr" => Role::Rule,
        b"a" => Role::Link,
        b"img" => Role::Image,
        _ => Role::Inline,
    }
}

/// An element of which nothing is shown.
struct Hidden {
    name: Vec<u8>,
    /// How many of its name are open in each other.
    depth: usize,
}

/// A link that is open.
struct Link {
    href: String,
    /// Where its text begins.
    start: usize,
}

/// An attribute that is wanted of the tag that is being read.
enum Wanted {
    Nothing,
    Href,
    Alt,
}

struct Writer<'b> {
    base: &'b Url,
    most: usize,
    text: String,
    /// Line breaks that come before the next text: two make an empty line.
    breaks: usize,
    /// Whether a space comes before the next text.
    space: bool,
    /// What the line begins with, once there is text for it.
    mark: String,
    hidden: Option<Hidden>,
    preformatted: usize,
    link: Option<Link>,
    wanted: Wanted,
    /// The element whose attributes are being read.
    is_link: bool,
    is_image: bool,
}

impl<'b> Writer<'b> {
    fn new(base: &'b Url, most: usize) -> Writer<'b> {
        Writer {
            base,
            most,
            text: String::new(),
            breaks: 0,
            space: false,
            mark: String::new(),
            hidden: None,
            preformatted: 0,
            link: None,
            wanted: Wanted::Nothing,
            is_link: false,
            is_image: false,
        }
    }

    /// Take the next event. `Some`: the text is full.
    fn take(&mut self, event: &CallbackEvent<'_>) -> Option<()> {
        match event {
            CallbackEvent::OpenStartTag { name } => self.open(name),
            CallbackEvent::AttributeName { name } => self.attribute(name),
            CallbackEvent::AttributeValue { value } => self.value(value),
            CallbackEvent::EndTag { name } => self.close(name),
            CallbackEvent::String { value } => self.say(&String::from_utf8_lossy(value)),
            CallbackEvent::CloseStartTag { .. }
            | CallbackEvent::Comment { .. }
            | CallbackEvent::Doctype { .. }
            | CallbackEvent::Error(_) => {}
        }
        (self.text.len() > self.most).then_some(())
    }

    fn open(&mut self, name: &[u8]) {
        (self.is_link, self.is_image) = (false, false);
        if let Some(hidden) = &mut self.hidden {
            hidden.depth += usize::from(hidden.name == name);
            return;
        }
        match role(name) {
            Role::Hidden => self.hidden = Some(Hidden { name: name.to_vec(), depth: 1 }),
            Role::Line => self.begin_line(1, ""),
            Role::Paragraph => self.begin_line(2, ""),
            Role::Heading(level) => self.begin_line(2, &format!("{} ", "#".repeat(level))),
            Role::Item => self.begin_line(1, "- "),
            Role::Cell if self.breaks == 0 && !self.text.is_empty() => self.write(" | "),
            Role::Preformatted => {
                self.begin_line(2, "");
                self.preformatted += 1;
            }
            Role::Break => self.begin_line(1, ""),
            Role::Rule => {
                self.begin_line(2, "");
                self.write("---");
                self.begin_line(2, "");
            }
            Role::Link => {
                self.end_link();
                self.is_link = true;
            }
            Role::Image => self.is_image = true,
            Role::Cell | Role::Inline => {}
        }
    }

    fn close(&mut self, name: &[u8]) {
        if let Some(hidden) = &mut self.hidden {
            hidden.depth -= usize::from(hidden.name == name);
            if hidden.depth == 0 {
                self.hidden = None;
            }
            return;
        }
        match role(name) {
            Role::Line | Role::Item | Role::Break => self.begin_line(1, ""),
            Role::Paragraph | Role::Heading(_) => self.begin_line(2, ""),
            Role::Preformatted => {
                self.preformatted = self.preformatted.saturating_sub(1);
                self.begin_line(2, "");
            }
            Role::Link => self.end_link(),
            Role::Hidden | Role::Cell | Role::Rule | Role::Image | Role::Inline => {}
        }
    }

    fn attribute(&mut self, name: &[u8]) {
        self.wanted = match name {
            b"href" if self.is_link => Wanted::Href,
            b"alt" if self.is_image => Wanted::Alt,
            _ => Wanted::Nothing,
        };
    }

    fn value(&mut self, value: &[u8]) {
        let value = String::from_utf8_lossy(value);
        match std::mem::replace(&mut self.wanted, Wanted::Nothing) {
            Wanted::Nothing => {}
            Wanted::Href => self.begin_link(&value),
            Wanted::Alt if value.trim().is_empty() => {}
            Wanted::Alt => self.say(&format!("[image: {}]", value.trim())),
        }
    }

    fn begin_link(&mut self, href: &str) {
        let is_other_place = !href.starts_with('#') && href.len() <= MAX_LINK;
        let to = self.base.join(href).ok().filter(|to| matches!(to.scheme(), "http" | "https"));
        if let Some(to) = to.filter(|to| is_other_place && to.as_str().len() <= MAX_LINK) {
            self.flush();
            let start = self.text.len();
            self.link = Some(Link { href: to.into(), start });
        }
    }

    fn end_link(&mut self) {
        let Some(Link { href, start }) = self.link.take() else { return };
        // A link without words leads nowhere for a reader of text.
        if self.text[start..].trim().is_empty() {
            return;
        }
        self.text.insert(start, '[');
        self.text.push_str("](");
        self.text.push_str(&href);
        self.text.push(')');
    }

    /// What comes next begins a line, behind so many line breaks, with this before it.
    fn begin_line(&mut self, breaks: usize, mark: &str) {
        self.breaks = self.breaks.max(breaks);
        self.space = false;
        mark.clone_into(&mut self.mark);
    }

    fn say(&mut self, text: &str) {
        if self.hidden.is_some() {
            return;
        }
        if self.preformatted > 0 {
            self.write(text);
            return;
        }
        self.space |= text.starts_with(|first: char| first.is_ascii_whitespace());
        for (place, word) in text.split_ascii_whitespace().enumerate() {
            self.space |= place > 0;
            self.write(word);
        }
        if text.ends_with(|last: char| last.is_ascii_whitespace()) {
            self.space = true;
        }
    }

    fn write(&mut self, text: &str) {
        if text.is_empty() || self.text.len() > self.most {
            return;
        }
        self.flush();
        self.text.push_str(text);
    }

    /// Write what comes before the next text.
    fn flush(&mut self) {
        if self.breaks > 0 {
            if !self.text.is_empty() {
                self.text.extend(std::iter::repeat_n('\n', self.breaks));
            }
            let mark = std::mem::take(&mut self.mark);
            self.text.push_str(&mark);
        } else if self.space && !self.text.is_empty() {
            self.text.push(' ');
        }
        (self.breaks, self.space) = (0, false);
    }

    fn finish(mut self) -> String {
        self.end_link();
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(html: &str) -> String {
        let base = Url::parse("https://a.example/b/c").expect("it is one");
        text_of(html, &base, 100_000).0
    }

    #[test]
    fn a_page_reads_as_a_browser_shows_it() {
        let html = "<!doctype html><html><head><title>The  page</title><style>p { color: red }</style>
            <script>if (a < b) { document.write('<p>no</p>') }</script></head><body>
            <h2>One &amp; two</h2><p>A <b>bold</b> word,\n and <a href='../d?e=1&amp;f'>a link</a>.</p>
            <ul><li>first<li>second <i>item</i></ul><pre>  x = 1\n  y</pre>
            <table><tr><td>a<td>b</tr><tr><td>c</td><td>d</td></tr></table>
            <!-- not this --><template><p>nor <template>this</template></p></template>
            <img src=x alt='a cat'><br>end</body>";
        assert_eq!(
            read(html),
            "# The page\n\n## One & two\n\nA bold word, and [a link](https://a.example/d?e=1&f).\n\n\
             - first\n- second item\n\n  x = 1\n  y\n\na | b\nc | d\n\n[image: a cat]\nend"
        );
    }

    #[test]
    fn links_that_lead_nowhere_are_words_alone() {
        for (html, expected) in [
            ("<a href='#x'>x</a>", "x"),
            ("<a href='javascript:alert(1)'>x</a>", "x"),
            ("<a href='mailto:a@b.example'>x</a>", "x"),
            ("<a>x</a>", "x"),
            ("<a href='/'></a>x", "x"),
            ("<a href='/'>x", "[x](https://a.example/)"),
            ("a<a href='/'> x</a>", "a[ x](https://a.example/)"),
        ] {
            assert_eq!(read(html), expected, "{html}");
        }
    }

    #[test]
    fn a_page_is_read_as_far_as_it_is_wanted() {
        let base = Url::parse("https://a.example/").expect("it is one");
        let page = |pieces: usize| "<p>word</p>".repeat(pieces);
        let (text, is_cut) = text_of(&page(100_000), &base, 1_000);
        assert!(is_cut && text.len() < 1_100, "{} bytes", text.len());
        assert!(!text_of(&page(10), &base, 1_000).1);
    }

    #[test]
    fn what_is_nested_deep_costs_no_more_than_its_bytes() {
        let deep = "<div><b><a href=x><svg>".repeat(100_000);
        assert_eq!(read(&format!("{deep}x")), "");
        let open = "<div><b><ul><table>".repeat(100_000);
        assert_eq!(read(&format!("{open}x")), "x");
    }

    proptest! {
        #[test]
        fn no_page_is_too_broken_to_be_read(
            pieces in proptest::collection::vec(
                "<[/!?a-z]{0,6}|[a-z]{0,5}=['\"]?|>|&[#a-z0-9]{0,6};?|\\PC{0,8}|<a href=x>|</pre>|<li>|<svg>|\n",
                0..60,
            ),
            most in 0_usize..200,
        ) {
            let base = Url::parse("https://a.example/").expect("it is one");
            let (text, _) = text_of(&pieces.concat(), &base, most);
            prop_assert!(text.len() <= pieces.concat().len() * 30 + 30);
        }
    }
}
