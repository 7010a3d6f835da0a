//! Hints from one process to the relays of others.

use std::time::Duration;

use outbox_conformance::transport_suite::BrokerProcess as _;
use outbox_core::Wakeup as _;
use outbox_redis::{RedisConfig, RedisNotifier, RedisWakeup};
use redis::AsyncCommands as _;
use tokio::time::timeout;

use crate::fixture::{client, on_a_server};

const PATIENCE: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_millis(300);

async fn woken(wakeup: &mut RedisWakeup) {
    timeout(PATIENCE, wakeup.wait()).await.expect("nobody wakes it");
}

async fn asleep(wakeup: &mut RedisWakeup) {
    assert!(timeout(SILENCE, wakeup.wait()).await.is_err(), "nothing was committed");
}

#[tokio::test]
async fn every_relay_is_woken_also_by_a_hint_that_came_before_it_waited() {
    on_a_server(&[], async |_server, url| {
        let config: RedisConfig = url.parse().unwrap();
        let [mut one, mut two, mut other] =
            ["shop", "shop", "billing"].map(|service| RedisWakeup::new(&config, service).unwrap());
        for wakeup in [&mut one, &mut two, &mut other] {
            woken(wakeup).await;
            asleep(wakeup).await;
        }
        let notifier = RedisNotifier::new(&config, "shop").unwrap();
        for _ in 0..5 {
            notifier.notify();
            woken(&mut one).await;
            woken(&mut two).await;
            asleep(&mut one).await;
            asleep(&mut two).await;
        }
        for _ in 0..100 {
            notifier.notify();
        }
        woken(&mut one).await;
        asleep(&mut other).await;
        let stored: usize = client(&url).await.unwrap().xlen("outbox:wake:shop").await.unwrap();
        assert_eq!(stored, 1);
        assert!(RedisWakeup::new(&config, "a b").is_err());
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_wakes_once_and_is_repaired() {
    on_a_server(&[], async |server, url| {
        let config: RedisConfig = url.parse().unwrap();
        let mut wakeup = RedisWakeup::new(&config, "shop").unwrap();
        let notifier = RedisNotifier::new(&config, "shop").unwrap();
        woken(&mut wakeup).await;
        notifier.notify();
        woken(&mut wakeup).await;
        server.kill().await;
        asleep(&mut wakeup).await;
        server.start().await;
        woken(&mut wakeup).await;
        asleep(&mut wakeup).await;
        notifier.notify();
        woken(&mut wakeup).await;
    })
    .await;
}
