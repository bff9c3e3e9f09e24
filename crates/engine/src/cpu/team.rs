//! Threads that stay awake for one pass, for work in pieces of a few microseconds.
//!
//! A token of a small model is hundreds of products of 20 µs each. To fork and join that often through the pool, whose
//! threads fall asleep in between, takes as long as the products; a micro-batch of training is a thousand longer ones,
//! and still a twentieth faster without. In a team the pool's other threads watch one
//! word instead, and take pieces of whatever is put up there. Who takes which piece is open; what a piece computes is
//! not, so results are those of any other number of threads. Nobody waits for a thread that has not come: the one that
//! leads the pass takes every piece that no other took.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Looks at the word before a thread lets others have its core for a moment.
const LOOKS: u32 = 1 << 8;
/// The index in `turn` while a job is being put up: none that anybody could take.
const CLOSED: u64 = u32::MAX as u64;

thread_local! {
    /// The team that this thread leads, while it is not itself at a job.
    static LED: Cell<*const Team> = const { Cell::new(std::ptr::null()) };
}

/// Run `f` on this thread, with the others of its pool in its team: [`for_each`] then goes to them.
pub fn lead<R>(f: impl FnOnce() -> R) -> R {
    let others = rayon::current_num_threads() - 1;
    if others == 0 || !LED.get().is_null() || rayon::current_thread_index().is_none() {
        return f();
    }
    let team = Team::default();
    rayon::in_place_scope(|scope| {
        (0..others).for_each(|_| scope.spawn(|_| team.follow()));
        let _end = End(&team);
        LED.set(&raw const team);
        f()
    })
}

/// `f(i)` for `i` in `0..count` in this thread's team; `false` if it leads none, and nothing was done.
pub fn for_each(count: usize, f: &(impl Fn(usize) + Sync)) -> bool {
    // While it takes part in a job, what it asks for inside is no job of the team.
    let team = LED.replace(std::ptr::null());
    if team.is_null() {
        return false;
    }
    // SAFETY: `lead` keeps the team until it has cleared `LED`.
    unsafe { &*team }.run(count, f);
    LED.set(team);
    true
}

/// The pass is over, also if it panicked.
struct End<'a>(&'a Team);

impl Drop for End<'_> {
    fn drop(&mut self) {
        LED.set(std::ptr::null());
        self.0.over.store(true, Ordering::Release);
    }
}

/// One job at a time. `turn` holds its number in the upper half and the next piece in the lower. A piece is taken by
/// counting the lower half up, which fails if anything has changed since the job's fields were read: so they
/// were this job's.
#[derive(Default)]
struct Team {
    turn: AtomicU64,
    /// `fn(data, piece)`
    call: AtomicUsize,
    data: AtomicUsize,
    count: AtomicUsize,
    done: AtomicUsize,
    panicked: AtomicBool,
    over: AtomicBool,
}

type Call = unsafe fn(usize, usize);

impl Team {
    fn run<F: Fn(usize) + Sync>(&self, count: usize, f: &F) {
        /// # Safety
        /// `data` is the address of an `F` that lives.
        unsafe fn call<F: Fn(usize)>(data: usize, piece: usize) {
            // SAFETY: by this function's contract.
            unsafe { (*(data as *const F))(piece) }
        }
        let job = (self.turn.load(Ordering::Relaxed) >> 32).wrapping_add(1) << 32;
        self.turn.store(job | CLOSED, Ordering::Relaxed);
        // Whoever sees one of these sees that the turn is closed.
        self.call.store(call::<F> as Call as usize, Ordering::Release);
        self.data.store(std::ptr::from_ref(f) as usize, Ordering::Release);
        self.count.store(count, Ordering::Release);
        self.done.store(0, Ordering::Release);
        self.turn.store(job, Ordering::Release);
        let wait = Wait { team: self, job };
        while self.take() {}
        drop(wait);
        assert!(!self.panicked.load(Ordering::Relaxed), "a piece of work panicked on another thread");
    }

    /// Take a piece and do it; `false` if there is none.
    fn take(&self) -> bool {
        let turn = self.turn.load(Ordering::Acquire);
        let (call, data) = (self.call.load(Ordering::Acquire), self.data.load(Ordering::Acquire));
        let (count, piece) = (self.count.load(Ordering::Acquire), (turn & CLOSED) as usize);
        if piece >= count {
            return false;
        }
        if self.turn.compare_exchange(turn, turn + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return true; // there may be another
        }
        let _done = Done(self);
        // SAFETY: the piece is of the job whose fields these are, and its leader waits for it.
        unsafe { std::mem::transmute::<usize, Call>(call)(data, piece) };
        true
    }

    fn follow(&self) {
        let mut looks = 0;
        while !self.over.load(Ordering::Acquire) {
            if self.take() {
                looks = 0;
            } else {
                pause(&mut looks);
            }
        }
    }
}

/// `f` is borrowed until every piece that was taken is done, also if the leader's own panicked.
struct Wait<'a> {
    team: &'a Team,
    job: u64,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let taken = (self.team.turn.swap(self.job | CLOSED, Ordering::AcqRel) & CLOSED) as usize;
        let mut looks = 0;
        while self.team.done.load(Ordering::Acquire) < taken {
            pause(&mut looks);
        }
    }
}

fn pause(looks: &mut u32) {
    *looks += 1;
    if looks.is_multiple_of(LOOKS) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

/// Counts a piece, also if it panicked: its leader must not wait for ever.
struct Done<'a>(&'a Team);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.store(true, Ordering::Relaxed);
        }
        self.0.done.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn every_piece_is_done_once() {
        for threads in [1, 2, 5] {
            pool(threads).install(|| {
                lead(|| {
                    for job in 0..3000 {
                        let count = job % 23;
                        let pieces: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                        let add = |i: usize| _ = pieces[i].fetch_add(job + 1, Ordering::Relaxed);
                        assert_eq!(for_each(count, &add), threads > 1);
                        if threads > 1 {
                            assert!(pieces.iter().all(|p| p.load(Ordering::Relaxed) == job + 1), "job {job}");
                        }
                    }
                });
                assert!(!for_each(1, &|_| ()), "the team is gone");
            });
        }
    }

    #[test]
    fn a_piece_may_want_pieces_itself() {
        let sum = AtomicUsize::new(0);
        pool(3).install(|| {
            lead(|| {
                let outer = |i: usize| {
                    crate::cpu::parallel::for_each(10, usize::MAX, |j| {
                        sum.fetch_add(i * j, Ordering::Relaxed);
                    });
                };
                assert!(for_each(8, &outer));
            });
        });
        assert_eq!(sum.into_inner(), 28 * 45);
    }

    #[test]
    fn a_panic_reaches_the_leader_and_ends_the_team() {
        let pool = pool(3);
        for bad in 0..40 {
            let result = pool.install(|| {
                catch_unwind(AssertUnwindSafe(|| {
                    lead(|| for_each(40, &|i| assert!(i != bad, "piece {i}")));
                }))
            });
            assert!(result.is_err());
            pool.install(|| assert!(!for_each(1, &|_| ())));
        }
    }
}
