//! `volumes-agent explain`: the long story of a diagnostic code.

use crate::{
    codes,
    commands::files::print,
    diagnostics::{Exit, Failure},
    spelling,
};
use clap::Args;

/// Flags of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The code, as in `error[unset-variable]`; all of them are listed without one.
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
}

/// Prints it.
///
/// # Errors
/// There is no such code.
pub fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    let Some(code) = &args.code else {
        return print(&codes::all().map(|(code, first)| format!("{code:<24} {first}\n")).collect::<String>());
    };
    // As it stands in a message, it can be pasted: `error[unset-variable]:`.
    let code = code.rsplit('[').next().unwrap_or(code).trim_end_matches([':', ']']);
    match codes::section(code) {
        Some(text) => print(&format!("{code}\n\n{text}\n")),
        None => {
            let meant =
                spelling::did_you_mean(code, codes::all().map(|(known, _)| known)).unwrap_or_default();
            Err(Failure::refused(format!("there is no code `{code}`"))
                .help(format!("{meant} `volumes-agent explain` lists them all").trim_start().to_owned()))
        }
    }
}
