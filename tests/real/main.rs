//! Contract tests: the rehearsed production asked by clients, and our adapters against servers, that nobody here wrote.
//!
//! A part that is not installed skips, with a line that says so; under `GOSPEL_REAL=required` it fails.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests stand outside the house")]

mod aws;
mod crds;
mod git;
mod github;
mod harness;
mod hotfix;
mod kubectl;
mod kustomize;
mod postgres;
mod prometheus;
mod terraform;
mod terraform_apply;
mod terraform_killed;
mod terraform_module;
mod terraform_s3;
mod terraform_stand_in;
