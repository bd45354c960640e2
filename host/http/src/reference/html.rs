//! The reference as a page of HTML, which needs no script and nothing from elsewhere.

use super::Form;

/// What is written so far.
pub(super) struct Html(String);

impl Html {
    /// A page of this title.
    pub(super) fn new(title: &str) -> Html {
        Html(format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width\">\n<title>{}</title>\n<link rel=\"stylesheet\" \
             href=\"/docs/style.css\">\n",
            escaped(title)
        ))
    }

    /// The whole page.
    pub(super) fn finish(self) -> String {
        self.0 + "</html>\n"
    }

    fn row(&mut self, tag: &str, cells: impl Iterator<Item = String>) {
        let cells: String = cells.map(|cell| format!("<{tag}>{}</{tag}>", inline(&cell))).collect();
        self.0 += &format!("<tr>{cells}</tr>\n");
    }
}

impl Form for Html {
    fn heading(&mut self, level: usize, text: &str) {
        let name: String = text.to_lowercase().replace(' ', "-");
        self.0 += &format!("<h{level} id=\"{}\">{}</h{level}>\n", escaped(&name), escaped(text));
    }

    fn paragraph(&mut self, text: &str) {
        if !text.is_empty() {
            self.0 += &format!("<p>{}</p>\n", inline(text));
        }
    }

    fn table(&mut self, columns: &[&str], rows: &[Vec<String>]) {
        self.0 += "<table>\n";
        self.row("th", columns.iter().map(|name| (*name).to_owned()));
        for row in rows {
            self.row("td", row.iter().cloned());
        }
        self.0 += "</table>\n";
    }
}

/// A text with its code and its links.
fn inline(text: &str) -> String {
    let pieces = text.split('`').enumerate().map(|(number, piece)| {
        let is_code = number % 2 == 1;
        if is_code { format!("<code>{}</code>", escaped(piece)) } else { linked(piece) }
    });
    pieces.collect()
}

/// A text with links such as `[Session](#session)`.
fn linked(text: &str) -> String {
    let mut html = String::new();
    let mut rest = text;
    while let Some((before, name, to, after)) = first_link(rest) {
        let (before, name, to) = (escaped(before), escaped(name), escaped(to));
        html += &format!("{before}<a href=\"{to}\">{name}</a>");
        rest = after;
    }
    html + &escaped(rest)
}

/// What stands before the first link, its text, where it leads, and what comes after it.
fn first_link(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (head, tail) = text.split_once("](#")?;
    let (before, name) = head.rsplit_once('[')?;
    let end = tail.find(')')?;
    let to = &text[head.len() + 2..head.len() + 3 + end];
    Some((before, name, to, &tail[end + 1..]))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_have_code_and_links() {
        assert_eq!(
            inline("`a<b>` or [Session](#session) & \"more\""),
            "<code>a&lt;b&gt;</code> or <a href=\"#session\">Session</a> &amp; &quot;more&quot;"
        );
        assert_eq!(inline("[no link] (at all)"), "[no link] (at all)");
    }
}
