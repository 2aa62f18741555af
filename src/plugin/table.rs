//! Tables for people: aligned columns, as kubectl prints them.

/// Space between two columns.
const GAP: usize = 3;

/// Rows under headings, each column as wide as its widest cell. The last column is not padded.
pub fn render<const COLUMNS: usize>(headings: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let shown: Vec<[String; COLUMNS]> = std::iter::once(headings.map(str::to_owned))
        .chain(rows.iter().map(|row| row.clone().map(|cell| plain(&cell))))
        .collect();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        shown.iter().map(|row| row[column].chars().count()).max().unwrap_or_default() + GAP
    });
    shown.iter().map(|row| line(row, &widths)).collect()
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded: String = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    format!("{}\n", padded.trim_end())
}

/// Text that can not command a terminal: what comes out of a workspace is anybody's.
pub fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Lines that can not command a terminal; line breaks and tabs stay.
pub fn plain_lines(text: &str) -> String {
    text.chars().filter(|character| !character.is_control() || matches!(character, '\n' | '\t')).collect()
}

/// A size in bytes, short.
pub fn bytes(size: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    UNITS
        .iter()
        .find(|(_, unit)| size >= *unit)
        .map_or_else(|| format!("{size}"), |(name, unit)| format!("{}{name}", size / unit))
}

/// How long ago something was, as kubectl shows ages.
pub fn age(since: jiff::Timestamp, now: jiff::Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 > 0 => format!("{}m{}s", seconds / 60, seconds % 60),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let rows = [
            ["1".to_owned(), "é".to_owned(), "x".to_owned()],
            ["22".to_owned(), String::new(), String::new()],
        ];
        assert_eq!(render(["PID", "USER", "COMMAND"], &rows), "PID   USER   COMMAND\n1     é      x\n22\n");
    }

    #[test]
    fn cells_can_not_command_the_terminal() {
        let table = render(["A"], &[["\u{1b}[2Jx\ny".to_owned()]]);
        assert_eq!(table, "A\n [2Jx y\n");
    }

    #[test]
    fn lines_keep_their_breaks_and_nothing_else() {
        assert_eq!(plain_lines("a\tb\r\n\u{1b}[31mc\u{9b}"), "a\tb\n[31mc");
    }

    #[rstest]
    #[case(0, "0s")]
    #[case(119, "119s")]
    #[case(120, "2m")]
    #[case(150, "2m30s")]
    #[case(3_600, "60m")]
    #[case(7_200, "2h")]
    #[case(172_800, "2d")]
    #[case(-5, "0s")]
    fn ages_are_short(#[case] seconds: i64, #[case] expected: &str) {
        let since = jiff::Timestamp::from_second(1_000_000).unwrap();
        let now = jiff::Timestamp::from_second(1_000_000 + seconds).unwrap();
        assert_eq!(age(since, now), expected);
    }

    #[rstest]
    #[case(0, "0")]
    #[case(1_023, "1023")]
    #[case(1_024, "1Ki")]
    #[case(5 << 20, "5Mi")]
    #[case(3 << 30, "3Gi")]
    fn sizes_are_short(#[case] size: u64, #[case] expected: &str) {
        assert_eq!(bytes(size), expected);
    }
}
