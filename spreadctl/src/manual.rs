//! `completions` and `man`, which are made from the command line itself.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::failure::{Failure, Result};
use crate::options::Options;
use crate::output::Output;

pub(crate) fn completions(shell: Shell) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Options::command(), "spreadctl", &mut script);
    print(&script)
}

/// Prints the page of the program, or writes the pages of all commands into a directory.
pub(crate) fn man(dir: Option<&Path>) -> Result {
    match dir {
        Some(dir) => {
            let pages = clap_mangen::generate_to(Options::command(), dir);
            pages.map_err(|error| {
                Failure::io(format_args!("cannot write to {}", dir.display()), &error).into()
            })
        }
        None => {
            let mut page = Vec::new();
            let rendered = Man::new(Options::command()).render(&mut page);
            rendered.map_err(|error| Failure::io("cannot make the page", &error))?;
            print(&page)
        }
    }
}

fn print(text: &[u8]) -> Result {
    let mut output = Output::new();
    output.bytes(text)?;
    output.flush()
}
