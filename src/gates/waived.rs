//! A gate that a person decided to go on without, by name.

use jiff::Timestamp;

use crate::domain::{Evidence, Verdict};
use crate::engine::{BoxFuture, Checked, Facts, Gate, StepIo};
use crate::error::Result;

struct Waived {
    gate: Box<dyn Gate>,
    who: String,
    why: String,
    until: Option<Timestamp>,
}

/// `gate`, asked as ever; where it does not let through, the answer becomes "waived by `who`: `why`". What was seen stays in
/// the evidence, and a pass stays a pass: nobody needed the waiver.
pub fn waived(
    gate: Box<dyn Gate>,
    who: impl Into<String>,
    why: impl Into<String>,
    until: Option<Timestamp>,
) -> Box<dyn Gate> {
    Box::new(Waived { gate, who: who.into(), why: why.into(), until })
}

impl Gate for Waived {
    fn id(&self) -> &'static str {
        self.gate.id()
    }

    fn title(&self) -> String {
        self.gate.title()
    }

    fn check<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let answer = self.gate.check(facts, io).await;
            Ok(self.judge(answer, io.now()))
        })
    }
}

impl Waived {
    fn judge(&self, answer: Result<Checked>, now: Timestamp) -> Checked {
        let expired = self.until.is_some_and(|until| until <= now);
        let mut checked = match answer {
            Ok(checked) => checked,
            Err(error) => {
                let evidence = Evidence::new(error.what()).at(now);
                Checked::unknown(
                    error.causes().into_iter().fold(evidence, |evidence, cause| evidence.fact("because", cause, None)),
                )
            }
        };
        if checked.verdict.lets_through() || expired {
            return checked;
        }
        let was = checked.verdict.word();
        checked.evidence = checked.evidence.fact("waived", format!("it was {was}; {}: {}", self.who, self.why), None);
        checked.verdict = Verdict::Waived { who: self.who.clone(), why: self.why.clone(), until: self.until };
        checked.fix = None;
        checked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Never;

    impl Gate for Never {
        fn id(&self) -> &'static str {
            "never"
        }
        fn title(&self) -> String {
            "Never asked".into()
        }
        fn check<'a>(&'a self, _: &'a Facts, _: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
            unreachable!("only the judgement is tested")
        }
    }

    #[test]
    fn a_waiver_changes_only_what_would_block() {
        let now: Timestamp = "2025-03-04T10:00:00Z".parse().unwrap();
        let waiver = |until| Waived { gate: Box::new(Never), who: "dana".into(), why: "first release".into(), until };
        let failed = || Ok(Checked::fail(Evidence::new("no target")));
        let judged = waiver(None).judge(failed(), now);
        assert!(matches!(&judged.verdict, Verdict::Waived { who, .. } if who == "dana"));
        assert_eq!(judged.evidence.summary, "no target");
        assert!(waiver(None).judge(Err(crate::Error::outside("no answer")), now).verdict.lets_through());
        assert_eq!(waiver(None).judge(Ok(Checked::pass(Evidence::default())), now).verdict, Verdict::Pass);
        assert_eq!(waiver(Some(now)).judge(failed(), now).verdict, Verdict::Fail);
    }
}
