use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Result, ensure};

use super::databases::Databases;
use super::dead_letters::{DeadLetter, DeadLetters};
use crate::service::{billing, orders};

/// What an order should have gone through, as the service `orders` has learned it.
const SEQUENCE: &str = "placed → billed → shipped";

/// What the databases and the dead letters say, as it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// Who has placed each order.
    pub(super) orders: BTreeMap<i64, String>,
    /// What happened to each order, in the order in which it was learned.
    pub(super) history: BTreeMap<i64, String>,
    /// Bills of each order.
    pub(super) bills: BTreeMap<i64, i64>,
    /// Shipments of each order.
    pub(super) shipments: BTreeMap<i64, i64>,
    /// Shipments that were learned before the bill.
    pub(super) early: i64,
    pub(super) dead_letters: Vec<DeadLetter>,
}

/// What follows from it.
#[derive(Debug, Default)]
pub(super) struct Proof {
    placed: usize,
    billed_once: usize,
    shipped_once: usize,
    in_sequence: usize,
    early: i64,
    dead_letters: Vec<DeadLetter>,
    /// Each of them is a broken promise.
    wrong: Vec<String>,
}

impl Proof {
    pub(super) async fn of(databases: &Databases, dead_letters: &DeadLetters) -> Result<Self> {
        let Databases { orders, billing, shipping, .. } = databases;
        let placed = sqlx::query_as("SELECT id, customer FROM orders").fetch_all(orders).await?;
        let history = "SELECT order_id, string_agg(event, ' → ' ORDER BY seq) FROM history GROUP BY order_id";
        let history = sqlx::query_as(history).fetch_all(orders).await?;
        let bills = "SELECT order_id, count(*) FROM bills GROUP BY order_id";
        let bills = sqlx::query_as(bills).fetch_all(billing).await?;
        let shipments = "SELECT order_id, count(*) FROM shipments GROUP BY order_id";
        let shipments = sqlx::query_as(shipments).fetch_all(shipping).await?;
        let early = "SELECT count(*) FROM early_shipments";
        let early = sqlx::query_scalar(early).fetch_one(orders).await?;
        Ok(Self::from(&Facts {
            orders: placed.into_iter().collect(),
            history: history.into_iter().collect(),
            bills: bills.into_iter().collect(),
            shipments: shipments.into_iter().collect(),
            early,
            dead_letters: dead_letters.all(),
        }))
    }

    fn from(facts: &Facts) -> Self {
        let mut proof = Self {
            placed: facts.orders.len(),
            early: facts.early,
            dead_letters: facts.dead_letters.clone(),
            ..Self::default()
        };
        let dead = |order| {
            let letter = facts.dead_letters.iter().find(|letter| letter.order == Some(order));
            letter.map(|letter| letter.service)
        };
        for (&order, customer) in &facts.orders {
            let bills = facts.bills.get(&order).copied().unwrap_or(0);
            let shipments = facts.shipments.get(&order).copied().unwrap_or(0);
            let history = facts.history.get(&order).map_or("nothing", String::as_str);
            proof.billed_once += usize::from(bills == 1);
            proof.shipped_once += usize::from(shipments == 1);
            proof.in_sequence += usize::from(history == SEQUENCE);
            let found = (bills, shipments, history, dead(order));
            let expected = match customer.as_str() {
                orders::BROKE => (0, 0, "placed", Some(billing::NAME)),
                _ => (1, 1, SEQUENCE, None),
            };
            if found != expected {
                proof.wrong.push(format!(
                    "order {order} of {customer}: {bills} bills, {shipments} shipments, history {history}, dead \
                     letter of {}",
                    found.3.unwrap_or("nobody")
                ));
            }
        }
        let all = facts.history.keys().chain(facts.bills.keys()).chain(facts.shipments.keys());
        let nobodys: BTreeSet<_> = all.filter(|order| !facts.orders.contains_key(order)).collect();
        proof.wrong.extend(nobodys.iter().map(|order| format!("order {order} was never placed")));
        let strange = facts.dead_letters.iter().filter(|letter| letter.order.is_none());
        proof.wrong.extend(strange.map(|letter| format!("a dead letter of no order: {letter}")));
        proof
    }

    /// An error, and so an exit code other than 0, if a promise was broken.
    pub(super) fn verdict(&self) -> Result<()> {
        ensure!(self.placed > 0, "nothing was tested: there are no orders");
        let wrong = &self.wrong;
        let first = wrong.iter().take(10).map(|line| format!("\n  {line}")).collect::<String>();
        ensure!(wrong.is_empty(), "the proof fails for {} orders:{first}", wrong.len());
        Ok(())
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in [
            ("orders placed", self.placed),
            ("billed exactly once", self.billed_once),
            ("shipped exactly once", self.shipped_once),
            (SEQUENCE, self.in_sequence),
        ] {
            writeln!(f, "{what:<28}{count:>7}")?;
        }
        writeln!(f, "{:<28}{:>7}", "  learned in another order", self.early)?;
        writeln!(f, "{:<28}{:>7}", "dead letters", self.dead_letters.len())?;
        self.dead_letters.iter().try_for_each(|letter| writeln!(f, "  {letter}"))
    }
}

impl fmt::Display for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, event, order, reason } = self;
        let order = order.map_or_else(|| "no order".to_owned(), |order| format!("order {order}"));
        write!(f, "{service}, {event} of {order}: {reason}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two orders that went well, and one that could not be billed.
    fn facts() -> Facts {
        let map = |orders: &[i64]| orders.iter().map(|order| (*order, 1)).collect();
        let history = [(1, SEQUENCE), (2, SEQUENCE), (3, "placed")];
        Facts {
            orders: [(1, "ada"), (2, "zoë"), (3, orders::BROKE)].map(|(id, who)| (id, who.to_owned())).into(),
            history: history.map(|(id, history)| (id, history.to_owned())).into(),
            bills: map(&[1, 2]),
            shipments: map(&[1, 2]),
            early: 0,
            dead_letters: vec![letter(3, billing::NAME)],
        }
    }

    fn letter(order: i64, service: &'static str) -> DeadLetter {
        let (event, reason) = ("OrderPlaced".to_owned(), "declined".to_owned());
        DeadLetter { service, event, order: Some(order), reason }
    }

    fn set<V>(of: &mut BTreeMap<i64, V>, order: i64, value: impl Into<V>) {
        of.insert(order, value.into());
    }

    #[test]
    fn what_went_well_is_proved() {
        let proof = Proof::from(&facts());
        proof.verdict().unwrap();
        assert_eq!((proof.placed, proof.billed_once, proof.shipped_once, proof.in_sequence), (3, 2, 2, 2));
        let early = Proof::from(&Facts { early: 1, ..facts() });
        assert!(early.verdict().is_ok());
        assert!(
            early.to_string().lines().any(|line| line.starts_with("  learned in") && line.ends_with(" 1"))
        );
        assert!(proof.to_string().ends_with("  billing, OrderPlaced of order 3: declined\n"), "{proof}");
    }

    #[test]
    fn whatever_goes_wrong_is_found() {
        type Change = fn(&mut Facts);
        let changes: [(&str, Change); 11] = [
            ("nothing was placed", |facts| *facts = Facts::default()),
            ("billed twice", |facts| set(&mut facts.bills, 1, 2)),
            ("never billed", |facts| set(&mut facts.bills, 1, 0)),
            ("billed without an order", |facts| set(&mut facts.bills, 4, 1)),
            ("billed and given up", |facts| set(&mut facts.bills, 3, 1)),
            ("shipped twice", |facts| set(&mut facts.shipments, 1, 2)),
            ("never shipped", |facts| set(&mut facts.shipments, 1, 0)),
            ("out of sequence", |facts| set(&mut facts.history, 1, "placed → shipped → billed")),
            ("learned twice", |facts| set(&mut facts.history, 2, "placed → billed → billed → shipped")),
            ("no dead letter", |facts| facts.dead_letters.clear()),
            ("given up after it went well", |facts| facts.dead_letters.push(letter(1, billing::NAME))),
        ];
        for (what, change) in changes {
            let mut facts = facts();
            change(&mut facts);
            assert!(Proof::from(&facts).verdict().is_err(), "{what}");
        }
    }
}
