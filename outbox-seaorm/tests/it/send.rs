//! A service that is generic over its writer can be spawned: checked by compiling it.

use outbox_core::bytes::Bytes;
use outbox_core::{BoxError, Event, EventCodec, OutboxMessage, OutboxWriter, TransactionPolicy};
use outbox_seaorm::{OutboxTransaction, SeaOrmWriter, TransactionConnection, TransactionError};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, StreamTrait, TransactionTrait,
};

struct Orders<W> {
    db: DatabaseConnection,
    outbox: W,
}

impl<W> Orders<W>
where
    W: OutboxWriter<DatabaseTransaction, Error = DbErr>,
{
    async fn place(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let message = OutboxMessage::bytes("orders.placed", "x")?.build()?;
        let mut txn = self.db.begin().await?;
        self.outbox.enqueue(&mut txn, &message).await?;
        txn.commit().await?;
        Ok(())
    }
}

fn spawn<W>(orders: Orders<W>) -> tokio::task::JoinHandle<bool>
where
    W: OutboxWriter<DatabaseTransaction, Error = DbErr> + 'static,
{
    tokio::spawn(async move { orders.place().await.is_ok() })
}

/// What sea-orm's users pass around: any connection, as long as it is a transaction.
#[allow(dead_code, reason = "compiling it is the test")]
fn spawn_generic<C>(txn: C, outbox: SeaOrmWriter, message: OutboxMessage) -> tokio::task::JoinHandle<bool>
where
    C: TransactionConnection + Send + 'static,
{
    tokio::spawn(async move { outbox.enqueue(&txn, &message).await.is_ok() })
}

struct Placed {
    /// Makes it `Send` and not `Sync`, as many are.
    order: std::cell::Cell<u64>,
}

impl Event for Placed {
    const TOPIC: &'static str = "orders.placed";
    type Codec = Text;
}

struct Text;

impl EventCodec<Placed> for Text {
    const CONTENT_TYPE: &'static str = "text/plain";

    fn encode(event: &Placed) -> Result<Bytes, BoxError> {
        Ok(event.order.get().to_string().into())
    }
}

#[allow(dead_code, reason = "compiling it is the test")]
fn spawn_emit(txn: DatabaseTransaction, outbox: SeaOrmWriter, event: Placed) {
    drop(tokio::spawn(async move { outbox.emit(&txn, &event).await }));
}

/// What repositories take.
async fn insert_by_trait<C: ConnectionTrait>(connection: &C) -> Result<(), DbErr> {
    connection.execute_unprepared("INSERT INTO orders (id) VALUES (7)").await.map(drop)
}

async fn insert_by_all_traits<C>(connection: &C) -> Result<(), DbErr>
where
    C: ConnectionTrait + TransactionTrait + StreamTrait,
{
    insert_by_trait(&connection.begin().await?).await
}

async fn insert_by_type(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    insert_by_trait(transaction).await
}

async fn place(
    db: DatabaseConnection,
    outbox: SeaOrmWriter,
    message: OutboxMessage,
) -> Result<u64, TransactionError> {
    let policy = TransactionPolicy::new();
    let (outbox, message) = (&outbox, &message);
    let placed = outbox.transaction(&db, policy, async |tx| {
        insert_by_trait(tx).await?;
        insert_by_all_traits(tx).await?;
        insert_by_type(tx).await?;
        outbox.enqueue(tx, message).await?;
        tx.add(message.clone());
        Ok::<_, TransactionError>(7)
    });
    placed.await
}

async fn place_by_hand(db: DatabaseConnection, outbox: SeaOrmWriter) -> Result<(), TransactionError> {
    let mut tx: OutboxTransaction = outbox.begin(&db).await?;
    insert_by_trait(&tx).await?;
    insert_by_type(&tx).await?;
    tx.flush().await?;
    tx.commit().await
}

#[allow(dead_code, reason = "compiling it is the test")]
fn spawn_transactions(db: DatabaseConnection, outbox: SeaOrmWriter, message: OutboxMessage) {
    drop(tokio::spawn(place(db.clone(), outbox.clone(), message)));
    drop(tokio::spawn(place_by_hand(db, outbox)));
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_generic_service_can_be_spawned() {
    let db = sea_orm::Database::connect("sqlite::memory:").await.unwrap();
    let store = outbox_seaorm::SeaOrmStore::new(&db);
    outbox_core::OutboxAdmin::migrate(&store).await.unwrap();
    let orders = Orders { db, outbox: SeaOrmWriter::new() };
    assert!(spawn(orders).await.unwrap());
    let empty = outbox_core::OutboxStore::is_empty(&store).await.unwrap();
    assert!(!empty, "a database in memory is the one of the pool");
}

#[cfg(not(feature = "sqlite"))]
#[allow(dead_code, reason = "compiling it is the test")]
fn compiled(db: DatabaseConnection) -> tokio::task::JoinHandle<bool> {
    spawn(Orders { db, outbox: SeaOrmWriter::new() })
}
