struct OrderPlaced;

fn emit(outbox: outbox_diesel::PostgresWriter, connection: &mut diesel::PgConnection) {
    outbox.emit(connection, &OrderPlaced).unwrap();
}

fn main() {}
