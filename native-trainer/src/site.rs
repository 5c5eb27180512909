//! Sites as typed, checked against a model.

use anyhow::{Context, Result, bail};
use swivel_core::{Component, PlaceError, Site, Sizes};

/// The site of these names, in a model of these sizes, and its head where it is per head.
pub fn parse_site(
    component: &str,
    layer: &str,
    head: Option<usize>,
    sizes: &Sizes,
) -> Result<(Site, Option<usize>)> {
    let component: Component = component.parse()?;
    let last = sizes.n_layers - 1;
    let layer = match layer {
        "last" => last,
        layer => match layer.parse() {
            Ok(layer) => layer,
            Err(_) => bail!("unknown layer `{layer}`; expected 0 to {last}, or `last`"),
        },
    };
    let site = component.at(layer);
    width_at(site, sizes)?;
    check_head(site, head, sizes)?;
    Ok((site, head))
}

/// Number of values at a site, where it has directions of its own.
pub fn width_at(site: Site, sizes: &Sizes) -> Result<usize> {
    let component = site.component;
    component.width(sizes).with_context(|| {
        format!(
            "{component} has no directions of its own: it is as wide as the prompt is long; choose another component"
        )
    })
}

/// Checks that the model has the site, and that a head is named where it is per head, and only there.
pub fn check_head(site: Site, head: Option<usize>, sizes: &Sizes) -> Result<()> {
    let component = site.check(sizes)?.component;
    let last = component.n_heads(sizes).map(|n_heads| n_heads - 1);
    match (last, head) {
        (Some(last), None) => {
            bail!("{component} is per head; say which with --head, 0 to {last}")
        }
        (None, Some(_)) => bail!("{component} is not per head; leave --head out"),
        (Some(last), Some(head)) if head > last => {
            Err(PlaceError::HeadOutside { head, last }.into())
        }
        _ => Ok(()),
    }
}
