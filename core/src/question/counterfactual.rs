//! Prompts of a task that are filled in, and what a variable's value of another prompt makes of the answer.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    entry::{Entry, Filling},
    task::{Kind, Task},
    template::Written,
    world::World,
};

/// Two fillings of one template, and the answer of the base with a variable's value of the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Counterfactual {
    /// The base run's.
    pub base: Filling,
    /// The source run's.
    pub source: Filling,
    /// What the base must answer with the source's value.
    pub answer: String,
    /// What it answers by itself.
    pub base_answer: String,
    /// The variable's value in base and source.
    pub values: [String; 2],
}

impl Task {
    /// A filling of a template; `None` where a table has no row left that differs.
    pub fn fill(
        &self,
        template: usize,
        kept: Option<&Filling>,
        rng: &mut impl RngExt,
    ) -> Option<Filling> {
        let mut chosen = vec![0; self.slots.len()];
        if let Some(kept) = kept {
            for slot in &self.source_keeps {
                chosen[*slot] = kept.chosen[*slot];
            }
        }
        let is_kept = |slot: usize| kept.is_some() && self.source_keeps.contains(&slot);
        for &slot in &self.order {
            match &self.slots[slot].kind {
                _ if is_kept(slot) => (),
                Kind::Pick { .. } => (),
                Kind::Values(values) => chosen[slot] = rng.random_range(0..values.len()),
                Kind::Row {
                    table,
                    differs_from,
                } => {
                    // Of the rows that are kept by slots that differ from this one, too.
                    let taken = |row: usize| {
                        let kept =
                            |other: &usize| is_kept(*other) && self.differs(*other).contains(&slot);
                        let others = differs_from.iter().copied();
                        let mut others = others.chain((0..self.slots.len()).filter(kept));
                        others.any(|other| chosen[other] == row)
                    };
                    let drawn = self.drawn.rows[*table].iter().copied();
                    let free: Vec<usize> = drawn.filter(|row| !taken(*row)).collect();
                    if free.is_empty() {
                        return None;
                    }
                    chosen[slot] = free[rng.random_range(0..free.len())];
                }
            }
        }
        Some(Filling { template, chosen })
    }

    /// Slots whose rows another slot must not be.
    pub(super) fn differs(&self, slot: usize) -> &[usize] {
        match &self.slots[slot].kind {
            Kind::Row { differs_from, .. } => differs_from,
            _ => &[],
        }
    }

    /// Any filling of any template; `None` where a table has no row left that differs.
    pub fn any(&self, rng: &mut impl RngExt) -> Option<Filling> {
        let templates = &self.drawn.templates;
        self.fill(templates[rng.random_range(0..templates.len())], None, rng)
    }

    /// Base and source for a variable, and what it does to the answer; `None` where no source can be filled in.
    pub fn counterfactual(
        &self,
        variable: &Entry,
        rng: &mut impl RngExt,
    ) -> Option<Counterfactual> {
        let base = self.any(rng)?;
        let source = self.fill(base.template, Some(&base), rng)?;
        let [base_world, source_world] = [&base, &source].map(|filling| World::of(self, filling));
        let swapped = World::with(self, &base, variable, &source_world);
        let [base_answer, answer] =
            [&base_world, &swapped].map(|world| self.answer.write(|entry| world.text(entry)).text);
        let values = [&base_world, &source_world].map(|world| world.text(variable).to_owned());
        Some(Counterfactual {
            base,
            source,
            answer,
            base_answer,
            values,
        })
    }

    /// The variable that is meant where none is named: the first choice between values that changes the answer, else the first row of
    /// a table that does; `None` if none does.
    pub fn default_variable(&self) -> Option<Entry> {
        /// Counterfactuals that are looked at.
        const COUNTED: usize = 400;
        let changes = |entry: &Entry| self.share_changed(entry, COUNTED, 0) > 0.0;
        self.free_variables().into_iter().find(changes)
    }

    /// In how many of `n` counterfactuals of a variable the answer is another one, 0..1.
    pub fn share_changed(&self, variable: &Entry, n: usize, seed: u64) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pairs = (0..n).filter_map(|_| self.counterfactual(variable, &mut rng));
        let changed = pairs.filter(|pair| pair.answer != pair.base_answer);
        changed.count() as f64 / n as f64
    }

    /// The prompt of a filling.
    pub fn prompt(&self, filling: &Filling) -> Written {
        let world = World::of(self, filling);
        self.templates[filling.template].write(|entry| world.text(entry))
    }

    /// What the model should say to a filling.
    pub fn answer(&self, filling: &Filling) -> String {
        let world = World::of(self, filling);
        self.answer.write(|entry| world.text(entry)).text
    }

    /// What it must not say.
    pub fn foils(&self, filling: &Filling) -> Vec<String> {
        let world = World::of(self, filling);
        self.foils
            .iter()
            .map(|foil| foil.write(|entry| world.text(entry)).text)
            .collect()
    }
}
