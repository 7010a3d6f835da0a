//! How a user tests a process: calls it and looks at the list. No runtime, no engine, no mock.

use std::borrow::Cow;
use std::collections::BTreeMap;

use outbox_core::{Event, Json, MessageError, OutboxMessage};
use outbox_memory::{Engine, Process, Step};
use serde::Serialize;

#[derive(Debug, Clone, Default, PartialEq)]
struct Stock {
    left: BTreeMap<&'static str, u32>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Reserved {
    article: &'static str,
    left: u32,
}

impl Event for Reserved {
    const TOPIC: &'static str = "stock.reserved";
    type Codec = Json;

    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        Some(self.article.into())
    }
}

#[derive(Debug, PartialEq, Serialize)]
struct RunOut {
    article: &'static str,
}

impl Event for RunOut {
    const TOPIC: &'static str = "stock.run-out";
    type Codec = Json;
}

#[derive(Debug, PartialEq, thiserror::Error)]
enum StockError {
    #[error("there is no {0}")]
    NoneLeft(&'static str),
    #[error("{0}")]
    Message(String),
}

impl From<MessageError> for StockError {
    fn from(error: MessageError) -> Self {
        Self::Message(error.to_string())
    }
}

/// Takes one of an article out of the stock, and tells how many are left.
fn reserve(article: &'static str) -> impl Process<Stock, Output = u32, Error = StockError> {
    move |stock: &Stock| {
        let mut stock = stock.clone();
        let left = stock.left.get_mut(article).filter(|left| **left > 0);
        let left = left.ok_or(StockError::NoneLeft(article))?;
        *left -= 1;
        let left = *left;
        let run_out = (left == 0).then_some(RunOut { article });
        Ok(Step::new(stock).emit(Reserved { article, left })?.emit_all(run_out)?.returning(left))
    }
}

fn stock(left: u32) -> Stock {
    Stock { left: [("chair", left)].into() }
}

#[test]
fn a_test_asserts_on_the_returned_list() {
    let step = reserve("chair").decide(&stock(2)).unwrap();
    assert_eq!((step.state, step.output), (stock(1), 1));
    let step = reserve("chair").decide(&stock(2)).unwrap();
    assert_eq!(step.emitted::<Reserved>(), [&Reserved { article: "chair", left: 1 }]);
    assert!(step.emitted::<RunOut>().is_empty());
}

#[test]
fn events_of_several_types_keep_their_order() {
    let mut step = reserve("chair").decide(&stock(1)).unwrap();
    assert_eq!(step.emitted::<Reserved>(), [&Reserved { article: "chair", left: 0 }]);
    assert_eq!(step.emitted::<RunOut>(), [&RunOut { article: "chair" }]);
    let topics = |messages: &[OutboxMessage]| -> Vec<String> {
        messages.iter().map(|message| message.topic().as_str().to_owned()).collect()
    };
    assert_eq!(topics(step.messages()), ["stock.reserved", "stock.run-out"]);
    let first = &step.messages()[0];
    assert_eq!(first.ordering_key().unwrap().as_str(), "chair");
    assert_eq!(first.payload().as_ref(), br#"{"article":"chair","left":0}"#);
    assert_eq!(topics(&step.drain()), ["stock.reserved", "stock.run-out"]);
    assert!(step.messages().is_empty() && step.emitted::<RunOut>().is_empty());
}

#[test]
fn a_refusal_is_the_process_s_own_error() {
    assert_eq!(reserve("chair").decide(&stock(0)).unwrap_err(), StockError::NoneLeft("chair"));
    assert_eq!(reserve("table").decide(&stock(7)).unwrap_err(), StockError::NoneLeft("table"));
}

#[test]
fn an_event_out_of_its_limits_is_refused_by_the_process() {
    let long: &'static str = String::leak("x".repeat(10_000));
    let error = reserve(long).decide(&Stock { left: [(long, 1)].into() }).unwrap_err();
    assert!(error.to_string().starts_with("ordering_key has 10000 bytes"), "{error}");
}

/// A process that is a type of its own, with its own tests.
struct Refill(u32);

impl Process<Stock> for Refill {
    type Output = ();
    type Error = std::convert::Infallible;

    fn decide(&self, stock: &Stock) -> Result<Step<Stock>, Self::Error> {
        let left = stock.left.iter().map(|(article, left)| (*article, left + self.0)).collect();
        Ok(Step::new(Stock { left }))
    }
}

#[tokio::test]
async fn types_and_functions_run_as_closures_do() {
    fn two_chairs(_: &Stock) -> Step<Stock> {
        Step::new(stock(2))
    }
    let engine: Engine<String, Stock> = Engine::new();
    engine.run("hall", two_chairs).await.unwrap();
    engine.run("hall", Refill(3)).await.unwrap();
    assert_eq!(engine.run("hall", reserve("chair")).await.unwrap().output, 4);
    assert_eq!(engine.state("hall").left["chair"], 4);
}
