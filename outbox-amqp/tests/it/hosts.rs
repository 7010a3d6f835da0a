//! A URL with several hosts is of use when the first of them are silent.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lapin::types::FieldTable;
use outbox_amqp::AmqpTransport;
use outbox_conformance::Proxy;
use outbox_core::Transport;
use tokio::net::TcpListener;

use crate::cases::{kinds, messages, port_of, with_a_queue};

/// More than it takes until each host was asked, also where the machine is busy.
const CALLS: usize = 12;

/// A host that takes connections and says nothing; the number of those that it has taken.
async fn silent() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            open.push(stream);
        }
    });
    (port, taken)
}

fn transport(ports: &[u16], name: &str, parameters: &str) -> AmqpTransport {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let url = format!("amqp://guest:guest@{}/%2f?exchange={name}&{parameters}", hosts.join(","));
    AmqpTransport::new(url.parse().unwrap()).unwrap()
}

/// Again and again, as a relay does.
async fn publishes(amqp: &AmqpTransport) -> bool {
    for _ in 0..CALLS {
        if kinds(&amqp.publish(&messages("known.topic", 2)).await) == [None; 2] {
            return true;
        }
        amqp.reset().await;
    }
    false
}

async fn is_found(amqp: &AmqpTransport) -> bool {
    for _ in 0..CALLS {
        if amqp.check().await.is_ok() {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn a_host_behind_silent_ones_is_found() {
    with_a_queue(FieldTable::default(), async |url, name| {
        let broker = port_of(&url);
        let ((one, _), (two, _)) = (silent().await, silent().await);
        let short = "publish_timeout=1s&connect_timeout=600ms";
        // The call ends before the host is given up. Of a batch of two windows, the second has no time left; and of two
        // calls the one that waits.
        let same = "publish_timeout=1s&connect_timeout=1s&channels=2&max_in_flight=2";
        let long = "publish_timeout=1s&connect_timeout=10s";
        for (ports, parameters) in
            [(vec![one, two, broker], short), (vec![one, broker], same), (vec![one, two, broker], long)]
        {
            let amqp = transport(&ports, &name, parameters);
            assert!(is_found(&amqp).await, "check: {parameters}");
            let amqp = transport(&ports, &name, parameters);
            assert!(publishes(&amqp).await, "publish: {parameters}");
            let amqp = transport(&ports, &name, parameters);
            let both = tokio::join!(publishes(&amqp), publishes(&amqp));
            assert_eq!(both, (true, true), "two at once: {parameters}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_host_that_has_worked_is_asked_first() {
    with_a_queue(FieldTable::default(), async |url, name| {
        let (silent, taken) = silent().await;
        let proxy = Proxy::to(port_of(&url)).await;
        let amqp = transport(&[silent, proxy.port()], &name, "connect_timeout=500ms");
        amqp.check().await.unwrap();
        assert_eq!(taken.load(Ordering::SeqCst), 1);
        proxy.reset().await;
        assert!(is_found(&amqp).await);
        assert_eq!(taken.load(Ordering::SeqCst), 1, "the silent one was asked again");
    })
    .await;
}
