use diesel::PgConnection;
use outbox_core::OutboxMessage;
use outbox_diesel::MySqlWriter;

fn write(connection: &mut PgConnection, message: &OutboxMessage) {
    MySqlWriter::new().enqueue(connection, message).unwrap();
}

fn main() {}
