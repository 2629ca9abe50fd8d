//! What a client accepts: the header `Accept`.

/// Returns whether a client prefers one media type to another. The other one is what it gets if it
/// has no preference.
pub(super) fn prefers(accept: &str, wanted: &str, other: &str) -> bool {
    weight(accept, wanted) > weight(accept, other)
}

/// Returns the weight of a media type in thousandths: that of the range which names it most closely.
/// Without any range, everything is accepted.
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
    let closest = ranges.min_by_key(|(place, _)| *place);
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

    fn is_text(accept: &str) -> bool {
        prefers(accept, "text/plain", "application/openmetrics-text")
    }

    #[test]
    fn the_weight_decides_and_without_a_preference_it_is_openmetrics() {
        for text in [
            "text/plain",
            "text/*",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            "text/plain;q=0.9, application/openmetrics-text;q=0.1",
            "text/plain;q=0.9, application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0, */*",
            "Text/Plain; Q=0.2, application/openmetrics-text; q=0.1",
            "text/plain;q=0.002,application/openmetrics-text;q=0.001",
        ] {
            assert!(is_text(text), "{text}");
        }
        for open in [
            "",
            "*/*",
            "application/json",
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4",
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4",
            "text/plain;q=0, */*;q=0.1",
            "text/plain;q=wrong, */*",
        ] {
            assert!(!is_text(open), "{open}");
        }
    }
}
