//! The benchmark: what Swivel and its peers take for a piece of work.
//!
//! Each side runs in a process of its own, in turns: memory is the peak of that process, and what the machine does beside
//! hits both. Long work is measured in part and scaled; the table says so.

mod jobs;
mod real;
mod roofline;
mod shape;
mod sides;
mod table;
mod work;

pub use jobs::Job;
pub use shape::Shape;
pub use sides::Sides;
pub use work::Work;
