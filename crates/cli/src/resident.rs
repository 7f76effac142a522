//! The same binary as a container's monitor: see [`hull_monitor::resident`].

use std::ffi::OsString;
use std::fs::File;

use hull_engine::{Engine, Settings, container};
use hull_monitor::Hooks;

/// Runs as a monitor. `args` are the descriptor of what is handed over, and the engine's places. Returns the exit code.
pub(crate) fn run(args: &[OsString]) -> u8 {
    let Some((fd, places)) = args.split_first() else {
        return 125;
    };
    let fd = fd.to_str().and_then(|fd| fd.parse().ok());
    let (Some(fd), Some(settings)) = (fd, Settings::from_arguments(places)) else {
        return 125;
    };
    // It outlives the folder that its command was called in.
    let _ = std::env::set_current_dir("/");
    let text = |e: hull_engine::Error| format!("{:#}", anyhow::Error::from(e));
    let launch = |id: &str, lock: File| container::relaunch(&Engine::open(&settings), id, lock).map_err(text);
    let probe = |id: &str| container::probe(&Engine::open(&settings), id).map_err(text);
    let hooks = Hooks {
        launch: &launch,
        probe: &probe,
    };
    u8::try_from(hull_monitor::resident::main(fd, hooks)).unwrap_or(1)
}
