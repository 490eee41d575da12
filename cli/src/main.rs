//! `kubectl-serin`: see `--help`.

use std::process::ExitCode;

use clap::Parser as _;
use kubectl_serin::args::Args;
use kubectl_serin::run::run;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    // Fails only where a provider is installed already, which will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(&args, &mut std::io::stdout().lock()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", console::style("error:").for_stderr().red().bold());
            ExitCode::FAILURE
        }
    }
}
