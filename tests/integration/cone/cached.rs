//! What is cached: no more than a cone needs, in half the memory where that is wished, joined and selected.

use super::*;

#[test]
fn a_cone_keeps_what_its_places_need_and_no_more() {
    let runs = Runs::new();
    let n_layers = runs.sizes.n_layers;
    for site in sites(&runs.sizes) {
        let layer = site.resumes_at(n_layers);
        for start in 0..N_TOKENS {
            let what = format!("{site}, position {start}");
            let cone = Cone::of(&[site], start..=start, n_layers).unwrap();
            let cached = runs.model.cache_run(runs.reference.ints("base_ids"), &cone);
            let expected = cone.n_bytes(&runs.sizes, N_TOKENS, Storage::F32);
            assert_eq!(cached.n_bytes(), 2 * expected, "{what}");
            let expected = runs
                .model
                .resume(&runs.cached.base_at(layer, start), 0, &mut ());
            let found = runs.model.resume(&cached.base_at(layer, start), 0, &mut ());
            assert_close(found, expected, TOLERANCE, &what);

            let ids = runs.reference.ints("source_ids");
            let source = runs.model.cache_source(ids, &[site], start..=start);
            let units = Units::positions([start]);
            let expected = part(&recorded(&runs.source, site), &units);
            let values = |of: &CachedSource<B>| of.values(site, None, start..start + 1).unwrap();
            match (values(&source), expected) {
                (Source::Positions(found), Source::Positions(expected)) => {
                    assert_close(found, expected, TOLERANCE, &what)
                }
                (Source::Heads(found), Source::Heads(expected)) => {
                    // Scores of later keys are masked, and the run stops before them.
                    let n = found.dims()[3];
                    let finite = |x: Tensor<B, 4>| x.clamp(-1e9, 1e9);
                    assert_close(
                        finite(found),
                        finite(expected.narrow(3, 0, n)),
                        TOLERANCE,
                        &what,
                    )
                }
                other => panic!("{what}: {other:?}"),
            }
        }
    }
}

#[test]
fn half_the_memory_costs_a_few_thousandths() {
    let runs = Runs::new();
    let halved = runs.cached.clone().stored(Storage::F16);
    assert_eq!(2 * halved.n_bytes(), runs.cached.n_bytes());
    for site in sites(&runs.sizes) {
        let edit = runs.edit(site, Units::positions([4]), interchange());
        let [full, resumed] = runs.full_and_resumed(&halved, vec![edit]);
        let what = site.to_string();
        let is_reached = |query| can_change(site, 4, query, runs.sizes.n_layers);
        assert_changes(&full, &runs.base, is_reached, &what);
        assert_close(
            resumed.clone(),
            end_of(full, &resumed),
            TOLERANCE_F16,
            &what,
        );
    }
}

#[test]
fn kept_runs_can_be_joined_and_selected() {
    let runs = Runs::new();
    let joined = CachedRun::cat(vec![runs.cached.clone(), runs.cached.clone()]).unwrap();
    assert_eq!(
        (joined.n_rows(), joined.n_bytes()),
        (4, 2 * runs.cached.n_bytes())
    );
    let rows = Tensor::from_ints([3, 0], &device());
    let selected = joined.base_at(1, 4).select(&rows);
    let logits = |cached: CachedBase<B>| runs.model.resume(&cached, 0, &mut ());
    let expected = logits(runs.cached.base_at(1, 4));
    let row = |x: &Tensor<B, 3>, row| x.clone().narrow(0, row, 1);
    let found = logits(selected);
    assert_close(row(&found, 0), row(&expected, 1), 0.0, "row 3");
    assert_close(row(&found, 1), row(&expected, 0), 0.0, "row 0");
}
