//! Percentiles and medians.

/// Percentiles of the same times, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

impl Latency {
    /// Sorts the times; `None` if there are none.
    pub(super) fn of(times: &mut [f64]) -> Option<Latency> {
        times.sort_unstable_by(f64::total_cmp);
        Some(Latency {
            p50: percentile(times, 50.0)?,
            p99: percentile(times, 99.0)?,
            p999: percentile(times, 99.9)?,
        })
    }
}

/// The least of the sorted values that `percent` of them do not exceed.
fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let rank = (percent * sorted.len() as f64 / 100.0).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The value in the middle, or the mean of the two there.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    match values.len() % 2 {
        1 => Some(upper),
        _ => Some((values[values.len() / 2 - 1] + upper) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<_> = (1..=1000).map(f64::from).collect();
        let percentiles = [0.0, 0.1, 50.0, 99.0, 99.9, 100.0].map(|p| percentile(&values, p));
        assert_eq!(percentiles, [1.0, 1.0, 500.0, 990.0, 999.0, 1000.0].map(Some));
        assert_eq!(percentile(&[7.0], 99.9), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn latencies_need_not_be_sorted() {
        let mut times: Vec<_> = (1..=100).rev().map(f64::from).collect();
        let latency = Latency { p50: 50.0, p99: 99.0, p999: 100.0 };
        assert_eq!(Latency::of(&mut times), Some(latency));
        assert_eq!(Latency::of(&mut []), None);
    }

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median([5.0]), Some(5.0));
        assert_eq!(median([]), None);
    }
}
