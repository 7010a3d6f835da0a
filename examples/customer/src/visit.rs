use std::thread;

use outbox_conformance::started;

use crate::database::Database;
use crate::events::Events;
use crate::service::Service;
use crate::{Order, Shop, json};

const CUSTOMERS: [&str; 3] = ["ada", "grace", "zoë"];
const ORDERS_EACH: i64 = 7;

/// Starts the service on a fresh database and orders: all customers at once, each one order after the other. Every
/// order that was answered is in the table and among the events, once, and the events of a customer are in their order.
/// What was refused is in neither. SIGTERM ends the service with nothing left to do.
///
/// Without a database server it is a printed skip, or a failure where `OUTBOX_REQUIRE_SERVICES=1` says that there is one.
///
/// # Panics
///
/// If the service breaks a promise.
pub fn visit(shop: &Shop) {
    let Some(database) = started(shop.server.name, Database::create(&shop.server)) else {
        return;
    };
    let (mut service, mut events) = Service::start(shop.program, &database.url());
    let (status, body) = service.post("{}");
    assert!((400..500).contains(&status), "an order without a customer is refused: {status} {body}");
    // The row can be written, the event can not: its ordering key would be too long.
    let (status, body) = service.post(&format!(r#"{{"customer": "{}", "total": 1}}"#, "x".repeat(600)));
    assert_eq!((status, body.as_str()), (500, "try again later\n"), "without its event there is no order");

    let placed = order_all(&service);
    let published: Vec<Order> = placed.iter().flatten().map(|_| read(shop, &mut events)).collect();
    for orders in &placed {
        let of_customer = published.iter().filter(|event| event.customer == orders[0].customer);
        assert!(of_customer.eq(orders), "{orders:?} were published as {published:?}");
    }
    let mut placed = placed.concat();
    placed.sort();
    let tables = shop.tables;
    let rows = database.orders(&format!("SELECT id, customer, total FROM {tables}orders ORDER BY id"));
    assert_eq!(rows, placed, "the table is the truth");

    service.terminate();
    assert_eq!(events.rest(), 0, "nothing is published twice, and nothing of what was refused");
    let waiting = database.count(&format!("SELECT count(*) FROM {tables}outbox_messages"));
    assert_eq!(waiting, 0, "what is published is gone from the outbox");
    let held = database.count(&format!("SELECT count(*) FROM {tables}outbox_shards WHERE owner IS NOT NULL"));
    assert_eq!(held, 0, "its shards are free for the next one");
}

/// The orders of each customer, as they were answered.
fn order_all(service: &Service) -> Vec<Vec<Order>> {
    thread::scope(|scope| {
        let customers = CUSTOMERS.map(|customer| scope.spawn(move || order(service, customer)));
        customers.map(|customer| customer.join().unwrap()).into()
    })
}

fn order(service: &Service, customer: &str) -> Vec<Order> {
    (1..=ORDERS_EACH)
        .map(|number| {
            // From 50 to 350: in a binary format some of them are text by chance, others are not.
            let total = number * 50;
            let (status, body) = service.post(&format!(r#"{{"customer": "{customer}", "total": {total}}}"#));
            assert_eq!(status, 201, "{body}");
            let placed = json(body.as_bytes());
            assert_eq!((placed.customer.as_str(), placed.total), (customer, total));
            placed
        })
        .collect()
}

fn read(shop: &Shop, events: &mut Events) -> Order {
    let event = events.next();
    assert_eq!(event.topic, "orders.placed");
    assert_eq!(event.content_type, shop.content_type);
    let order = (shop.decode)(&event.payload());
    assert_eq!(event.ordering_key, order.customer);
    order
}
