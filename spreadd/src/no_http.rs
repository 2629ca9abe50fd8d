//! Stands for the module `http` where the feature is off: there is nothing to serve.

use std::net::SocketAddr;

use spread_daemon::{AdminHandle, StartError};

use crate::options::Run;
use crate::plan::Outcome;

pub(crate) enum HttpPlan {}

impl HttpPlan {
    pub(crate) fn of(_: &Run) -> Outcome<Option<HttpPlan>> {
        Ok(None)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match *self {}
    }

    pub(crate) fn listen(self) -> Result<Http, StartError> {
        match self {}
    }
}

pub(crate) enum Http {}

impl Http {
    pub(crate) fn serve(self, _: AdminHandle) -> Outcome<HttpServer> {
        match self {}
    }
}

pub(crate) enum HttpServer {}

impl HttpServer {
    pub(crate) fn address(&self) -> SocketAddr {
        match *self {}
    }

    pub(crate) fn reloader(&self) -> HttpReloader {
        match *self {}
    }

    pub(crate) fn stop(self) {
        match self {}
    }
}

pub(crate) enum HttpReloader {}

impl HttpReloader {
    pub(crate) fn reload(&self, _: HttpPlan) {
        match *self {}
    }
}
