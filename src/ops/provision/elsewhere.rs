//! `provision judge`: a plan that was made elsewhere, judged.

use std::io;

use serde_json::json;

use crate::cli::args::Output;
use crate::cli::provision::Judge as Args;
use crate::domain::provision::judge;
use crate::error::{Attempting, Result};
use crate::ops::Invocation;
use crate::ui::out::Out;

use super::measure::{judged, measure};
use super::plan::show;
use super::sheet::Sheet;

/// Reads the JSON of a plan and shows what it means. Ends 10 where a rule refuses it.
pub fn elsewhere(invocation: &mut Invocation, args: &Args, out: &mut Out, output: Output) -> Result<u8> {
    let measure = measure(invocation)?;
    let judgement = if args.file.as_os_str() == "-" {
        judge(io::stdin(), &measure).attempting(|| "read the plan on standard input".to_owned())?
    } else {
        judged(&args.file, &measure)?
    };
    let document = json!({"judgement": judgement});
    let sheet = Sheet {
        judgement: &judgement,
        record: None,
        warnings: &[],
        notes: &[],
        settings: &invocation.config.provision,
        prices: &measure.prices,
        region: invocation.config.production.aws.region.as_deref(),
    };
    show(&sheet, document, out, output)
}
