use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Gives statements to a client program, and returns the rows it printed. The error is what it complained about.
pub(super) fn run(mut client: Command, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let pipes = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().map_err(|error| error.to_string())?;
    let mut input = child.stdin.take().unwrap();
    let text = sql.to_owned();
    // In a thread of its own: a client that prints more than a pipe holds stops reading.
    let writing = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let written = writing.join().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    written.map_err(|error| error.to_string())?;
    let rows = String::from_utf8_lossy(&output.stdout);
    Ok(rows.lines().map(columns).collect())
}

fn columns(line: &str) -> Vec<String> {
    line.split('\t').map(str::to_owned).collect()
}

/// A client program whose session stays open between statements. Dropping it ends the session, and whatever transaction
/// is open in it.
pub(crate) struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    pub(super) fn open(mut client: Command) -> Self {
        let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Runs statements that print at least one row, and returns when the last one, which is added, was answered.
    pub(crate) fn run(&mut self, sql: &str) {
        const END: &str = "that was all";
        writeln!(self.input, "{sql};\nSELECT '{END}';").unwrap();
        self.input.flush().unwrap();
        let mut line = String::new();
        while line.trim_end() != END {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the session has ended");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
