//! The questions at the status socket and at the address of the metrics.

/// Bytes after which a question that has no end is answered all the same.
const MAX_QUESTION: usize = 8 * 1024;

/// The place at which a question comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inspection {
    /// The status socket: a line with `table`, `json`, `health` or `kick NAME`.
    Status,
    /// The metrics: a request of HTTP.
    Metrics,
}

/// What a program asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// The status for people.
    Table,
    /// The status as JSON.
    Json,
    /// Whether the daemon answers.
    Health,
    /// To end the session of this name.
    Kick(String),
    /// A request of HTTP: for the status for Prometheus, or anything else.
    Http { is_metrics: bool, is_head: bool },
    /// Anything else at the status socket.
    Other,
}

/// Returns the question in the bytes that came; `None` while it has not come whole.
pub(crate) fn question(inspection: Inspection, came: &[u8]) -> Option<Question> {
    let end: &[u8] = match inspection {
        Inspection::Status => b"\n",
        Inspection::Metrics => b"\r\n\r\n",
    };
    let is_whole = came.windows(end.len()).any(|bytes| bytes == end);
    if !is_whole && came.len() < MAX_QUESTION {
        return None;
    }
    let line = came.split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii();
    Some(match (inspection, line) {
        (Inspection::Metrics, line) => {
            let mut words = line.split(|&b| b == b' ');
            let (method, target) = (words.next(), words.next().unwrap_or_default());
            let is_head = method == Some(b"HEAD");
            let path = target.split(|&b| b == b'?').next();
            let is_metrics = (is_head || method == Some(b"GET")) && path == Some(b"/metrics");
            Question::Http { is_metrics, is_head }
        }
        (Inspection::Status, b"table") => Question::Table,
        (Inspection::Status, b"json") => Question::Json,
        (Inspection::Status, b"health") => Question::Health,
        (Inspection::Status, line) => match line.strip_prefix(b"kick ").map(str::from_utf8) {
            Some(Ok(name)) => Question::Kick(name.trim().to_owned()),
            _ => Question::Other,
        },
    })
}

/// Returns an answer of HTTP; one to HEAD has no body, and the length of that of GET.
pub(crate) fn http(status: &str, body: &str, is_head: bool) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{}",
        body.len(),
        if is_head { "" } else { body }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_understood_when_it_has_come_whole() {
        assert_eq!(question(Inspection::Status, b"heal"), None);
        assert_eq!(question(Inspection::Status, b"health\n"), Some(Question::Health));
        let kick = Question::Kick("#a#b".to_owned());
        assert_eq!(question(Inspection::Status, b"kick #a#b\r\n"), Some(kick));
        assert_eq!(question(Inspection::Metrics, b"GET /metrics HTTP/1.1\r\n"), None);
    }

    #[test]
    fn metrics_are_asked_for_by_get_and_head_with_any_query() {
        for (line, is_metrics, is_head) in [
            ("GET /metrics HTTP/1.1", true, false),
            ("GET /metrics?x=1 HTTP/1.1", true, false),
            ("HEAD /metrics HTTP/1.1", true, true),
            ("HEAD / HTTP/1.1", false, true),
            ("GET /metrics2 HTTP/1.1", false, false),
            ("POST /metrics HTTP/1.1", false, false),
        ] {
            let asked = question(Inspection::Metrics, format!("{line}\r\n\r\n").as_bytes());
            assert_eq!(asked, Some(Question::Http { is_metrics, is_head }), "{line}");
        }
    }

    #[test]
    fn nobody_is_kicked_at_the_address_of_the_metrics() {
        let kick = b"kick #a#b\r\n\r\n";
        let other = Question::Http { is_metrics: false, is_head: false };
        assert_eq!(question(Inspection::Metrics, kick), Some(other));
    }

    #[test]
    fn a_question_without_end_is_no_reason_to_wait() {
        let endless = vec![b'x'; MAX_QUESTION];
        assert_eq!(question(Inspection::Status, &endless), Some(Question::Other));
        let other = Question::Http { is_metrics: false, is_head: false };
        assert_eq!(question(Inspection::Metrics, &endless), Some(other));
        assert_eq!(question(Inspection::Status, b"kick \xff\n"), Some(Question::Other));
    }
}
