use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What `/metrics` says at a moment.
#[derive(Debug, Clone, Default)]
pub struct Scrape {
    text: String,
}

impl Scrape {
    /// Asks, as Prometheus does.
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn of(address: SocketAddr) -> Result<Self> {
        let exchange = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: scrape\r\nconnection: close\r\n\r\n").await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            anyhow::Ok(text)
        };
        let text = tokio::time::timeout(Duration::from_secs(10), exchange).await.context("/metrics")??;
        Ok(Self { text })
    }

    /// The sum of a counter, over all of its series that have these labels, written as they stand there.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let samples = self.text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_told_apart_and_added_up() {
        let text = "# TYPE a_total counter\n\
                    a_total{path=\"direct\",topic=\"x\"} 3\na_total{path=\"direct\",topic=\"y\"} 4\n\
                    a_total{path=\"relayed\",topic=\"x\"} 5\na_total_more 9\nb_total 7\n";
        let scrape = Scrape { text: text.to_owned() };
        assert_eq!(scrape.sum("a_total", &["path=\"direct\""]), 7);
        assert_eq!(scrape.sum("a_total", &[]), 12);
        assert_eq!((scrape.sum("b_total", &[]), scrape.sum("c_total", &[])), (7, 0));
    }
}
