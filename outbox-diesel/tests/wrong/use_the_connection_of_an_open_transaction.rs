use diesel::RunQueryDsl;

fn beside(outbox: outbox_diesel::PostgresWriter, connection: &mut diesel::PgConnection) {
    let transaction = outbox.begin(connection).unwrap();
    diesel::sql_query("INSERT INTO orders (id) VALUES (7)").execute(connection).unwrap();
    transaction.commit().unwrap();
}

fn main() {}
