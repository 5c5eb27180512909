//! The cells of a map: a place in the model and what an intervention does there.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{KIND, Method};
use crate::{
    Component, Place,
    direction::{Basis, Controls, Unseen},
    tensor_file::{FileError, value_error},
};

/// A place in the model and what an intervention does there.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Where, in base and source alike.
    pub place: Place,
    /// Name of the token in the task's prompts, where it has one; then the place has its position in the example pair.
    pub token: Option<String>,
    /// The variable of the causal model.
    pub variable: Option<String>,
    /// The learned direction; `Some` if and only if the method is [`Method::Das`].
    pub basis: Option<Basis>,
    /// Share of the pairs that the intervened model answers with the label, 0..1.
    pub iia: f64,
    /// The same on other pairs, by which the best cell is picked.
    pub validation: Option<f64>,
    /// The same of those pairs alone whose answer should turn.
    pub turned: Option<f64>,
    /// The same on pairs whose words or templates training did not see.
    pub unseen: Option<Unseen>,
    /// The same measurement with what must and must not work; always there with [`Method::Das`].
    pub controls: Option<Controls>,
    /// How far the answers moved.
    pub metrics: Metrics,
    /// Top-1 token of the intervened run on the example pair.
    pub top_1: u32,
    /// Its logit, nats.
    pub logit: f32,
}

/// How far answers moved, as means over the pairs; of two numbers the first is before, the second after the intervention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Probability of the label, 0..1.
    pub probability: [f64; 2],
    /// Logit of the label minus logit of the base run's label, nats; `None` where the task has no label for the base run.
    pub logit_difference: Option<[f64; 2]>,
    /// KL divergence of the intervened from the base distribution, nats.
    pub kl: f64,
}

/// What the cells of one layer x position table have in common; a sweep result is a stack of such maps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapKey {
    /// The component.
    pub component: Component,
    /// The head, where the component is per head.
    pub head: Option<usize>,
    /// Rows of the basis, where there is one.
    pub rank: Option<usize>,
    /// The variable of the causal model.
    pub variable: Option<String>,
}

impl fmt::Display for MapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(variable) = &self.variable {
            write!(f, "{variable} · ")?;
        }
        write!(f, "{}", self.component)?;
        if let Some(head) = self.head {
            write!(f, ", head {head}")?;
        }
        if let Some(rank) = self.rank {
            write!(f, ", rank {rank}")?;
        }
        Ok(())
    }
}

impl Cell {
    /// The table that the cell stands in.
    pub fn map_key(&self) -> MapKey {
        MapKey {
            component: self.place.site.component,
            head: self.place.head,
            rank: self.basis.as_ref().map(Basis::rank),
            variable: self.variable.clone(),
        }
    }

    /// Its place for people: `op5 · layer 2 block_output, token 129`.
    pub fn title(&self) -> String {
        let variable = self.variable.as_ref().map(|name| format!("{name} · "));
        let place = match &self.token {
            Some(token) => self.place.at(token),
            None => self.place.to_string(),
        };
        format!("{}{place}", variable.unwrap_or_default())
    }

    /// True if its direction clearly turns more pairs than the whole vector at its place; see [`Controls::are_beaten_by`].
    pub fn beats_whole_vector(&self) -> bool {
        let controls = self.controls.as_ref();
        self.basis.is_some() && controls.is_some_and(|controls| controls.are_beaten_by(self.iia))
    }

    /// Scores to nine decimals.
    pub(super) fn rounded(mut self) -> Self {
        let round = |value: &mut f64| *value = (*value * 1e9).round() / 1e9;
        round(&mut self.iia);
        let others = self.validation.iter_mut().chain(&mut self.turned);
        let unseen = self.unseen.iter_mut();
        let unseen = unseen.flat_map(|unseen| [&mut unseen.iia, &mut unseen.full]);
        let controls = self.controls.iter_mut().flat_map(Controls::shares_mut);
        others.chain(unseen).chain(controls).for_each(round);
        self.metrics.probability.iter_mut().for_each(round);
        let differences = self.metrics.logit_difference.iter_mut().flatten();
        differences.for_each(round);
        round(&mut self.metrics.kl);
        self
    }

    /// An error that says which cell it is about.
    pub(super) fn wrong(&self, cause: impl Into<FileError>) -> FileError {
        FileError::SweepCell {
            place: self.title(),
            cause: Box::new(cause.into()),
        }
    }

    pub(super) fn check(&self, method: Method) -> Result<(), FileError> {
        let wrong =
            |name, expected: &str, found: String| Err(value_error(KIND, name, expected, &found));
        let presence = |is_there: bool| if is_there { "there" } else { "missing" };
        let is_das = method == Method::Das;
        let Place { site, head, .. } = self.place;
        if head.is_some() != site.component.is_per_head() {
            let expected = presence(site.component.is_per_head());
            return wrong("head", expected, presence(head.is_some()).to_owned());
        }
        if self.basis.is_some() != is_das {
            let expected = format!("{} with this method", presence(is_das));
            return wrong(
                "basis",
                &expected,
                presence(self.basis.is_some()).to_owned(),
            );
        }
        if is_das && self.controls.is_none() {
            return wrong("controls", "there with this method", "missing".to_owned());
        }
        let unseen = self.unseen.as_ref();
        let [before, after] = self.metrics.probability;
        let shares = [
            ("iia", Some(self.iia)),
            ("validation", self.validation),
            ("turned", self.turned),
            ("unseen", unseen.map(|unseen| unseen.iia)),
            ("unseen", unseen.map(|unseen| unseen.full)),
            ("metrics", Some(before)),
            ("metrics", Some(after)),
        ];
        let controls = self.controls.iter().flat_map(Controls::shares);
        let controls = controls.map(|share| ("controls", Some(share)));
        for (name, share) in shares.into_iter().chain(controls) {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                return wrong(name, "a share from 0 to 1", share.to_string());
            }
        }
        let [before, after] = self.metrics.logit_difference.unwrap_or_default();
        for (name, value) in [
            ("metrics", before),
            ("metrics", after),
            ("metrics", self.metrics.kl),
            ("logit", f64::from(self.logit)),
        ] {
            if !value.is_finite() {
                return wrong(name, "a finite number", value.to_string());
            }
        }
        Ok(())
    }
}
