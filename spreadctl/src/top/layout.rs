//! What fits into the width of a screen.

use super::rows::{Column, Row, Width};

/// Blanks between two columns.
const GAP: u16 = 1;

/// Returns the columns that are shown, by their place among `columns`, each with its width. Columns
/// whose rows are all empty may be missing; where there is no room for all, those that matter least
/// are. The first one and the one that is sorted by are there in any case.
pub(super) fn columns(
    columns: &[Column],
    rows: &[Row],
    sorted: usize,
    width: u16,
) -> Vec<(usize, u16)> {
    let longest = |place: usize| rows.iter().map(|row| len(row.cells[place].shown())).max();
    let mut shown: Vec<(usize, u16)> = Vec::new();
    for (place, column) in columns.iter().enumerate() {
        let longest = longest(place).unwrap_or_default();
        if column.may_be_missing && longest == 0 && place != sorted {
            continue;
        }
        // With the mark of the sorted column.
        let title = len(column.title) + 1;
        shown.push((
            place,
            match column.width {
                Width::AtMost(most) => longest.max(title).min(most.max(title)),
                Width::Fixed(width) | Width::Rest(width) => width.max(title),
            },
        ));
    }
    let needed = |shown: &[(usize, u16)]| {
        let widths: u16 = shown.iter().fold(0, |sum, (_, width)| sum.saturating_add(*width));
        widths.saturating_add(GAP * (shown.len().max(1) - 1) as u16)
    };
    while needed(&shown) > width {
        let others = shown.iter().enumerate().skip(1).filter(|(_, shown)| shown.0 != sorted);
        let Some((least, _)) = others.max_by_key(|(_, shown)| columns[shown.0].gives_way) else {
            break;
        };
        shown.remove(least);
    }
    let left = width.saturating_sub(needed(&shown));
    let rest = |shown: &&mut (usize, u16)| matches!(columns[shown.0].width, Width::Rest(_));
    if let Some((_, width)) = shown.iter_mut().find(rest) {
        *width += left;
    }
    shown
}

/// Returns the number of characters of a text.
fn len(text: &str) -> u16 {
    u16::try_from(text.chars().count()).unwrap_or(u16::MAX)
}

/// Returns a text, or its beginning with a mark that it goes on.
pub(super) fn cut(text: &str, width: u16) -> String {
    if len(text) <= width {
        return text.to_owned();
    }
    let mut beginning: String = text.chars().take(usize::from(width.saturating_sub(1))).collect();
    beginning.extend((width > 0).then_some('…'));
    beginning
}

/// Joins parts to lines of at most this width; a part that is longer is cut.
pub(super) fn lines<'a>(
    parts: impl IntoIterator<Item = &'a str>,
    between: &str,
    width: u16,
) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line)
                if len(line).saturating_add(len(between)).saturating_add(len(part)) <= width =>
            {
                line.push_str(between);
                line.push_str(part);
            }
            last => {
                // What stands between has its end in the line before, such as a semicolon.
                if let Some(line) = last
                    && len(line).saturating_add(len(between.trim_end())) <= width
                {
                    line.push_str(between.trim_end());
                }
                lines.push(cut(part, width));
            }
        }
    }
    lines
}

/// Returns names in as many columns as fit, in lines of at most this width.
pub(super) fn names(names: &[String], width: u16) -> Vec<String> {
    let longest = names.iter().map(|name| usize::from(len(name))).max().unwrap_or_default();
    let width = usize::from(width);
    let columns = ((width + 2) / (longest + 2)).max(1);
    let line = |names: &[String]| {
        let cells: Vec<String> = names.iter().map(|name| format!("{name:<longest$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    names.chunks(columns).map(line).collect()
}

/// Returns the lines that fit into this height; the last one tells of those that do not.
pub(super) fn at_most(mut lines: Vec<String>, height: u16) -> Vec<String> {
    let height = usize::from(height);
    if lines.len() > height {
        let left_out = lines.len() - height.saturating_sub(1);
        lines.truncate(height.saturating_sub(1));
        lines.push(format!("… {left_out} lines more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::rows::{Cell, Tab};
    use super::*;

    const SESSION: usize = 0;
    const ADDRESS: usize = 1;

    fn row(texts: [&str; 9]) -> Row {
        let cells = texts.map(|text| Cell::Text(text.to_owned())).to_vec();
        Row { key: texts[0].to_owned(), cells }
    }

    fn shown(rows: &[Row], sorted: usize, width: u16) -> Vec<&'static str> {
        let all = Tab::Sessions.columns();
        let shown = columns(all, rows, sorted, width);
        let total: u16 = shown.iter().map(|(_, width)| width + GAP).sum::<u16>() - GAP;
        assert!(total <= width.max(shown[0].1 + GAP + 12), "{shown:?}");
        shown.into_iter().map(|(place, _)| all[place].title).collect()
    }

    #[test]
    fn columns_that_matter_less_give_way() {
        let rows =
            [row(["#longname10#localhost", "127.0.0.1", "", "2", "0", "0", "75", "3 s", ""])];
        let all = ["SESSION", "ADDRESS", "GROUPS", "QUEUED", "IN/S", "OUT/S", "TIME"];
        assert_eq!(shown(&rows, SESSION, 80), all);
        assert_eq!(shown(&rows, SESSION, 60), ["SESSION", "GROUPS", "QUEUED", "IN/S", "OUT/S"]);
        assert_eq!(shown(&rows, ADDRESS, 60), ["SESSION", "ADDRESS", "QUEUED", "IN/S", "OUT/S"]);
        assert_eq!(shown(&rows, SESSION, 1), ["SESSION"]);
        assert_eq!(shown(&rows, ADDRESS, 1), ["SESSION", "ADDRESS"]);
        let waits = [row(["#a#b", "unix", "ann", "2", "9", "0", "75", "3 s", "#slow#b"])];
        assert_eq!(shown(&waits, SESSION, 80).len(), 9);
    }

    #[test]
    fn the_last_column_takes_the_rest() {
        let cells = ["news", "2", "#ann#localhost #bob#localhost"];
        let row = Row {
            key: "news".to_owned(),
            cells: cells.map(|text| Cell::Text(text.to_owned())).to_vec(),
        };
        let groups = Tab::Groups.columns();
        assert_eq!(columns(groups, &[row], 0, 60), [(0, 6), (1, 8), (2, 44)]);
    }

    #[test]
    fn texts_are_cut_with_a_mark() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("abcd", 0), "");
    }

    #[test]
    fn parts_stand_in_as_few_lines_as_they_need() {
        let parts = ["one", "two", "three"];
        assert_eq!(lines(parts, "; ", 40), ["one; two; three"]);
        assert_eq!(lines(parts, "; ", 10), ["one; two;", "three"]);
        assert_eq!(lines(parts, "; ", 4), ["one;", "two;", "thr…"]);
        assert!(lines([], "; ", 4).is_empty());
    }

    #[test]
    fn names_stand_in_columns_and_the_last_line_tells_how_many_are_missing() {
        let list: Vec<String> = (0..10).map(|number| format!("name{number}")).collect();
        let all = names(&list, 20);
        assert_eq!(all[0], "name0  name1  name2");
        assert_eq!(all.len(), 4);
        assert_eq!(at_most(all.clone(), 4), all);
        assert_eq!(at_most(all, 2), ["name0  name1  name2", "… 3 lines more"]);
        assert_eq!(names(&list, 1).len(), 10);
    }
}
