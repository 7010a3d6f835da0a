//! One short conversation per protocol: is this the service, may this user in, and which version is it?

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use url::Url;

const PATIENCE: Duration = Duration::from_secs(3);

/// Logs in, up to "ready for query". Where a password is asked for and the URL has one, that is left to the tests.
pub(crate) fn postgres(url: &Url) -> Result<String> {
    let mut stream = connect(url, 5432)?;
    let user = user(url, "postgres");
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for text in ["user", &user, "database", database(url).unwrap_or(&user), ""] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    stream.write_all(&u32::try_from(body.len() + 4)?.to_be_bytes())?;
    stream.write_all(&body)?;

    let mut version = String::from("PostgreSQL");
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]).saturating_sub(4);
        let body = read(&mut stream, length as usize)?;
        let fields: Vec<_> = body.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        match head[0] {
            b'R' if body.starts_with(&[0; 4]) => {}
            b'R' if url.password().is_some() => return Ok(version),
            b'R' => bail!("it asks for a password, and the URL has none"),
            b'S' if fields[0] == "server_version" => {
                let number = fields.get(1).and_then(|text| text.split_whitespace().next());
                version = format!("PostgreSQL {}", number.unwrap_or_default());
            }
            b'E' => {
                let message = fields.iter().find_map(|field| field.strip_prefix('M'));
                bail!("it says: {}", message.unwrap_or("an error without a text"));
            }
            b'Z' => return Ok(version),
            b'S' | b'K' | b'N' => {}
            other => bail!("not PostgreSQL: message type {other}"),
        }
    }
}

/// Logs in with an empty password. Where the URL has one, that is left to the tests.
pub(crate) fn mysql(url: &Url) -> Result<String> {
    let mut stream = connect(url, 3306)?;
    let (_, greeting) = mysql_packet(&mut stream)?;
    ensure!(greeting.first() == Some(&10), "not MySQL or MariaDB, or it refuses this host");
    let version = greeting[1..].split(|byte| *byte == 0).next().unwrap_or_default();
    let version = String::from_utf8_lossy(version).replace("5.5.5-", "");
    let version = match version.split_once("-MariaDB") {
        Some((number, _)) => format!("MariaDB {number}"),
        None => format!("MySQL {version}"),
    };
    if url.password().is_some() {
        return Ok(version);
    }

    // protocol 4.1, secure connection, plugin authentication; with a database if there is one.
    let capabilities: u32 = 0x0200 | 0x8000 | 0x0008_0000 | if database(url).is_some() { 8 } else { 0 };
    let mut login = capabilities.to_le_bytes().to_vec();
    login.extend_from_slice(&0x0100_0000_u32.to_le_bytes());
    login.push(45);
    login.extend_from_slice(&[0; 23]);
    login.extend_from_slice(user(url, "root").as_bytes());
    login.extend_from_slice(&[0, 0]);
    if let Some(database) = database(url) {
        login.extend_from_slice(database.as_bytes());
        login.push(0);
    }
    login.extend_from_slice(b"mysql_native_password\0");
    mysql_send(&mut stream, 1, &login)?;
    let (mut sequence, mut answer) = mysql_packet(&mut stream)?;
    if answer.first() == Some(&0xfe) {
        // Another method is wanted; an empty password is an empty answer in each of them.
        mysql_send(&mut stream, sequence.wrapping_add(1), &[])?;
        (sequence, answer) = mysql_packet(&mut stream)?;
        let _ = sequence;
    }
    match answer.first() {
        Some(0) => Ok(version),
        Some(0xff) => bail!("it says: {}", String::from_utf8_lossy(answer.get(9..).unwrap_or_default())),
        _ => bail!("it does not accept an empty password for this user"),
    }
}

/// Reads the greeting, which says whether JetStream is on.
pub(crate) fn nats(url: &Url) -> Result<String> {
    let stream = connect(url, 4222)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let info: serde_json::Value = serde_json::from_str(line.strip_prefix("INFO ").context("not NATS")?)?;
    ensure!(info["jetstream"] == true, "JetStream is off");
    let closed = info["auth_required"] == true && url.username().is_empty();
    ensure!(!closed, "it asks for credentials, and the URL has none");
    Ok(format!("NATS {}", info["version"].as_str().unwrap_or_default()))
}

/// `PING`, and the version from `INFO`. Where a password is asked for and the URL has one, that is left to the tests.
pub(crate) fn redis(url: &Url) -> Result<String> {
    let mut stream = connect(url, 6379)?;
    stream.write_all(b"PING\r\nINFO server\r\n")?;
    let lines = BufReader::new(stream).lines();
    for line in lines {
        let line = line?;
        if let Some(version) = line.strip_prefix("redis_version:") {
            return Ok(format!("Redis {version}"));
        }
        match line.as_str() {
            refused if refused.starts_with("-NOAUTH") && url.password().is_some() => {
                return Ok("Redis".to_owned());
            }
            refused if refused.starts_with('-') => bail!("it says: {refused}"),
            _ => {}
        }
    }
    bail!("not Redis")
}

/// Sends the header of AMQP 0-9-1; RabbitMQ answers with `connection.start`.
pub(crate) fn amqp(url: &Url) -> Result<String> {
    let mut stream = connect(url, 5672)?;
    stream.write_all(b"AMQP\0\0\x09\x01")?;
    let head = read(&mut stream, 7)?;
    let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    ensure!(head[0] == 1 && length < 65_536, "not AMQP 0-9-1");
    let start = String::from_utf8_lossy(&read(&mut stream, length as usize)?).into_owned();
    // A long string in the table of server properties: the key, `S`, four bytes of length, the text.
    let version = start.split_once("\u{7}versionS\0\0\0").map(|(_, rest)| &rest[1..]);
    let version = version.map(|text| text.split(|c: char| c != '.' && !c.is_ascii_digit()).next());
    Ok(format!("RabbitMQ {}", version.flatten().unwrap_or_default()))
}

/// Asks which versions of its requests it knows, which needs no login. It does not tell its own version.
pub(crate) fn kafka(url: &Url) -> Result<String> {
    let mut stream = connect(url, 9092)?;
    // ApiVersions (18) of version 0, correlation id 7, client id "xtask".
    let request = [&[0, 18, 0, 0, 0, 0, 0, 7, 0, 5][..], b"xtask"].concat();
    stream.write_all(&u32::try_from(request.len())?.to_be_bytes())?;
    stream.write_all(&request)?;
    let length = read(&mut stream, 4)?;
    let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
    let answer = read(&mut stream, length as usize)?;
    ensure!(answer.starts_with(&[0, 0, 0, 7, 0, 0]), "not Kafka");
    Ok("Kafka".to_owned())
}

fn connect(url: &Url, port: u16) -> Result<TcpStream> {
    let addresses = url.socket_addrs(|| Some(port))?;
    let address = addresses.first().context("no address")?;
    let stream =
        TcpStream::connect_timeout(address, PATIENCE).with_context(|| format!("no answer at {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn user(url: &Url, default: &str) -> String {
    let name = if url.username().is_empty() { default } else { url.username() };
    name.to_owned()
}

fn database(url: &Url) -> Option<&str> {
    Some(url.path().trim_start_matches('/')).filter(|name| !name.is_empty())
}

fn read(stream: &mut TcpStream, length: usize) -> Result<Vec<u8>> {
    ensure!(length < 1 << 20, "an answer of {length} bytes is not of this protocol");
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn mysql_packet(stream: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let head = read(stream, 4)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    Ok((head[3], read(stream, length as usize)?))
}

fn mysql_send(stream: &mut TcpStream, sequence: u8, body: &[u8]) -> Result<()> {
    let mut packet = u32::try_from(body.len())?.to_le_bytes();
    packet[3] = sequence;
    stream.write_all(&packet)?;
    Ok(stream.write_all(body)?)
}
