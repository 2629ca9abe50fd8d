//! The program `spreadctl`, each of its commands as a process.

mod admin;
mod bench;
mod chat;
mod doctor;
mod errors;
mod publish;
mod request;
mod sub;
mod support;
