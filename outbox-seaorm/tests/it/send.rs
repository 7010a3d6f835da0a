//! A service that is generic over its writer or inbox can be spawned: checked by compiling it.

use outbox_core::bytes::Bytes;
use outbox_core::{
    Admission, BoxError, Event, EventCodec, HandlerError, InboxStore, MessageHandler, MessageId,
    OutboxMessage, OutboxWriter, Processed, TransactionPolicy, handler,
};
use outbox_seaorm::{
    InboxGuard, OutboxTransaction, SeaOrmInbox, SeaOrmWriter, TransactionConnection, TransactionError,
};
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

struct Billing<I> {
    db: DatabaseConnection,
    inbox: I,
}

impl<I> Billing<I>
where
    I: InboxStore<DatabaseTransaction, Error = DbErr>,
{
    async fn bill(&self, id: &MessageId) -> Result<Admission, DbErr> {
        let mut txn = self.db.begin().await?;
        let admission = self.inbox.admit(&mut txn, id).await?;
        txn.commit().await?;
        Ok(admission)
    }
}

fn spawn_billing<I>(billing: Billing<I>, id: MessageId) -> tokio::task::JoinHandle<Result<Admission, DbErr>>
where
    I: InboxStore<DatabaseTransaction, Error = DbErr> + 'static,
{
    tokio::spawn(async move { billing.bill(&id).await })
}

#[allow(dead_code, reason = "compiling it is the test")]
fn spawn_admit<C>(txn: C, inbox: SeaOrmInbox, ids: Vec<MessageId>) -> tokio::task::JoinHandle<bool>
where
    C: TransactionConnection + Send + 'static,
{
    tokio::spawn(async move {
        inbox.admit(&txn, &ids[0]).await.is_ok() && inbox.admit_all(&txn, &ids).await.is_ok()
    })
}

/// What a consumer calls.
async fn bill(billing: &Billing<SeaOrmInbox>, message: &OutboxMessage) -> Result<Processed, HandlerError> {
    let processed = billing.inbox.process(&billing.db, message, async |tx| {
        insert_by_trait(tx).await?;
        insert_by_all_traits(tx).await?;
        insert_by_type(tx).await?;
        tx.add(message.clone());
        Ok::<_, HandlerError>(())
    });
    processed.await
}

async fn bill_by_hand(billing: Billing<SeaOrmInbox>, id: MessageId) -> Result<Processed, TransactionError> {
    let mut guard: InboxGuard = billing.inbox.begin(&billing.db, id).await?;
    if guard.fresh() {
        insert_by_trait(guard.tx()).await?;
        insert_by_type(guard.tx()).await?;
        guard.tx().flush().await?;
    }
    guard.commit().await
}

#[allow(dead_code, reason = "compiling it is the test")]
fn spawn_inboxes(billing: Billing<SeaOrmInbox>, by_hand: Billing<SeaOrmInbox>, id: MessageId) {
    fn consume(_: impl MessageHandler) {}
    consume(handler(billing, bill));
    drop(tokio::spawn(bill_by_hand(by_hand, id)));
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_generic_service_can_be_spawned() {
    let db = sea_orm::Database::connect("sqlite::memory:").await.unwrap();
    let store = outbox_seaorm::SeaOrmStore::new(&db);
    outbox_core::OutboxAdmin::migrate(&store).await.unwrap();
    let orders = Orders { db: db.clone(), outbox: SeaOrmWriter::new() };
    assert!(spawn(orders).await.unwrap());
    let empty = outbox_core::OutboxStore::is_empty(&store).await.unwrap();
    assert!(!empty, "a database in memory is the one of the pool");
    let id = MessageId::new();
    for expected in [Admission::Fresh, Admission::Duplicate] {
        let billing = Billing { db: db.clone(), inbox: SeaOrmInbox::new("billing").unwrap() };
        assert_eq!(spawn_billing(billing, id).await.unwrap().unwrap(), expected);
    }
}

#[cfg(not(feature = "sqlite"))]
#[allow(dead_code, reason = "compiling it is the test")]
fn compiled(db: DatabaseConnection) -> tokio::task::JoinHandle<bool> {
    drop(spawn_billing(
        Billing { db: db.clone(), inbox: SeaOrmInbox::new("billing").unwrap() },
        MessageId::new(),
    ));
    spawn(Orders { db, outbox: SeaOrmWriter::new() })
}
