//! What ECR's scan says of the hotfix's images. It never holds anything up: whoever ships decides, and reads this.

use crate::adapters::aws::{Aws, Scan};
use crate::config::Config;
use crate::domain::{Evidence, printable};
use crate::engine::{BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::Result;

/// Reads the scan of each image that was built.
pub struct ScanFindings {
    pub aws: Aws,
    pub config: Config,
}

impl Step for ScanFindings {
    fn id(&self) -> &'static str {
        "scan"
    }

    fn title(&self, _facts: &Facts) -> String {
        "What the image scan found".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::ReadOnly
    }

    fn probe<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move {
            let by_name = self.config.service_map();
            let mut evidence = Evidence::default().from("ECR image scans").at(io.now());
            let mut said = Vec::new();
            for (name, image) in &facts.shipped {
                let Some(service) = by_name.get(name) else { continue };
                let (text, critical) = match self.aws.scan(&self.config.image_of(service), &image.digest).await {
                    Ok(None) => ("not scanned yet".to_owned(), 0),
                    Ok(Some(scan)) => in_words(&scan),
                    Err(error) => (format!("not known: {}", printable(&error.to_string())), 0),
                };
                if critical > 0 {
                    io.warn(format!("{name} has {critical} critical findings; it ships all the same"));
                }
                said.push(format!("{name}: {text}"));
                evidence = evidence.fact(name.as_str(), text, (critical > 0).then_some(false));
            }
            evidence.summary = said.join("; ");
            Ok(Probe::Done(Done::new(evidence)))
        })
    }
}

/// "1 CRITICAL, 2 LOW", worst first; and how many are critical.
fn in_words(scan: &Scan) -> (String, u64) {
    const ORDER: [&str; 6] = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNDEFINED"];
    let rank = |severity: &str| ORDER.iter().position(|known| *known == severity).unwrap_or(ORDER.len());
    let mut found: Vec<(&String, &u64)> = scan.findings.iter().filter(|(_, count)| **count > 0).collect();
    found.sort_by_key(|(severity, _)| rank(severity));
    let words: Vec<String> = found.iter().map(|(severity, count)| format!("{count} {severity}")).collect();
    let critical = scan.findings.get("CRITICAL").copied().unwrap_or(0);
    match (scan.status.as_str(), words.is_empty()) {
        ("COMPLETE" | "ACTIVE", true) => ("nothing found".to_owned(), 0),
        ("COMPLETE" | "ACTIVE", false) => (words.join(", "), critical),
        (other, _) => (format!("no result yet ({})", other.to_ascii_lowercase()), critical),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_said_first() {
        let scan = |status: &str, findings: &[(&str, u64)]| Scan {
            status: status.into(),
            findings: findings.iter().map(|(severity, count)| ((*severity).to_owned(), *count)).collect(),
        };
        assert_eq!(in_words(&scan("COMPLETE", &[("LOW", 2), ("CRITICAL", 1)])), ("1 CRITICAL, 2 LOW".to_owned(), 1));
        assert_eq!(in_words(&scan("ACTIVE", &[])).0, "nothing found");
        assert_eq!(in_words(&scan("IN_PROGRESS", &[])).0, "no result yet (in_progress)");
    }
}
