use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;

use crate::LIMIT;
use crate::events::Events;

/// A service as a process of its own; it dies with the test.
pub(crate) struct Service {
    process: Child,
    address: String,
}

impl Service {
    /// Returns once it serves.
    pub(crate) fn start(program: &str, database_url: &str) -> (Self, Events) {
        let mut process = outbox_conformance::program(program)
            .env("DATABASE_URL", database_url)
            .env("LISTEN", "127.0.0.1:0")
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let events = Events::of(process.stdout.take().unwrap());
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut service = Self { process, address: String::new() };
        service.address = address(&mut log);
        // A pipe that nobody empties would block the service.
        thread::spawn(move || log.for_each(drop));
        (service, events)
    }

    /// The status and the body of its answer.
    pub(crate) fn post(&self, body: &str) -> (u16, String) {
        ask(&self.address, "POST", "/orders", body)
    }

    /// Asks it to end, as `docker stop` and Kubernetes do, and sees that it ends well.
    pub(crate) fn terminate(&mut self) {
        let killed = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(killed.success());
        assert!(self.process.wait().unwrap().success(), "SIGTERM ends it with 0");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks whoever serves at this address, with a body of JSON or none: the status and the body of the answer.
///
/// # Panics
///
/// If there is no answer within half a minute.
#[must_use]
pub fn ask(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Where it serves, as it says in its log.
fn address(log: &mut Lines<BufReader<ChildStderr>>) -> String {
    let mut seen = String::new();
    for line in log {
        let line = line.unwrap();
        if let Some((_, rest)) = line.split_once("serving at http://") {
            return rest.trim_end_matches("/orders").to_owned();
        }
        seen = format!("{seen}{line}\n");
    }
    panic!("the service has ended:\n{seen}");
}
