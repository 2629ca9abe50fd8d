//! The questions at the status socket and at the address of the metrics.

use super::status::Status;

/// Bytes after which a question that has no end is answered all the same.
const MAX_QUESTION: usize = 8 * 1024;

/// The place at which a question comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inspection {
    /// The status socket: a line with `table`, `json` or `health`.
    Status,
    /// The metrics: a request of HTTP.
    Metrics,
}

/// Returns the answer to a question; `None` while it has not come whole.
pub(crate) fn answer(
    inspection: Inspection,
    question: &[u8],
    status: impl FnOnce() -> Status,
) -> Option<String> {
    let end: &[u8] = match inspection {
        Inspection::Status => b"\n",
        Inspection::Metrics => b"\r\n\r\n",
    };
    let is_whole = question.windows(end.len()).any(|bytes| bytes == end);
    if !is_whole && question.len() < MAX_QUESTION {
        return None;
    }
    let line = question.split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii();
    Some(match (inspection, line) {
        (Inspection::Metrics, line) if line.starts_with(b"GET /metrics ") => {
            http("200 OK", &status().to_prometheus())
        }
        (Inspection::Metrics, _) => http("404 Not Found", "Only GET /metrics is here.\n"),
        (Inspection::Status, b"table") => status().to_string(),
        (Inspection::Status, b"json") => status().to_json() + "\n",
        (Inspection::Status, b"health") => "healthy\n".to_owned(),
        (Inspection::Status, _) => "ask for table, json or health\n".to_owned(),
    })
}

fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(inspection: Inspection, question: &[u8]) -> Option<String> {
        answer(inspection, question, Status::default)
    }

    #[test]
    fn a_question_is_answered_when_it_has_come_whole() {
        assert_eq!(ask(Inspection::Status, b"heal"), None);
        assert_eq!(ask(Inspection::Status, b"health\n").as_deref(), Some("healthy\n"));
        assert_eq!(ask(Inspection::Metrics, b"GET /metrics HTTP/1.1\r\n"), None);
        let metrics = ask(Inspection::Metrics, b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    }

    #[test]
    fn a_question_without_end_is_no_reason_to_wait() {
        let endless = vec![b'x'; MAX_QUESTION];
        assert!(ask(Inspection::Status, &endless).is_some());
        assert!(ask(Inspection::Metrics, &endless).unwrap().starts_with("HTTP/1.1 404"));
    }
}
