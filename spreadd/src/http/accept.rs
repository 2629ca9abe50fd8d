//! What a client accepts: the header `Accept`.

use std::cmp::Reverse;

/// Returns whether a client prefers one media type to another: by its weight, or, of equal ones, if
/// the client names it. The other one is what it gets if it has no preference.
pub(super) fn prefers(accept: &str, wanted: &str, other: &str) -> bool {
    let is_named = || {
        let ranges = accept.split(',').filter_map(|item| item.split(';').next());
        ranges.map(str::trim).any(|range| range.eq_ignore_ascii_case(wanted))
    };
    match (weight(accept, wanted), weight(accept, other)) {
        (0, _) => false,
        (wanted, other) => wanted > other || (wanted == other && is_named()),
    }
}

/// Returns the weight of a media type in thousandths: that of the range which names it most closely,
/// of several such ranges the highest. Without any range, everything is accepted.
fn weight(accept: &str, wanted: &str) -> u16 {
    let whole = wanted.split('/').next().map(|kind| format!("{kind}/*")).unwrap_or_default();
    let closeness = |range: &str| {
        let names = [wanted, &*whole, "*/*"];
        names.iter().position(|name| range.eq_ignore_ascii_case(name))
    };
    let ranges = accept.split(',').filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let place = closeness(parts.next()?)?;
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
        });
        Some((place, quality.unwrap_or(1000)))
    });
    let closest = ranges.min_by_key(|(place, quality)| (*place, Reverse(*quality)));
    match closest {
        Some((_, quality)) => quality,
        None if accept.trim().is_empty() => 1000,
        None => 0,
    }
}

/// Returns a weight such as `0.9`; one that is wrong counts as 1.
fn thousandths(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u16,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_open(accept: &str) -> bool {
        prefers(accept, "application/openmetrics-text", "text/plain")
    }

    #[test]
    fn the_weight_decides_and_of_equal_ones_openmetrics_has_to_be_named() {
        for text in [
            "",
            "*/*",
            "application/json",
            "text/plain",
            "text/*",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            "text/plain;q=0.9, application/openmetrics-text;q=0.1",
            "text/plain;q=0.9, application/openmetrics-text;q=0",
            "text/plain;q=0, application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0, */*",
            "Text/Plain; Q=0.2, application/openmetrics-text; q=0.1",
            "text/plain;q=0.002,application/openmetrics-text;q=0.001",
            "text/plain;q=wrong, */*",
        ] {
            assert!(!is_open(text), "{text}");
        }
        for open in [
            "application/openmetrics-text",
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4",
            "text/plain;version=0.0.4, Application/OpenMetrics-Text; version=1.0.0",
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4",
            "text/plain;q=0, */*;q=0.1",
        ] {
            assert!(is_open(open), "{open}");
        }
    }

    #[test]
    fn of_ranges_as_close_as_each_other_the_highest_weight_counts() {
        let text = "text/plain;version=1.0.0;q=0.2,text/plain;version=0.0.4;q=0.6";
        assert!(!is_open(&format!("{text},application/openmetrics-text;q=0.5")));
        let open = "application/openmetrics-text;version=0.0.1;q=0.2,\
                    application/openmetrics-text;version=1.0.0;q=0.6";
        assert!(is_open(&format!("{open},text/plain;q=0.5")));
    }

    #[test]
    fn browsers_get_text_and_prometheus_gets_openmetrics() {
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
                      image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";
        let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,\
                          text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert!(!is_open(chrome));
        assert!(!is_open(firefox));
        assert!(is_open(prometheus));
    }
}
