use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::Value;

use crate::shell::{Running, Shell, eventually};

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// The address that a line of the log names.
fn address(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("127.0.0.1:").unwrap_or_else(|| panic!("no address in {line}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    SocketAddr::from(([127, 0, 0, 1], digits.parse().unwrap()))
}

#[test]
fn a_relay_serves_its_metrics_and_health_where_it_is_told() {
    let shell = Shell::migrated();
    let url = shell.url();
    let arguments = ["--store", &url, "relay", "--transport", "memory:", "--metrics-listen", "127.0.0.1:0"];
    let relay = Running::start(shell.command(&arguments));
    let lines = relay.logged("serving metrics and health");
    let address = address(lines.last().unwrap());
    shell.insert(1, "orders.placed", "a");
    let published = "outbox_published_total{path=\"relayed\",transport=\"memory\",topic=\"orders.placed\"} 1";
    eventually("the message is counted", || get(address, "/metrics").1.lines().any(|line| line == published));
    eventually("it is ready", || get(address, "/readyz").0.contains("200"));
    let readiness: Value = serde_json::from_str(&get(address, "/readyz").1).unwrap();
    let names: Vec<_> = readiness["checks"].as_array().unwrap().iter().map(|check| &check["name"]).collect();
    assert_eq!(names, ["database", "schema", "relay", "relay's database", "leases", "broker memory"]);
    assert!(get(address, "/healthz").0.contains("200"));
    relay.signal("-TERM");
    relay.end().succeeds();
    assert!(TcpStream::connect(address).is_err(), "it is gone with the relay");
}

#[test]
fn an_address_that_is_taken_is_an_error_and_leaves_no_lease() {
    let shell = Shell::migrated();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = shell.on_store(&["relay", "--transport", "memory:", "--metrics-listen", &address]).ends_with(1);
    assert!(ran.stderr.contains(&format!("listening at {address}")), "{}", ran.stderr);
    let status = shell.on_store(&["status", "--json"]).json();
    assert_eq!(status["shards"][0]["owner"], Value::Null, "{status}");
    let wrong = shell.on_store(&["relay", "--transport", "memory:", "--metrics-listen", "9464"]).ends_with(2);
    assert!(wrong.stderr.contains("--metrics-listen"), "{}", wrong.stderr);
}
