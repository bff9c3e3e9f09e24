//! Ctrl-C in a chat: it stops the reply, not the program; while nothing is said, it ends the program.

use std::sync::atomic::{AtomicBool, Ordering};

static REPLYING: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);

/// Take over Ctrl-C. A second one during a reply ends the program too.
pub fn install() {
    let handler = || {
        if interrupt() {
            std::process::exit(130);
        }
    };
    // Where it cannot be taken over, Ctrl-C ends the program, as everywhere.
    let _ = ctrlc::set_handler(handler);
}

/// What one Ctrl-C does: whether it ends the program.
fn interrupt() -> bool {
    !REPLYING.load(Ordering::SeqCst) || STOP.swap(true, Ordering::SeqCst)
}

/// Run a reply, which looks at [`asked`] from time to time.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stops_the_reply_and_the_second_the_program() {
        assert!(interrupt(), "nothing is said: the program ends");
        for _ in 0..2 {
            during(|| {
                assert!(!asked(), "what stopped the reply before does not stop this one");
                assert!(!interrupt());
                assert!(asked());
                assert!(interrupt());
            });
        }
        assert!(interrupt());
    }
}
