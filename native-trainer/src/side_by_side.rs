//! Work on several things at once where that is faster: on the CPU, each core works at a thing of its own. Products of matrices
//! share the cores well, but what lies between them does not, and small ones pay for being shared.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;

/// Workers that a device keeps busy.
pub fn n_workers<B: Backend>(device: &B::Device) -> usize {
    match B::name(device).as_str() {
        "flex" => thread::available_parallelism().map_or(1, usize::from),
        _ => 1,
    }
}

/// Runs `work` once in each of `n` workers; products of matrices stay on the worker's core.
pub fn in_workers(n: usize, work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    if n <= 1 {
        return work();
    }
    thread::scope(|scope| {
        let workers: Vec<_> = (0..n)
            .map(|_| {
                scope.spawn(|| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
                    pool.context("starting a thread")?.install(&work)
                })
            })
            .collect();
        let results = workers.into_iter().map(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Does work on each item, in any order, and hands what comes out to `take` on this thread.
pub fn side_by_side<B: Backend, I: Sync, T: Send>(
    device: &B::Device,
    items: &[I],
    work: impl Fn(&I) -> Result<T> + Sync,
    mut take: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let n_workers = n_workers::<B>(device);
    if items.len() < n_workers || n_workers == 1 {
        let mut items = items.iter().enumerate();
        return items.try_for_each(|(idx, item)| take(idx, work(item)?));
    }
    let next = AtomicUsize::new(0);
    // Few may wait: what is done is held in memory.
    let (sender, receiver) = mpsc::sync_channel::<(usize, Result<T>)>(n_workers);
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let sender = sender;
            in_workers(n_workers, || {
                loop {
                    let idx = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(idx) else { break };
                    if sender.send((idx, work(item))).is_err() {
                        break; // the work was given up
                    }
                }
                Ok(())
            })
        });
        let taken = receiver
            .into_iter()
            .try_for_each(|(idx, done)| take(idx, done?));
        match worker.join() {
            Ok(result) => taken.and(result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
