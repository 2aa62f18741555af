//! A diagnosis on one screen. No I/O.

use jiff::Timestamp;

use super::diagnosis::Diagnosis;
use crate::plugin::table::{age, plain, plain_lines};

/// Lines of output that are shown.
const OUTPUT: usize = 12;

/// The text.
pub fn render(found: &Diagnosis, now: Timestamp) -> String {
    let mut lines = Vec::new();
    let head = format!("{}/{}", found.kind.to_lowercase(), found.name);
    match &found.trouble {
        None => lines.push(format!("{head} is {}: nothing is wrong.", plain(&found.phase))),
        Some(trouble) => {
            let since = trouble.since.map(|since| format!(", for {}", age(since, now))).unwrap_or_default();
            lines.push(format!("{head} is {}: {}{since}", plain(&found.phase), plain(&trouble.reason)));
            lines.push(format!("  What:   {}", plain(&trouble.message)));
        }
    }
    lines.extend(found.progress.iter().map(|progress| format!("  Where:  {}", plain(progress))));
    if let Some(output) = &found.last_output {
        lines.push("  Output:".to_owned());
        let output = plain_lines(output);
        let all: Vec<_> = output.lines().collect();
        let shown = all.get(all.len().saturating_sub(OUTPUT)..).unwrap_or_default();
        lines.extend(shown.iter().map(|line| format!("    {line}")));
    }
    if !found.events.is_empty() {
        lines.push("  Events:".to_owned());
        lines.extend(found.events.iter().map(|event| {
            let when = event.at.map(|at| format!("{} ago", age(at, now))).unwrap_or_default();
            format!("    {when:<10} {}: {}", plain(&event.reason), plain(&event.message))
        }));
    }
    lines.extend(found.todo.iter().map(|todo| format!("  To do:  {}", plain(todo))));
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::diagnosis::{SeenEvent, Trouble};
    use super::*;

    #[test]
    fn trouble_fits_on_one_screen() {
        let now = Timestamp::from_second(1_000).unwrap();
        let found = Diagnosis {
            kind: "DevServer".to_owned(),
            name: "web".to_owned(),
            phase: "Failed".to_owned(),
            progress: Some("started again 3 times".to_owned()),
            trouble: Some(Trouble {
                reason: "CrashLoop".to_owned(),
                message: "it ended\u{1b}[2J with 1".to_owned(),
                since: Timestamp::from_second(940).ok(),
            }),
            last_output: Some((0..100).map(|number| format!("line {number}\n")).collect()),
            todo: vec!["Its output: kubectl berth logs web".to_owned()],
            events: vec![SeenEvent { at: None, reason: "R".to_owned(), message: "m".to_owned() }],
        };
        let text = render(&found, now);
        assert!(text.starts_with(
            "devserver/web is Failed: CrashLoop, for 60s\n  What:   it ended [2J with 1\n  Where:  started again 3 times\n  Output:\n    line 88\n"
        ), "{text}");
        assert!(
            text.ends_with(
                "    line 99\n  Events:\n               R: m\n  To do:  Its output: kubectl berth logs web\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn well_is_one_line() {
        let found = Diagnosis {
            kind: "Workspace".to_owned(),
            name: "a".to_owned(),
            phase: "Running".to_owned(),
            ..Diagnosis::default()
        };
        assert_eq!(render(&found, Timestamp::UNIX_EPOCH), "workspace/a is Running: nothing is wrong.\n");
    }
}
