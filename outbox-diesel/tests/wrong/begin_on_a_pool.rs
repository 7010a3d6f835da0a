use diesel::PgConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use outbox_diesel::PostgresWriter;

fn begin(pool: &mut Pool<ConnectionManager<PgConnection>>) {
    PostgresWriter::new().begin(pool).unwrap();
}

fn main() {}
