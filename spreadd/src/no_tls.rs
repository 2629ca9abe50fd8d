//! What stands for TLS without the feature `tls`.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use spread_daemon::{AdmitHandle, Authentication};

use crate::plan::Outcome;

#[derive(Clone, Debug, Args)]
pub(crate) struct TlsOptions {}

pub(crate) struct Plan;

impl Plan {
    pub(crate) fn new(_: &TlsOptions, _: &[IpAddr], _: &Authentication) -> Outcome<Plan> {
        Ok(Plan)
    }

    pub(crate) fn warnings(_: &TlsOptions, _: &Plan, _: &Authentication) -> Vec<String> {
        Vec::new()
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    pub(crate) fn descriptors(&self) -> (u64, u64) {
        (0, 0)
    }

    pub(crate) fn bind(self) -> Outcome<Bound> {
        Ok(Bound)
    }
}

pub(crate) struct Bound;

impl Bound {
    pub(crate) fn start(self, _: usize, _: AdmitHandle) -> Outcome<Running> {
        Ok(Running)
    }
}

pub(crate) struct Running;

impl Running {
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &[]
    }

    pub(crate) fn reload(&self) -> Reload {
        Reload
    }

    pub(crate) fn stopper(&self) -> Stopper {
        Stopper
    }

    pub(crate) fn finish(self) {}
}

pub(crate) struct Stopper;

impl Stopper {
    pub(crate) fn signal(&self, _: bool) {}
}

pub(crate) struct Reload;

impl Reload {
    pub(crate) fn take(&self, _: Plan) {}
}
