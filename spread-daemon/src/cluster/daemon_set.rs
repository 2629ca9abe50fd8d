//! Some of the daemons of a cluster.

/// Daemons that one configuration can have, as in Spread (`MAX_PROCS_RING`).
pub(crate) const MAX_DAEMONS: usize = 128;

/// A daemon of the cluster: its place in the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DaemonId(pub(crate) usize);

impl DaemonId {
    /// The first daemon of the configuration, and of a single host the only one.
    pub(crate) const FIRST: DaemonId = DaemonId(0);
}

/// A set of daemons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DaemonSet(u128);

impl DaemonSet {
    pub(crate) fn of(daemon: DaemonId) -> DaemonSet {
        DaemonSet(1 << daemon.0)
    }

    /// Returns the set as one bit for each daemon, the first being the lowest.
    pub(crate) fn bits(self) -> u128 {
        self.0
    }

    pub(crate) fn from_bits(bits: u128) -> DaemonSet {
        DaemonSet(bits)
    }

    pub(crate) fn contains(self, daemon: DaemonId) -> bool {
        self.0 >> daemon.0 & 1 != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn insert(&mut self, daemon: DaemonId) {
        *self = self.union(DaemonSet::of(daemon));
    }

    pub(crate) fn remove(&mut self, daemon: DaemonId) {
        *self = self.without(DaemonSet::of(daemon));
    }

    pub(crate) fn union(self, other: DaemonSet) -> DaemonSet {
        DaemonSet(self.0 | other.0)
    }

    /// Returns the daemons that are in both sets.
    pub(crate) fn common(self, other: DaemonSet) -> DaemonSet {
        DaemonSet(self.0 & other.0)
    }

    pub(crate) fn without(self, other: DaemonSet) -> DaemonSet {
        DaemonSet(self.0 & !other.0)
    }

    /// Returns the first daemon in the order of the configuration.
    pub(crate) fn first(self) -> Option<DaemonId> {
        self.iter().next()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = DaemonId> {
        (0..MAX_DAEMONS)
            .map(DaemonId)
            .take_while(move |d| self.0 >> d.0 != 0)
            .filter(move |&d| self.contains(d))
    }
}

impl FromIterator<DaemonId> for DaemonSet {
    fn from_iter<I: IntoIterator<Item = DaemonId>>(daemons: I) -> DaemonSet {
        daemons.into_iter().map(DaemonSet::of).fold(DaemonSet::default(), DaemonSet::union)
    }
}
