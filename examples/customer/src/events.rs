use std::io::{BufRead, BufReader};
use std::process::ChildStdout;
use std::sync::mpsc;

use serde::Deserialize;

use crate::LIMIT;

/// A message, as the transport `stdout:` prints it.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) topic: String,
    pub(crate) ordering_key: String,
    pub(crate) content_type: String,
    payload: Option<String>,
    payload_hex: Option<String>,
}

impl Event {
    /// A payload is printed as text if it can be read as one.
    pub(crate) fn payload(&self) -> Vec<u8> {
        match (&self.payload, &self.payload_hex) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(digits)) => bytes(digits),
            _ => panic!("an event has one payload: {self:?}"),
        }
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// What a service prints to its standard output: an event per line.
pub(crate) struct Events(mpsc::Receiver<Event>);

impl Events {
    pub(crate) fn of(stdout: ChildStdout) -> Self {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let line = line.unwrap();
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    pub(crate) fn next(&mut self) -> Event {
        self.0.recv_timeout(LIMIT).expect("an event arrives")
    }

    /// How many come until the service has ended.
    pub(crate) fn rest(self) -> usize {
        self.0.iter().count()
    }
}
