use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::{Value, json};

/// The platform as a process of its own; it dies with the test.
pub(crate) struct Process {
    child: Child,
    address: String,
}

impl Process {
    /// Returns once it serves.
    pub(crate) fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = outbox_conformance::program(env!("CARGO_BIN_EXE_deal-platform"));
        // No configuration file that happens to lie where the tests run.
        command.current_dir(std::env::temp_dir()).env("LISTEN", "127.0.0.1:0").env("NO_COLOR", "1");
        command.envs(variables.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut process = Self { child, address: String::new() };
        let mut seen = String::new();
        process.address = loop {
            let Some(line) = log.next() else { panic!("the platform has ended:\n{seen}") };
            let line = line.unwrap();
            if let Some((_, address)) = line.split_once("serving at http://") {
                break address.trim().to_owned();
            }
            seen = format!("{seen}{line}\n");
        };
        // A pipe that nobody empties would block it.
        thread::spawn(move || log.for_each(drop));
        process
    }

    pub(crate) fn close(&self, customer: &str, amount: i64) -> Value {
        let (status, body) =
            self.ask("POST", "/deals", &json!({ "customer": customer, "amount": amount }).to_string());
        assert_eq!(status, 201, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Which way the quote took.
    pub(crate) fn quote(&self, symbol: &str, price: i64) -> String {
        let (status, body) =
            self.ask("POST", "/quotes", &json!({ "symbol": symbol, "price": price }).to_string());
        assert_eq!(status, 202, "{body}");
        body
    }

    pub(crate) fn start_relay(&self) -> String {
        let (status, body) = self.ask("POST", "/relay", "");
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(crate) fn figures(&self) -> Value {
        serde_json::from_str(&self.ask("GET", "/figures", "").1).unwrap()
    }

    pub(crate) fn figure(&self, name: &str) -> i64 {
        self.figures()[name].as_i64().unwrap()
    }

    /// The checks of its readiness.
    pub(crate) fn checks(&self) -> Vec<String> {
        let readiness: Value = serde_json::from_str(&self.ask("GET", "/readyz", "").1).unwrap();
        let checks = readiness["checks"].as_array().unwrap();
        checks.iter().map(|check| check["name"].as_str().unwrap().to_owned()).collect()
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        customer::ask(&self.address, method, path, body)
    }

    /// Ends it as `docker stop` and Kubernetes do, and sees that it ends well.
    pub(crate) fn terminate(mut self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert!(self.child.wait().unwrap().success(), "SIGTERM ends it with 0");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
