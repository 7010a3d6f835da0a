//! What a transaction with messages costs on the wire (PostgreSQL).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outbox_conformance::run_case;
use outbox_core::OutboxMessage;
use sqlx::Postgres;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::Fixture;
use crate::writer::message;

/// The server says `ReadyForQuery` at the end of each round trip.
const READY: u8 = b'Z';

/// Lets everything through, and counts round trips.
async fn counted(options: PgConnectOptions, count: Arc<AtomicUsize>) -> PgConnectOptions {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = (options.get_host().to_owned(), options.get_port());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut head = [0; 5];
                while from_server.read_exact(&mut head).await.is_ok() {
                    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                    let mut body = vec![0; length - 4];
                    from_server.read_exact(&mut body).await.unwrap();
                    if head[0] == READY {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    if to_client.write_all(&[&head[..], &body].concat()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    // Its answer to the question for TLS would be no message.
    options.host("127.0.0.1").port(port).ssl_mode(PgSslMode::Disable)
}

/// A hundred messages cost as much as one: a single round trip beside those of the transaction. Also the writer's, and
/// without messages it is the check that nothing was rolled back.
#[test]
fn a_hundred_messages_cost_one_round_trip() {
    run_case::<Fixture<Postgres>, _, _>(|fixture| async move {
        let count = Arc::new(AtomicUsize::new(0));
        let options = (*fixture.pool.connect_options()).clone();
        let options = counted(options, Arc::clone(&count)).await;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .unwrap();
        let hundred: Vec<OutboxMessage> = (0..100).map(|_| message()).collect();

        let plain = async |messages: &[OutboxMessage]| {
            let mut tx = pool.begin().await.unwrap();
            sqlx::query("SELECT 1").execute(&mut *tx).await.unwrap();
            fixture.writer.enqueue_all(&mut tx, messages).await.unwrap();
            tx.commit().await.unwrap();
        };
        let ours = async |messages: &[OutboxMessage]| {
            let mut tx = fixture.writer.begin(&pool).await.unwrap();
            sqlx::query("SELECT 1").execute(&mut *tx).await.unwrap();
            messages.iter().for_each(|message| tx.add(message.clone()));
            tx.commit().await.unwrap();
        };
        // The first of each prepares its statements. A connection that comes back to its pool is asked whether it lives;
        // that is counted in all of them.
        while pool.num_idle() == 0 {
            tokio::task::yield_now().await;
        }
        let mut costs = Vec::new();
        for round in 0..2 {
            for messages in [&hundred[..0], &hundred[..1], &hundred[..]] {
                for scope in [false, true] {
                    let before = count.load(Ordering::Relaxed);
                    if scope {
                        ours(messages).await
                    } else {
                        plain(messages).await
                    }
                    // It is asked in the background, and comes back after that.
                    while pool.num_idle() == 0 {
                        tokio::task::yield_now().await;
                    }
                    if round == 1 {
                        costs.push((messages.len(), scope, count.load(Ordering::Relaxed) - before));
                    }
                }
            }
        }
        let nothing = costs[0].2;
        let expected = [
            (0, false, nothing),
            (0, true, nothing + 1),
            (1, false, nothing + 1),
            (1, true, nothing + 1),
            (100, false, nothing + 1),
            (100, true, nothing + 1),
        ];
        assert_eq!(costs, expected, "messages, with a scope, round trips");
        pool.close().await;
    });
}
