//! Ctrl-C in a chat: it stops the reply, not the program; while nothing is said, it ends the program.

use std::sync::atomic::{AtomicBool, Ordering};

static REPLYING: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);

/// Take over Ctrl-C. A second one during a reply ends the program too.
pub fn install() {
    let handler = || {
        if !REPLYING.load(Ordering::SeqCst) || STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    };
    // Where it cannot be taken over, Ctrl-C ends the program, as everywhere.
    let _ = ctrlc::set_handler(handler);
}

/// Run a reply; `true` in [`asked`] from then on means this reply.
pub fn during<T>(reply: impl FnOnce() -> T) -> T {
    STOP.store(false, Ordering::SeqCst);
    REPLYING.store(true, Ordering::SeqCst);
    let result = reply();
    REPLYING.store(false, Ordering::SeqCst);
    result
}

/// Whether the running reply should stop.
pub fn asked() -> bool {
    STOP.load(Ordering::SeqCst)
}
