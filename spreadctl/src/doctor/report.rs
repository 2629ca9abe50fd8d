//! What an examination has found, without I/O.

use serde::Serialize;

use crate::output::{Theme, styled};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Ok,
    /// It works, but not as it should.
    Warning,
    Failed,
}

/// A check, and what it found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Check {
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) checks: Vec<Check>,
}

impl Report {
    pub(super) fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, Verdict::Ok, found.into(), None);
    }

    pub(super) fn warn(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(check, Verdict::Warning, found.into(), Some(advice.into()));
    }

    pub(super) fn fail(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        advice: Option<String>,
    ) {
        self.add(check, Verdict::Failed, found.into(), advice);
    }

    fn add(
        &mut self,
        check: &'static str,
        verdict: Verdict,
        found: String,
        advice: Option<String>,
    ) {
        self.checks.push(Check { check, verdict, found, advice });
    }

    pub(super) fn failures(&self) -> usize {
        self.checks.iter().filter(|check| check.verdict == Verdict::Failed).count()
    }
}

impl Check {
    /// Returns the lines for people.
    pub(super) fn lines(&self, theme: &Theme) -> String {
        let (style, word) = match self.verdict {
            Verdict::Ok => (theme.good, "ok"),
            Verdict::Warning => (theme.notice, "warning"),
            Verdict::Failed => (theme.bad, "failed"),
        };
        let mut lines = format!(
            "{}  {:<12} {}",
            styled(style, format_args!("{word:<7}")),
            self.check,
            self.found
        );
        if let Some(advice) = &self.advice {
            lines.push_str(&format!("\n         {:<12} -> {advice}", ""));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_what_failed_and_tells_what_to_do() {
        let mut report = Report::default();
        report.ok("address", "fine");
        report.warn("status", "not there", "use spreadd");
        report.fail("connect", "refused", Some("start it".to_owned()));
        assert_eq!(report.failures(), 1);
        let lines = report.checks[2].lines(&Theme::PLAIN);
        assert_eq!(lines, "failed   connect      refused\n                      -> start it");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["checks"][1]["verdict"], "warning");
        assert!(json["checks"][0].get("advice").is_none());
    }
}
