//! The same work on many things at a time: most of the time of each is a wait for the server.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many at a time.
const THREADS: usize = 16;

/// What `work` makes of each of `items`, in their order. A thread has a `state` of its own, made from the thread's number.
pub(super) fn map<T: Sync, S, R: Send>(
    items: &[T],
    state: impl Fn(usize) -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    let thread = |number: usize| {
        let mut state = state(number);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = work(&mut state, item);
            // A thread that panicked while it held it had put in all or nothing.
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(index, result);
        }
    };
    std::thread::scope(|scope| {
        for other in 1..THREADS.min(items.len()) {
            scope.spawn(move || thread(other));
        }
        // This thread is one of them.
        thread(0);
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_done_once_and_in_order_whoever_does_it() {
        for count in [0, 1, 3, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let done = map(&items, |thread| thread, |thread, item| (*thread, item * 2));
            assert_eq!(
                done.iter().map(|(_, twice)| *twice).collect::<Vec<_>>(),
                items.iter().map(|item| item * 2).collect::<Vec<_>>()
            );
            assert!(done.iter().all(|(thread, _)| *thread < THREADS.min(count)));
        }
    }
}
