//! What is special about JetStream: its streams, its limits, its permissions.

use std::future::Future;
use std::net::TcpListener;
use std::time::Duration;

use async_nats::jetstream::{self, consumer::pull, stream};
use futures_util::{FutureExt, StreamExt};
use outbox_conformance::servers::Server;
use outbox_conformance::transport_suite::BrokerProcess;
use outbox_conformance::{Proxy, started};
use outbox_core::{OutboxMessage, PublishError, PublishErrorKind, Severity, Topic, Transport};
use outbox_nats::NatsTransport;
use tokio::sync::mpsc;

use crate::fixture::{at, client, create_stream, freeze, read_stream, unique};

fn messages(topic: &str, count: usize) -> Vec<OutboxMessage> {
    let message = |n| OutboxMessage::bytes(topic, format!("m{n}")).unwrap().build().unwrap();
    (0..count).map(message).collect()
}

fn kinds(results: &[Result<(), PublishError>]) -> Vec<Option<PublishErrorKind>> {
    results.iter().map(|result| result.as_ref().err().map(PublishError::kind)).collect()
}

/// A server of its own for each case here: they fill streams and count connections.
async fn on_a_server<Fut: Future<Output = ()>>(config: &str, case: impl FnOnce(Server) -> Fut) {
    if let Some(server) = started("nats-server", Server::nats(Some(config)).await) {
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, case(server)).await.expect("the case did not end in a minute");
    }
}

const JETSTREAM: &str = "jetstream: { store_dir: \"$DIR\" }";

async fn transport(url: &str) -> NatsTransport {
    NatsTransport::connect(url).await.unwrap()
}

async fn stream_with(jetstream: &jetstream::Context, name: &str, change: impl FnOnce(&mut stream::Config)) {
    let mut config = stream::Config {
        name: name.to_owned(),
        subjects: vec![format!("{name}.>")],
        ..stream::Config::default()
    };
    change(&mut config);
    jetstream.create_stream(config).await.unwrap();
}

#[tokio::test]
async fn the_stream_of_the_url_is_created_and_then_left_alone() {
    on_a_server(JETSTREAM, async |server| {
        let url = format!(
            "{}?stream=ORDERS&create=true&subjects=orders.>,billing.*&duplicate_window=10min",
            at(server.port())
        );
        // Lazily: no connection before the first message.
        let nats = NatsTransport::new(url.parse().unwrap()).unwrap();
        let batch = [messages("orders.a.b", 1), messages("billing.x", 1)].concat();
        assert_eq!(kinds(&nats.publish(&batch).await), [None, None]);
        assert_eq!(nats.capabilities().dedup_window, Some(Duration::from_secs(600)));
        let js = client(&at(server.port())).await.unwrap();
        let config = js.get_stream("ORDERS").await.unwrap().cached_info().config.clone();
        assert_eq!(config.subjects, ["orders.>", "billing.*"]);
        assert_eq!((config.storage, config.discard), (stream::StorageType::File, stream::DiscardPolicy::New));
        let other =
            transport(&format!("{}?stream=ORDERS&create=true&subjects=other", at(server.port()))).await;
        other.check().await.unwrap();
        let kept = js.get_stream("ORDERS").await.unwrap().cached_info().config.clone();
        assert_eq!(kept.subjects, ["orders.>", "billing.*"]);
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_deleted_is_created_again_by_the_next_call() {
    on_a_server(JETSTREAM, async |server| {
        let url = format!("{}?stream=ORDERS&create=true&subjects=orders", at(server.port()));
        let nats = transport(&url).await;
        let js = client(&at(server.port())).await.unwrap();
        assert_eq!(kinds(&nats.publish(&messages("orders", 1)).await), [None]);
        js.delete_stream("ORDERS").await.unwrap();
        let batch = messages("orders", 2);
        assert_eq!(kinds(&nats.publish(&batch).await), [Some(PublishErrorKind::Retryable); 2]);
        assert_eq!(kinds(&nats.publish(&batch).await), [None; 2]);
        assert_eq!(read_stream(&js, "ORDERS", "orders").await.len(), 2);
        // A topic of no stream at all does not stop those that have one.
        let mixed = [messages("nowhere", 1), messages("orders", 1)].concat();
        for _ in 0..2 {
            assert_eq!(kinds(&nats.publish(&mixed).await), [Some(PublishErrorKind::Retryable), None]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_check_says_what_is_missing() {
    on_a_server(JETSTREAM, async |server| {
        transport(&at(server.port())).await.check().await.unwrap();
        let missing = transport(&format!("{}?stream=GONE", at(server.port()))).await;
        let error = missing.check().await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Retryable);
        assert_eq!(
            error.to_string(),
            "there is no JetStream stream \"GONE\": create it, or let create=true do so"
        );
        let vague = transport(&format!("{}?stream=GONE&create=true", at(server.port()))).await;
        let error = vague.check().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no JetStream stream \"GONE\", and without subjects=… it can't be created"
        );
        let js = client(&at(server.port())).await.unwrap();
        stream_with(&js, "SILENT", |config| config.no_ack = true).await;
        let silent = transport(&format!("{}?stream=SILENT", at(server.port()))).await;
        assert!(silent.check().await.unwrap_err().to_string().contains("no_ack"));
    })
    .await;
}

#[tokio::test]
async fn a_server_without_jetstream_is_retryable_and_says_so() {
    on_a_server("", async |server| {
        let nats = transport(&at(server.port())).await;
        let error = nats.check().await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Retryable);
        assert_eq!(error.to_string(), "JetStream is not enabled on this server or for this account");
        let results = nats.publish(&messages("orders", 3)).await;
        assert_eq!(kinds(&results), [Some(PublishErrorKind::Retryable); 3]);
        let text = results[0].as_ref().unwrap_err().to_string();
        assert!(text.starts_with("no JetStream stream takes subject \"orders\""), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_core_subscriber_is_no_stream() {
    on_a_server(JETSTREAM, async |server| {
        let core = async_nats::connect(at(server.port())).await.unwrap();
        let mut requests = core.subscribe("orders").await.unwrap();
        core.flush().await.unwrap();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                core.publish(request.reply.unwrap(), "{\"thanks\":true}".into()).await.unwrap();
            }
        });
        let results = transport(&at(server.port())).await.publish(&messages("orders", 2)).await;
        assert_eq!(kinds(&results), [Some(PublishErrorKind::Unknown); 2], "{results:?}");
    })
    .await;
}

#[tokio::test]
async fn a_full_stream_is_retryable_and_takes_the_rest_once_there_is_room() {
    on_a_server(JETSTREAM, async |server| {
        let js = client(&at(server.port())).await.unwrap();
        stream_with(&js, "FULL", |config| {
            config.max_messages = 3;
            config.discard = stream::DiscardPolicy::New;
        })
        .await;
        let nats = transport(&format!("{}?stream=FULL", at(server.port()))).await;
        let batch = messages("FULL.x", 5);
        let full = Some(PublishErrorKind::Retryable);
        let results = nats.publish(&batch).await;
        assert_eq!(kinds(&results), [None, None, None, full, full]);
        let text = results[3].as_ref().unwrap_err().to_string();
        assert!(text.contains("maximum messages exceeded"), "{text}");
        js.get_stream("FULL").await.unwrap().purge().await.unwrap();
        assert_eq!(kinds(&nats.publish(&batch[3..]).await), [None, None]);
        assert_eq!(read_stream(&js, "FULL", "FULL.x").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_message_above_the_limit_of_the_stream_is_rejected() {
    on_a_server(JETSTREAM, async |server| {
        let js = client(&at(server.port())).await.unwrap();
        stream_with(&js, "SMALL", |config| config.max_message_size = 1000).await;
        let mut batch = messages("SMALL.x", 2);
        batch.insert(1, OutboxMessage::bytes("SMALL.x", vec![0; 2000]).unwrap().build().unwrap());
        let results = transport(&at(server.port())).await.publish(&batch).await;
        assert_eq!(kinds(&results), [None, Some(PublishErrorKind::Rejected), None], "{results:?}");
    })
    .await;
}

#[tokio::test]
async fn a_subject_without_permission_is_retryable_and_named() {
    let config = "jetstream: { store_dir: \"$DIR\" }
        authorization: { users: [
            { user: admin, password: admin }
            { user: app, password: app, permissions: { publish: { deny: \"ORDERS.Secret\" } } }
        ] }";
    on_a_server(config, async |server| {
        let admin = async_nats::ConnectOptions::with_user_and_password("admin".into(), "admin".into());
        let js = jetstream::new(admin.connect(at(server.port())).await.unwrap());
        create_stream(&js, "ORDERS").await;
        let nats = transport(&format!("nats://app:app@127.0.0.1:{}?publish_timeout=1s", server.port())).await;
        let batch = [messages("ORDERS.open", 1), messages("ORDERS.Secret", 1)].concat();
        let results = nats.publish(&batch).await;
        assert_eq!(kinds(&results), [None, Some(PublishErrorKind::Retryable)], "{results:?}");
        let wrong = transport(&format!("nats://app:c4nary@127.0.0.1:{}", server.port())).await;
        let error = wrong.publish(&batch).await.remove(0).unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Unavailable);
        assert!(error.to_string().contains("authorization violation"), "{error}");
        assert!(!format!("{error:?}").contains("c4nary"));
    })
    .await;
}

#[tokio::test]
async fn a_message_whose_confirmation_was_cut_is_published_once() {
    on_a_server(JETSTREAM, async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "CUT").await;
        let proxy = Proxy::to(server.port()).await;
        let nats = transport(&format!("{}?stream=CUT", at(proxy.port()))).await;
        for round in 0..5 {
            let batch = messages("CUT.x", 20);
            proxy.cut_answers(true);
            let results = nats.publish(&batch).await;
            assert_eq!(kinds(&results), [Some(PublishErrorKind::Unknown); 20], "round {round}: {results:?}");
            nats.reset().await;
            proxy.cut_answers(false);
            assert_eq!(kinds(&nats.publish(&batch).await), [None; 20]);
            assert_eq!(read_stream(&js, "CUT", "CUT.x").await.len(), 20 * (round + 1));
        }
    })
    .await;
}

#[tokio::test]
async fn no_connection_outlives_its_reset_or_its_transport() {
    on_a_server(JETSTREAM, async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "LEFT").await;
        let proxy = Proxy::to(server.port()).await;
        for _ in 0..10 {
            let nats = transport(&at(proxy.port())).await;
            proxy.has_open(1).await;
            let batch = messages("LEFT.x", 10);
            assert!(nats.publish(&batch).now_or_never().is_none());
            nats.reset().await;
            proxy.has_open(0).await;
            assert_eq!(kinds(&nats.publish(&batch).await), [None; 10]);
            // Nothing is unknown now, so there is nothing to cut.
            nats.reset().await;
            proxy.has_open(1).await;
            drop(nats);
            proxy.has_open(0).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_consumer_decodes_what_was_published() {
    on_a_server(JETSTREAM, async |server| {
        let js = client(&at(server.port())).await.unwrap();
        let name = unique();
        create_stream(&js, &name).await;
        let topic = format!("{name}.orders");
        let message = OutboxMessage::json(&topic, &["x"])
            .unwrap()
            .ordering_key("order-7")
            .event_type("OrderPlaced")
            .schema_version(2)
            .aggregate("order", 7)
            .correlation_id("c-1")
            .header("tenant", " acme ")
            .build()
            .unwrap();
        let nats = transport(&at(server.port())).await;
        assert_eq!(kinds(&nats.publish(std::slice::from_ref(&message)).await), [None]);
        let consumer =
            js.get_stream(&name).await.unwrap().create_consumer(pull::Config::default()).await.unwrap();
        let delivery =
            consumer.fetch().max_messages(1).messages().await.unwrap().next().await.unwrap().unwrap();
        assert_eq!(outbox_nats::decode(&delivery.message).unwrap(), message);
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_broker_is_no_error_of_the_construction() {
    let nats = transport("nats://127.0.0.1:1").await;
    assert_eq!(kinds(&nats.publish(&messages("x", 2)).await), [Some(PublishErrorKind::Unavailable); 2]);
    let error = nats.check().await.unwrap_err();
    assert!(error.to_string().starts_with("NATS can't be reached at 127.0.0.1:1: "), "{error}");
    assert!(NatsTransport::connect("nats://127.0.0.1:1?timeout=1s").await.is_err());
}

#[tokio::test]
async fn calls_that_queue_behind_a_failing_attempt_share_its_failure() {
    on_a_server(JETSTREAM, async |server| {
        let nats = transport(&format!("{}?connect_timeout=1s&publish_timeout=5s", at(server.port()))).await;
        freeze(&server).await;
        let stuck = messages("x", 1);
        // The connection that there is goes with the reset; a new one finds a server that never greets.
        assert!(nats.publish(&stuck).now_or_never().is_none());
        nats.reset().await;
        let begun = std::time::Instant::now();
        let calls = (0..20).map(|_| nats.publish(&stuck));
        for results in futures_util::future::join_all(calls).await {
            assert_eq!(kinds(&results), [Some(PublishErrorKind::Unavailable)]);
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(4), "20 attempts one after the other: {took:?}");
    })
    .await;
}

#[tokio::test]
async fn a_diagnosis_names_what_is_wrong_and_what_to_do() {
    on_a_server(JETSTREAM, async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "GOOD").await;
        stream_with(&js, "RISKY", |config| {
            config.storage = stream::StorageType::Memory;
            config.duplicate_window = Duration::from_secs(30);
            config.max_messages = 10;
            config.discard = stream::DiscardPolicy::New;
        })
        .await;
        let nats = transport(&format!("{}?stream=GOOD", at(server.port()))).await;
        assert_eq!(kinds(&nats.publish(&messages("RISKY.x", 8)).await), [None; 8]);
        let topics = ["GOOD.x", "RISKY.x", "NOWHERE", "$JS.API.INFO"].map(|t| Topic::new(t).unwrap());
        let findings = nats.diagnose(&topics).await;
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let said = |severity: &str, subject: &str, text: &str| {
            let start = format!("{severity}: {subject}: ");
            let found = lines.iter().filter(|line| line.starts_with(&start)).any(|line| line.contains(text));
            assert!(found, "{start}…{text} is not in {lines:#?}");
        };
        assert!(findings.iter().all(|f| (f.severity == Severity::Ok) == f.remedy.is_none()), "{lines:#?}");
        assert!(lines[0].contains("max_payload 1048576"), "{}", lines[0]);
        said("ok", "stream GOOD", "storage file, 1 of 1 replicas, discard old");
        said("warning", "stream RISKY", "memory only");
        said("warning", "stream RISKY", "second copies for 30s only");
        said("warning", "stream RISKY", "80 % full");
        said("ok", "topic GOOD.x", "stream GOOD takes it");
        said("ok", "topic RISKY.x", "stream RISKY takes it");
        said("error", "topic NOWHERE", "no JetStream stream takes it");
        said("error", "topic $JS.API.INFO", "every message of it is refused");
        let missing = transport(&format!("{}?stream=GONE", at(server.port()))).await;
        let findings = missing.diagnose(&[]).await;
        let gone = findings.iter().find(|finding| finding.subject == "stream GONE").unwrap();
        assert_eq!((gone.severity, gone.detail.as_str()), (Severity::Error, "it does not exist"));
        server.kill().await;
        let findings = nats.diagnose(&topics).await;
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Error), "{findings:?}");
    })
    .await;
}

#[tokio::test]
async fn a_diagnosis_of_a_server_without_jetstream_says_so() {
    on_a_server("", async |server| {
        let nats = transport(&at(server.port())).await;
        let findings = nats.diagnose(&[Topic::new("t").unwrap()]).await;
        assert_eq!(findings.last().unwrap().severity, Severity::Error);
        assert!(findings.last().unwrap().detail.contains("JetStream is not enabled"), "{findings:?}");
    })
    .await;
}

/// Answers as a stream does, but only when it is told to.
struct SlowStream {
    waiting: mpsc::UnboundedReceiver<async_nats::Message>,
    core: async_nats::Client,
}

impl SlowStream {
    async fn on(server: &Server, subject: &'static str) -> Self {
        let core = async_nats::connect(at(server.port())).await.unwrap();
        let mut requests = core.subscribe(subject).await.unwrap();
        core.flush().await.unwrap();
        let (seen, waiting) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let _ = seen.send(request);
            }
        });
        Self { waiting, core }
    }

    async fn next(&mut self) -> async_nats::Message {
        self.waiting.recv().await.unwrap()
    }

    async fn confirm(&self, request: async_nats::Message) {
        let ack = "{\"stream\":\"S\",\"seq\":1}";
        self.core.publish(request.reply.unwrap(), ack.into()).await.unwrap();
    }
}

#[tokio::test]
async fn what_no_stream_answers_for_is_an_outage_unless_the_server_knows_of_no_stream() {
    use PublishErrorKind::{Retryable, Unavailable};

    // Without JetStream nothing is stored, as on a stream without a leader; somebody else answers for its interface.
    on_a_server("", async |server| {
        let mut interface = SlowStream::on(&server, "$JS.API.STREAM.NAMES").await;
        let nats = transport(&format!("{}?publish_timeout=1s", at(server.port()))).await;
        let leaderless = "{\"error\":{\"code\":503,\"err_code\":10008,\"description\":\"no leader\"}}";
        let disabled = "{\"error\":{\"code\":503,\"err_code\":10039,\"description\":\"not enabled\"}}";
        for (answer, kind, text) in [
            (Some("{\"streams\":[\"ORDERS\"]}"), Unavailable, "stream \"ORDERS\" did not answer on subject"),
            (Some(leaderless), Unavailable, "does not say which stream takes subject"),
            (None, Unavailable, "does not say which stream takes subject"),
            (Some("{\"streams\":null}"), Retryable, "no JetStream stream takes subject"),
            (Some(disabled), Retryable, "no JetStream stream takes subject"),
        ] {
            let batch = [messages("orders.a", 3), messages("orders.b", 2)].concat();
            let answered = async {
                // Once for each subject, however many messages it has.
                for _ in 0..2 {
                    let request = interface.next().await;
                    if let Some(answer) = answer {
                        interface.core.publish(request.reply.unwrap(), answer.into()).await.unwrap();
                    }
                }
            };
            let (results, ()) = tokio::join!(nats.publish(&batch), answered);
            assert_eq!(kinds(&results), [Some(kind); 5], "{answer:?}: {results:?}");
            for (result, subject) in
                results.iter().zip([["orders.a"; 3].as_slice(), &["orders.b"; 2]].concat())
            {
                let error = result.as_ref().unwrap_err().to_string();
                assert!(error.contains(&format!("{text} {subject:?}")), "{error}");
            }
        }
        assert!(interface.waiting.try_recv().is_err(), "it was asked more than once");
    })
    .await;
}

#[tokio::test]
async fn a_user_who_may_not_ask_waits_once_and_is_told() {
    let config = "jetstream: { store_dir: \"$DIR\" }
        authorization: { users: [
            { user: app, password: app, permissions: { publish: { deny: \"$JS.API.STREAM.NAMES\" } } }
        ] }";
    on_a_server(config, async |server| {
        let url = format!("nats://app:app@127.0.0.1:{}?publish_timeout=3s", server.port());
        let (nats, batch) = (transport(&url).await, messages("orders", 2));
        for limit in [Duration::from_secs(10), Duration::from_secs(2)] {
            let results = tokio::time::timeout(limit, nats.publish(&batch)).await.expect("it waits");
            assert_eq!(kinds(&results), [Some(PublishErrorKind::Retryable); 2], "{results:?}");
            let text = results[0].as_ref().unwrap_err().to_string();
            assert!(text.contains("$JS.API.STREAM.NAMES"), "{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_check_that_finds_no_leader_is_an_outage() {
    on_a_server("", async |server| {
        let leaderless = "{\"error\":{\"code\":503,\"err_code\":10008,\"description\":\"no leader\"}}";
        for (subject, parameters) in [("$JS.API.INFO", ""), ("$JS.API.STREAM.INFO.ORDERS", "?stream=ORDERS")]
        {
            let mut interface = SlowStream::on(&server, subject).await;
            let nats =
                NatsTransport::new(format!("{}{parameters}", at(server.port())).parse().unwrap()).unwrap();
            let answered = async {
                let request = interface.next().await;
                interface.core.publish(request.reply.unwrap(), leaderless.into()).await.unwrap();
            };
            let (checked, ()) = tokio::join!(nats.check(), answered);
            let error = checked.unwrap_err();
            assert_eq!(error.kind(), PublishErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains("no leader"), "{error}");
        }
    })
    .await;
}

/// Three servers that keep one stream together.
struct Cluster(Vec<Server>);

impl Cluster {
    async fn start() -> Option<Self> {
        // Kept until all are known, so that no port comes twice.
        let free: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = free.iter().map(|port| port.local_addr().unwrap().port()).collect();
        drop(free);
        let routes: Vec<_> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let config = |port: &u16| {
            format!(
                "server_name: n{port}\n {JETSTREAM}\n cluster: {{ name: c, listen: \"127.0.0.1:{port}\", \
                 routes: [{}] }}",
                routes.join(", ")
            )
        };
        let configs: Vec<_> = ports.iter().map(config).collect();
        let servers = configs.iter().map(|config| Server::nats(Some(config)));
        let servers: Option<Vec<_>> = futures_util::future::join_all(servers).await.into_iter().collect();
        servers.map(Self)
    }

    /// Kills all but the first one.
    async fn break_up(&self) {
        for server in &self.0[1..] {
            server.kill().await;
        }
    }
}

async fn kinds_without_an_attempt(
    nats: &NatsTransport,
    batch: &[OutboxMessage],
) -> Vec<Option<PublishErrorKind>> {
    let results = nats.publish(batch).await;
    let kinds = kinds(&results);
    assert!(!kinds.contains(&Some(PublishErrorKind::Retryable)), "{results:?}");
    nats.reset().await;
    kinds
}

#[tokio::test]
async fn a_cluster_without_a_majority_is_an_outage() {
    let Some(cluster) = started("nats-server", Cluster::start().await) else { return };
    let case = async {
        let url = format!(
            "{}?stream=S&create=true&subjects=s&replicas=3&publish_timeout=2s",
            at(cluster.0[0].port())
        );
        let nats = transport(&url).await;
        let batch = messages("s", 3);
        while nats.publish(&batch).await.iter().any(Result::is_err) {
            nats.reset().await;
        }
        cluster.break_up().await;
        // The survivor takes its time to see that it is alone, and its answers change with that.
        let mut refused = 0;
        while refused < 5 {
            let kinds = kinds_without_an_attempt(&nats, &batch).await;
            refused += usize::from(kinds == [Some(PublishErrorKind::Unavailable); 3]);
        }
        for server in &cluster.0[1..] {
            server.start().await;
        }
        while kinds_without_an_attempt(&nats, &batch).await != [None; 3] {}
    };
    tokio::time::timeout(Duration::from_secs(120), case).await.expect("it did not end in two minutes");
}

#[tokio::test]
async fn no_more_than_max_in_flight_wait_for_their_confirmation() {
    on_a_server("", async |server| {
        let mut stream = SlowStream::on(&server, "orders").await;
        let nats = transport(&format!("{}?max_in_flight=7", at(server.port()))).await;
        // Several calls at once, and one that is larger than the window.
        let batches = [messages("orders", 5), messages("orders", 5), messages("orders", 20)];
        let calls = futures_util::future::join_all(batches.iter().map(|batch| nats.publish(batch)));
        let observed = async {
            let (mut left, mut held) = (30, Vec::new());
            while left > 0 {
                // As many as come without a confirmation.
                while let Ok(request) = tokio::time::timeout(Duration::from_millis(100), stream.next()).await
                {
                    held.push(request);
                }
                assert!((1..=7).contains(&held.len()), "{} at once", held.len());
                left -= held.len();
                for request in held.drain(..) {
                    stream.confirm(request).await;
                }
            }
        };
        let (results, ()) = tokio::join!(calls, observed);
        assert_eq!(results.iter().flatten().filter(|result| result.is_ok()).count(), 30);
    })
    .await;
}

#[tokio::test]
async fn raw_has_the_users_headers_and_the_id() {
    on_a_server(JETSTREAM, async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        let keyed = OutboxMessage::bytes("S.x", "p").unwrap().ordering_key("k").header("tenant", "acme");
        let message = keyed.build().unwrap();
        let nats = transport(&format!("{}?envelope=raw", at(server.port()))).await;
        assert_eq!(kinds(&nats.publish(std::slice::from_ref(&message)).await), [None]);
        let found = js.get_stream("S").await.unwrap().get_raw_message(1).await.unwrap();
        let mut headers: Vec<_> =
            found.headers.iter().map(|(name, values)| format!("{name}: {}", values[0])).collect();
        headers.sort();
        assert_eq!(headers, [format!("Nats-Msg-Id: {}", message.id()), "tenant: acme".to_owned()]);
    })
    .await;
}

/// Pages of memory that this process has, where the system tells.
fn resident() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    pages.split(' ').nth(1)?.parse::<usize>().ok().map(|pages| pages * 4096)
}

#[tokio::test]
async fn memory_stays_bounded_while_the_server_takes_nothing() {
    on_a_server(JETSTREAM, async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        let url = format!("{}?publish_timeout=100ms&connect_timeout=100ms", at(server.port()));
        let nats = transport(&url).await;
        freeze(&server).await;
        let round = async || {
            let large = |_| OutboxMessage::bytes("S.x", vec![7; 100_000]).unwrap().build().unwrap();
            let batch: Vec<_> = (0..256).map(large).collect();
            let results = nats.publish(&batch).await;
            assert!(results.iter().all(Result::is_err));
            nats.reset().await;
        };
        for _ in 0..3 {
            round().await;
        }
        let Some(before) = resident() else { return };
        // More than half a gigabyte, of which nothing may be left.
        for _ in 0..25 {
            round().await;
        }
        let grown = resident().unwrap().saturating_sub(before) / 1_000_000;
        assert!(grown < 100, "{grown} MB more than before");
        server.thaw().await;
    })
    .await;
}
