fn twice(outbox: outbox_diesel::PostgresWriter, connection: &mut diesel::PgConnection) {
    let transaction = outbox.begin(connection).unwrap();
    transaction.commit().unwrap();
    transaction.commit().unwrap();
}

fn main() {}
