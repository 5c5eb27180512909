//! Which cells are computed together, what that costs, and which of them a part of a map has.

use std::ops::Range;

use swivel_core::sweep::{Method, Part};

use super::cells::Planned;
use crate::learn::n_together;

/// The jobs that a whole map consists of, in the order of the plan. All positions of a site are one job where nothing is
/// learned, and as many as are learned together best where a direction is. A cell is always computed with the same
/// neighbours, so that its last bit depends on nothing else.
pub fn jobs(
    cells: &[Planned],
    method: Method,
    n_tokens: usize,
    batch_size: usize,
) -> Vec<Range<usize>> {
    let of = |cell: &Planned| (cell.site, cell.head, cell.rank, cell.variable);
    let mut jobs = Vec::new();
    let mut start = 0;
    for mut row in cells.chunk_by(|a, b| of(a) == of(b)) {
        while !row.is_empty() {
            let positions: Vec<usize> = row.iter().map(|cell| cell.position).collect();
            let n = match method {
                Method::Das => n_together(&positions, n_tokens, batch_size),
                _ => row.len(),
            };
            jobs.push(start..start + n);
            start += n;
            row = &row[n..];
        }
    }
    jobs
}

/// What a job costs, in a unit of its own: rows that run through blocks, and reading the answer off, a tenth of a block.
pub fn cost(job: &[Planned], n_layers: usize, n_tokens: usize) -> usize {
    let cost = |cell: &Planned| {
        let n_blocks = n_layers - cell.site.resumes_at(n_layers);
        (n_tokens - cell.position) * (10 * n_blocks + 1)
    };
    job.iter().map(cost).sum()
}

/// One part of the jobs, by what they cost: neighbours, which share what is cached, and about as dear as any other part. `None`
/// if there are more parts than jobs.
pub fn share<T>(part: Part, jobs: &[T], cost: impl Fn(&T) -> usize) -> Option<&[T]> {
    let n_spare = jobs.len().checked_sub(part.n_parts())?;
    let ends: Vec<usize> = (jobs.iter())
        .scan(0, |sum, job| {
            *sum += cost(job);
            Some(*sum)
        })
        .collect();
    let total = *ends.last()?;
    let mut bounds = [0, 0];
    for number in 1..=part.number() {
        let until = |end: &usize| end * part.n_parts() <= total * number;
        // Each part has one job at least, and leaves one for each part to come.
        let end = ends.partition_point(until).min(n_spare + number);
        bounds = [bounds[1], end.max(bounds[1] + 1)];
    }
    jobs.get(bounds[0]..bounds[1])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[track_caller]
    fn check_parts(costs: &[usize], expected: &[&[usize]]) {
        let n = expected.len();
        let parts = (1..=n).map(|number| {
            let part: Part = format!("{number}/{n}").parse().unwrap();
            share(part, costs, |cost| *cost).unwrap()
        });
        assert_eq!(parts.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn parts_are_neighbours_that_cost_alike_and_leave_nothing_out() {
        check_parts(&[1, 2, 3], &[&[1, 2, 3]]);
        check_parts(&[1, 1, 1, 1], &[&[1, 1], &[1, 1]]);
        check_parts(&[1, 1, 1, 1, 4, 4], &[&[1, 1, 1, 1], &[4], &[4]]);
        check_parts(&[9, 1, 1], &[&[9], &[1], &[1]]);
        check_parts(&[1, 1, 9], &[&[1], &[1], &[9]]);
        check_parts(&[0, 0, 0], &[&[0], &[0], &[0]]);
        assert_eq!(
            share("1/4".parse().unwrap(), &[1, 1, 1], |cost| *cost),
            None
        );
    }
}
