//! Two patchers against the lab's ECS, in every order of their steps: a small state-space search.
//!
//! Both run the agent's own rounds. Whatever a round asks of ECS or of the share stops at a gate, and the search decides whose request is
//! served next, and how: served, served with the answer lost, or still on its way while its sender has given up, so that it arrives
//! late. Between any two steps the lock may go to the other patcher (the server ended the leader's lease), a patcher may die, and an
//! author may deploy. Each run begins anew and follows one sequence of choices; a state that was seen before is not gone into again.
//!
//! The share is a model here: a lock, a record, a set of directories. What the kernel does with a lost lock is the fault matrix's.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // what can't be had is a failed test; what was searched is told

mod explore;
mod patcher;
mod world;

use explore::{Budget, explore};

const NOTHING: Budget = Budget { lock_moves: 0, deaths: 0, lost_answers: 0, late: 0, deploys: 0 };

/// What may happen at most, in one run; every order of it is tried.
const SCENARIOS: &[(&str, Budget)] = &[
    ("nothing goes wrong", NOTHING),
    ("the lock moves, and an answer is lost", Budget { lock_moves: 1, lost_answers: 1, ..NOTHING }),
    ("a request arrives late", Budget { lock_moves: 1, late: 1, ..NOTHING }),
    ("the leader dies", Budget { deaths: 1, lost_answers: 1, ..NOTHING }),
    ("the author deploys meanwhile", Budget { deploys: 1, ..NOTHING }),
];

/// Minutes of work: `make test-faults` does it, by `INTERLEAVINGS=all`.
const MORE: &[(&str, Budget)] = &[
    ("the lock moves twice, and a request arrives late", Budget { lock_moves: 2, late: 1, ..NOTHING }),
    (
        "the leader dies, and a request arrives late",
        Budget { deaths: 1, lost_answers: 1, late: 1, ..NOTHING },
    ),
    ("the author deploys, and the lock moves", Budget { lock_moves: 1, deploys: 1, ..NOTHING }),
    ("the author deploys, and an answer is lost", Budget { lost_answers: 1, deploys: 1, ..NOTHING }),
];

#[test]
fn every_order_ends_in_the_right_state() {
    let all = std::env::var_os("INTERLEAVINGS").is_some_and(|which| which == "all");
    let more = if all { MORE } else { &[] };
    let mut broken = Vec::new();
    std::thread::scope(|scope| {
        let searches: Vec<_> = SCENARIOS
            .iter()
            .chain(more)
            .map(|(name, budget)| (name, scope.spawn(|| explore(*budget))))
            .collect();
        for (name, search) in searches {
            match search.join().unwrap() {
                Ok(found) => println!("{name}: {found}"),
                Err(wrong) => broken.push(format!("{name}: {wrong}")),
            }
        }
    });
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}
