//! The reference in Markdown.

use super::Form;

/// What is written so far.
#[derive(Default)]
pub(super) struct Markdown(String);

impl Markdown {
    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.0.trim_end().to_owned() + "\n"
    }

    fn row(&mut self, cells: impl Iterator<Item = String>) {
        let cells: Vec<_> = cells.map(|cell| cell.replace('\n', " ").replace('|', "\\|")).collect();
        self.0 += &format!("| {} |\n", cells.join(" | "));
    }
}

impl Form for Markdown {
    fn heading(&mut self, level: usize, text: &str) {
        self.0 += &format!("{} {text}\n\n", "#".repeat(level));
    }

    fn paragraph(&mut self, text: &str) {
        if !text.is_empty() {
            self.0 += &format!("{text}\n\n");
        }
    }

    fn table(&mut self, columns: &[&str], rows: &[Vec<String>]) {
        self.row(columns.iter().map(|name| (*name).to_owned()));
        self.row(columns.iter().map(|_| "---".to_owned()));
        for row in rows {
            self.row(row.iter().cloned());
        }
        self.0.push('\n');
    }
}
