use std::fmt::Write as _;
use std::fs::File;
use std::process::{Child, Stdio};

use uuid::Uuid;

use crate::brokers::TOPICS;
use crate::checker::Committed;
use crate::databases::Database;

/// Programs that write rows with plain `INSERT`s, each to keys of its own. In the same transactions they write what they
/// did into a table of their own: what is in there was committed, whatever anybody believes.
pub(crate) struct Writers {
    children: Vec<(Child, std::path::PathBuf)>,
}

/// What the writers do together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Rows to commit, at least.
    pub(crate) rows: u64,
    pub(crate) keys: u64,
    /// Rows of a transaction at most.
    pub(crate) transaction: u64,
}

impl Writers {
    /// Makes the writers' own table.
    pub(crate) fn prepare(database: &Database) {
        let [short, long] = database.kind.text_types;
        database.execute(&format!(
            "CREATE TABLE audit (id {short} NOT NULL PRIMARY KEY, ordering_key {short} NOT NULL, \
             version BIGINT NOT NULL, topic {short} NOT NULL, payload {long} NOT NULL)"
        ));
    }

    /// One program that writes many rows in one transaction, to keys of its own.
    pub(crate) fn burst(database: &Database, rows: u64, keys: u64) {
        database.execute(&format!(
            "BEGIN;\n\
             INSERT INTO audit SELECT md5('burst ' || n), 'burst key ' || n % {keys}, n, 'shop.orders', md5(n::text) \
             FROM generate_series(1, {rows}) AS n;\n\
             INSERT INTO outbox_messages (id, topic, ordering_key, payload) \
             SELECT id::uuid, topic, ordering_key, decode(payload, 'hex') FROM audit WHERE ordering_key LIKE 'burst %' \
             ORDER BY version;\n\
             COMMIT;"
        ));
    }

    pub(crate) fn start(database: &Database, work: Work, seed: u64) -> Self {
        let count = database.kind.writers as u64;
        let child = |number: u64| {
            let file = database.file(&format!("writer-{seed}-{number}.sql"));
            let share = Work { rows: work.rows / count, keys: work.keys / count, ..work };
            std::fs::write(&file, Script::new(database, share, seed, number).text()).unwrap();
            let errors = file.with_extension("err");
            let child = database
                .client()
                .stdin(File::open(&file).unwrap())
                .stdout(Stdio::null())
                .stderr(File::create(&errors).unwrap())
                .spawn()
                .unwrap();
            (child, errors)
        };
        Self { children: (0..count).map(child).collect() }
    }

    /// Waits until all of them have ended.
    pub(crate) fn finish(mut self) {
        for (child, errors) in &mut self.children {
            let status = child.wait().unwrap();
            assert!(status.success(), "a writer failed: {}", std::fs::read_to_string(errors).unwrap());
        }
    }

    /// What was committed.
    pub(crate) fn committed(database: &Database) -> Vec<Committed> {
        let rows = database.query("SELECT id, ordering_key, version, topic, payload FROM audit");
        let committed = |row: Vec<String>| {
            let [id, key, version, topic, payload] = row.try_into().unwrap();
            Committed { id, key, version: version.parse().unwrap(), topic, payload: from_hex(&payload) }
        };
        rows.into_iter().map(committed).collect()
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        for (child, _) in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The statements of one writer.
struct Script<'a> {
    database: &'a Database,
    work: Work,
    random: fastrand::Rng,
    writer: u64,
    versions: Vec<u64>,
    text: String,
}

struct Row {
    id: String,
    key: String,
    version: u64,
    topic: &'static str,
    payload: String,
}

impl<'a> Script<'a> {
    fn new(database: &'a Database, work: Work, seed: u64, writer: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed * 1_000 + writer);
        let versions = vec![seed * 1_000_000; usize::try_from(work.keys.max(1)).unwrap()];
        Self { database, work, random, writer, versions, text: String::new() }
    }

    fn text(mut self) -> String {
        let mut committed = 0;
        while committed < self.work.rows {
            let rows: Vec<Row> =
                (0..self.random.u64(1..=self.work.transaction)).map(|_| self.row()).collect();
            self.transaction(&rows);
            if self.random.u8(0..10) == 0 {
                self.text += "ROLLBACK;\n";
            } else {
                self.text += "COMMIT;\n";
                committed += rows.len() as u64;
            }
        }
        // One more that is never ended: the program goes away, and its database has to notice.
        let row = self.row();
        self.transaction(&[row]);
        self.text
    }

    fn row(&mut self) -> Row {
        let key = self.random.usize(0..self.versions.len());
        self.versions[key] += 1;
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        let mut payload = vec![0; self.random.usize(0..100)];
        self.random.fill(&mut payload);
        Row {
            id: Uuid::from_bytes(bytes).simple().to_string(),
            key: format!("writer {} key {key}", self.writer),
            version: self.versions[key],
            topic: TOPICS[self.random.usize(0..TOPICS.len())],
            payload: hex(&payload),
        }
    }

    fn transaction(&mut self, rows: &[Row]) {
        let kind = self.database.kind;
        let _ = writeln!(self.text, "{};", kind.begin);
        let message = |row: &Row| {
            let (id, payload) = ((kind.id)(&row.id), (kind.bytes)(&row.payload));
            format!("({id}, '{}', '{}', {payload})", row.topic, row.key)
        };
        let audit = |row: &Row| {
            let Row { id, key, version, topic, payload } = row;
            format!("('{id}', '{key}', {version}, '{topic}', '{payload}')")
        };
        // Some programs insert row by row, others all at once.
        let at_once = if self.random.bool() { rows.len() } else { 1 };
        for some in rows.chunks(at_once) {
            let join = |values: Vec<String>| values.join(", ");
            let _ = writeln!(
                self.text,
                "INSERT INTO outbox_messages (id, topic, ordering_key, payload) VALUES {};\n\
                 INSERT INTO audit (id, ordering_key, version, topic, payload) VALUES {};",
                join(some.iter().map(message).collect()),
                join(some.iter().map(audit).collect()),
            );
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
