use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use outbox::{Diagnosis, Severity};

use crate::args::{Common, DoctorOptions};
use crate::output::Output;

pub(crate) async fn run(common: &Common, options: &DoctorOptions, output: &mut Output) -> Result<ExitCode> {
    let config = common.config(options.transport.as_deref())?;
    let diagnoses = config.diagnose(&options.topics).await;
    output.print(&diagnoses, || report(&diagnoses))?;
    let worst = diagnoses.iter().map(Diagnosis::severity).max().unwrap_or(Severity::Ok);
    let bearable = if options.strict { Severity::Ok } else { Severity::Warning };
    Ok(if worst > bearable { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report(diagnoses: &[Diagnosis]) -> String {
    let mut text = String::new();
    for diagnosis in diagnoses {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{}", diagnosis.part);
        for finding in &diagnosis.findings {
            let _ =
                writeln!(text, "  {:<8} {}: {}", finding.severity.as_str(), finding.subject, finding.detail);
            if let Some(remedy) = &finding.remedy {
                let _ = writeln!(text, "  {:<8} → {remedy}", "");
            }
        }
    }
    text.truncate(text.trim_end().len());
    text
}
