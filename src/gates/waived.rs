//! A gate that a person decided to go on without, by name.

use jiff::Timestamp;

use crate::domain::{Evidence, Verdict};
use crate::engine::{BoxFuture, Checked, Facts, Gate, StepIo};
use crate::error::Result;

/// A person's decision to go on without something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// `user@host`.
    pub who: String,
    pub why: String,
    pub until: Option<Timestamp>,
}

impl Waiver {
    /// Makes `checked` say that it was waived; what was seen stays in the evidence.
    #[must_use]
    pub fn apply(&self, mut checked: Checked) -> Checked {
        let was = checked.verdict.word();
        checked.evidence = checked.evidence.fact("waived", format!("it was {was}; {}: {}", self.who, self.why), None);
        checked.verdict = Verdict::Waived { who: self.who.clone(), why: self.why.clone(), until: self.until };
        checked.fix = None;
        checked
    }
}

struct Waived {
    gate: Box<dyn Gate>,
    waiver: Waiver,
}

/// `gate`, asked as ever; where it does not let through, the answer becomes "waived". What was seen stays in
/// the evidence, and a pass stays a pass: nobody needed the waiver.
#[must_use]
pub fn waived(gate: Box<dyn Gate>, waiver: Waiver) -> Box<dyn Gate> {
    Box::new(Waived { gate, waiver })
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
        let expired = self.waiver.until.is_some_and(|until| until <= now);
        let checked = match answer {
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
        self.waiver.apply(checked)
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
        let waiver = |until| {
            let waiver = Waiver { who: "dana".into(), why: "first release".into(), until };
            Waived { gate: Box::new(Never), waiver }
        };
        let failed = || Ok(Checked::fail(Evidence::new("no target")));
        let judged = waiver(None).judge(failed(), now);
        assert!(matches!(&judged.verdict, Verdict::Waived { who, .. } if who == "dana"));
        assert_eq!(judged.evidence.summary, "no target");
        assert!(waiver(None).judge(Err(crate::Error::outside("no answer")), now).verdict.lets_through());
        assert_eq!(waiver(None).judge(Ok(Checked::pass(Evidence::default())), now).verdict, Verdict::Pass);
        assert_eq!(waiver(Some(now)).judge(failed(), now).verdict, Verdict::Fail);
    }
}
