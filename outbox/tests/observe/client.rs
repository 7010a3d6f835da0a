use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a server has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn reasons(&self) -> Vec<String> {
        let json = self.json();
        let reasons = json["reasons"].as_array().unwrap();
        reasons.iter().map(|reason| reason.as_str().unwrap().to_owned()).collect()
    }

    /// The check of this name.
    pub(crate) fn check(&self, name: &str) -> serde_json::Value {
        let json = self.json();
        let checks = json["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {}", self.body)).clone()
    }
}

/// One request, as the simplest client there is makes it.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let text = tokio::time::timeout(Duration::from_secs(10), exchange).await.expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Asks until the answer is as expected.
pub(crate) async fn until(address: SocketAddr, path: &str, expected: impl Fn(&Answer) -> bool) -> Answer {
    let asking = async {
        loop {
            let answer = get(address, path).await;
            if expected(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(30), asking).await {
        Ok(answer) => answer,
        Err(_elapsed) => panic!("never as expected, but {:?}", get(address, path).await),
    }
}
