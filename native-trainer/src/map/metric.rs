//! What the picture of a map shows of each cell, and in which colour.

use clap::ValueEnum;
use swivel_core::{direction::Controls, sweep::Cell};

use crate::readout::short;

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Metric {
    /// Share of the pairs whose intervened top-1 is the label.
    Iia,
    /// Probability of the label.
    Probability,
    /// Logit of the label minus logit of the base's own.
    LogitDifference,
    /// KL divergence from the base run.
    Kl,
}

impl Metric {
    /// Its value in a cell; `None` where the task does not know the base's label.
    pub fn of(self, cell: &Cell) -> Option<f64> {
        match self {
            Self::Iia => Some(cell.iia),
            Self::Probability => Some(cell.metrics.probability[1]),
            Self::LogitDifference => cell.metrics.logit_difference.map(|[_, after]| after),
            Self::Kl => Some(cell.metrics.kl),
        }
    }

    /// How strongly a cell is coloured, -1..1; `scale` is the largest value that is no share. An accuracy counts from the one
    /// that a random subspace has: chance is pale.
    pub fn shade(self, cell: &Cell, scale: f64) -> f64 {
        match (self, &cell.controls, self.of(cell)) {
            (_, _, None) => 0.0,
            (Self::Iia, Some(Controls { random, .. }), Some(iia)) => {
                ((iia - random) / (1.0 - random).max(1e-9)).max(0.0)
            }
            (_, _, Some(value)) if self.is_share() => value,
            (_, _, Some(value)) => value / scale,
        }
    }

    /// Its name for people, with its unit.
    pub fn title(self) -> &'static str {
        match self {
            Self::Iia => "interchange intervention accuracy",
            Self::Probability => "probability of the label",
            Self::LogitDifference => "logit of the label minus logit of the base's own, nats",
            Self::Kl => "KL divergence from the base run, nats",
        }
    }

    /// Whether its values are shares.
    fn is_share(self) -> bool {
        matches!(self, Self::Iia | Self::Probability)
    }

    /// A value in a few characters.
    pub fn text(self, value: f64) -> String {
        match self.is_share() {
            true => short(value),
            false => format!("{value:+.1}"),
        }
    }
}

/// White to blue for 0 to 1, white to orange for 0 to -1: readable by colour-blind people.
pub fn colour(value: f64) -> [u8; 3] {
    let end = if value < 0.0 {
        [217.0, 95.0, 2.0]
    } else {
        [8.0, 81.0, 156.0]
    };
    let share = value.abs().min(1.0);
    end.map(|end: f64| (255.0 + (end - 255.0) * share) as u8)
}

/// Whether white text is easier to read on a colour than black.
pub fn is_dark([r, g, b]: [u8; 3]) -> bool {
    0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b) < 140.0
}
