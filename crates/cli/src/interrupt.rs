//! Ctrl-C (and SIGTERM): the first one asks the running stage to save and stop, the second ends the program.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static END_AT_ONCE: AtomicBool = AtomicBool::new(false);
static HANDLER: Once = Once::new();

/// True once the user has asked to stop. The first call takes over the signal.
pub fn flag() -> &'static AtomicBool {
    HANDLER.call_once(|| {
        let handler = || {
            let asked_before = INTERRUPTED.swap(true, Ordering::SeqCst);
            if asked_before || END_AT_ONCE.load(Ordering::SeqCst) {
                std::process::exit(130);
            }
        };
        // Without a handler Ctrl-C ends the program at once; what is stored stays whole all the same.
        let _ = ctrlc::set_handler(handler);
    });
    &INTERRUPTED
}

/// From here on nothing looks at the flag: the first Ctrl-C ends the program. For stages that have nothing
/// to save, after one that has taken over the signal.
pub fn end_at_once() {
    END_AT_ONCE.store(true, Ordering::SeqCst);
}
