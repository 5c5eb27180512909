//! The flip table.

use serde_json::json;
use swivel_e2e::{Browser, Gpu};

use super::{
    CPU, IS_CURRENT, LONG, SOON, assert_fits_width, measured::seen_toggle, open_live, server,
    texts, wait_verdict,
};

#[test]
fn a_hundred_pairs_say_how_often_it_works_and_open_on_the_page() {
    let server = server();
    let browser = Browser::start(Gpu::Off);
    let page = browser.page(&server);
    open_live(&page, CPU);
    wait_verdict(&page, "flipped");
    page.click("#try-pairs");
    // It paints as it comes, and switches are answered meanwhile.
    page.wait_for(".flips-rows tbody tr", LONG);
    seen_toggle(&page, 6);
    page.wait_text("#flips-progress", LONG, |text| {
        text.starts_with("100 of 100 pairs")
    });
    let shares = texts(&page, "#flips-shares dd:first-of-type");
    let n_right = |share: &String| share.split(' ').next().unwrap().parse::<usize>().unwrap();
    let shares: Vec<usize> = shares.iter().map(n_right).collect();
    assert!(shares[0] >= 98 && shares[1] >= 98, "{shares:?}");
    assert!((30..70).contains(&shares[2]), "{shares:?}");
    page.script("document.querySelector('#flips').scrollIntoView();", &[]);
    page.screenshot("flips");
    let wanted = texts(&page, ".flips-rows tbody th")[7].clone();
    page.script(
        "document.querySelectorAll('.flips-rows tbody button')[arguments[0]].click();",
        &[json!(7)],
    );
    page.wait_script(IS_CURRENT, LONG);
    let base = page.prop("#base", "value").unwrap();
    assert_eq!(base.lines().last(), Some(wanted.as_str()));
    // Without a direction there is nothing to try.
    page.click("#switch-0");
    page.wait_for("#try-pairs[disabled]", SOON);
    page.phone();
    assert_fits_width(&page, "the table");
    page.script("document.querySelector('#flips').scrollIntoView();", &[]);
    page.screenshot("flips-phone");
    page.assert_clean_console();
}
