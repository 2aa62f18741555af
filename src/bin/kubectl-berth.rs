//! `kubectl berth`: workspaces from the command line, with nothing but a kubeconfig.

use std::process::ExitCode;

fn main() -> ExitCode {
    berth::plugin::main()
}
