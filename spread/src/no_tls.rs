//! What stands for [`Link`] without the feature `tls`: no connection has one.

use std::io;

#[derive(Debug)]
pub(crate) enum Link {}

impl Link {
    pub(crate) fn failure(&self) -> Option<io::Error> {
        match *self {}
    }
}
