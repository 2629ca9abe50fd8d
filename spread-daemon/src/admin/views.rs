//! The last views of all groups.

use std::collections::VecDeque;
use std::time::Instant;

use spread_wire::{Cause, Name};

use super::status::{Status, ViewCause, ViewStatus};
use crate::cluster::Change;

/// The last views, the last one first, and the number of all.
#[derive(Debug, Default)]
pub(crate) struct Views {
    count: u64,
    last: VecDeque<(Instant, Change)>,
}

impl Views {
    /// Notes the change that a view tells of.
    pub(crate) fn note(&mut self, now: Instant, change: Change) {
        self.count += 1;
        self.last.truncate(Status::MAX_VIEWS - 1);
        self.last.push_front((now, change));
    }

    /// Returns how many views there have been.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the last views, the last one first.
    pub(crate) fn list(&self, now: Instant) -> Vec<ViewStatus> {
        let numbers = (0..=self.count).rev();
        let view = |(number, (at, change)): (u64, &(Instant, Change))| ViewStatus {
            number,
            group: change.group.to_string(),
            cause: cause(change.cause),
            member: change.member.as_ref().map(Name::to_string),
            members: change.members,
            ago: now.saturating_duration_since(*at),
        };
        numbers.zip(&self.last).map(view).collect()
    }
}

fn cause(cause: Cause) -> ViewCause {
    match cause {
        Cause::Join => ViewCause::Join,
        Cause::Leave => ViewCause::Leave,
        Cause::Disconnect => ViewCause::Disconnect,
        Cause::Network => ViewCause::Network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_views_are_kept_and_all_are_counted() {
        let mut views = Views::default();
        let now = Instant::now();
        assert_eq!(views.list(now), []);
        let count = Status::MAX_VIEWS + 5;
        for members in 0..count {
            let group = Name::new("g").unwrap();
            views.note(now, Change { group, cause: Cause::Network, member: None, members });
        }
        let list = views.list(now);
        assert_eq!((views.count(), list.len()), (count as u64, Status::MAX_VIEWS));
        assert_eq!((list[0].number, list[0].members), (count as u64, count - 1));
        assert_eq!(list.last().unwrap().number, 6);
    }
}
