//! Tables without borders, and lists of facts. Only layout; what stands in them comes from the commands.

use crate::human::clean;

/// The head of a column.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    right: bool,
}

/// A column of words.
pub(crate) const fn left(title: &'static str) -> Column {
    Column { title, right: false }
}

/// A column of numbers.
pub(crate) const fn right(title: &'static str) -> Column {
    Column { title, right: true }
}

/// The rows under their heads, columns two spaces apart.
pub(crate) fn table<const N: usize>(columns: [Column; N], rows: Vec<[String; N]>) -> String {
    let head = columns.map(|column| column.title.to_owned());
    let rows: Vec<_> = std::iter::once(head)
        .chain(rows.into_iter().map(|row| row.map(|cell| clean(&cell))))
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for ((cell, width), column) in row.iter().zip(widths).zip(columns) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            line.push_str(&if column.right {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `Name:  value` lines with the values under each other.
pub(crate) fn facts(rows: &[(&str, String)]) -> String {
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0)
        + 1;
    rows.iter()
        .map(|(name, value)| format!("{:<width$}  {}\n", format!("{name}:"), clean(value)))
        .collect()
}

/// The block moved to the right by two spaces.
pub(crate) fn indented(block: &str) -> String {
    block.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::{facts, left, right, table};

    #[test]
    fn columns_line_up_and_lines_end_clean() {
        let rows = vec![
            ["home".to_owned(), "7".to_owned(), "-".to_owned()],
            ["ä".to_owned(), "1024".to_owned(), "long".to_owned()],
        ];
        assert_eq!(
            table([left("NAME"), right("FILES"), left("NOTE")], rows),
            "NAME  FILES  NOTE\nhome      7  -\nä      1024  long\n"
        );
    }

    #[test]
    fn facts_line_up() {
        let rows = [("Job", "7".to_owned()), ("Policy", "home".to_owned())];
        assert_eq!(facts(&rows), "Job:     7\nPolicy:  home\n");
    }
}
