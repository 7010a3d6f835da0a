//! The pages of `docs` say what the program does: their commands run, their metrics, alerts, keys and variables exist.

mod page;

mod commands;
mod names;
mod runbook;
