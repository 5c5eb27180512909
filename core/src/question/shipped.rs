//! Task files that come with the program.

use std::sync::OnceLock;

use super::{TaskError, task::Task};

/// Names and files.
const SHIPPED: [(&str, &str); 5] = [
    ("agreement", include_str!("shipped/agreement.json")),
    (
        "agreement-distractor",
        include_str!("shipped/agreement-distractor.json"),
    ),
    ("capitals", include_str!("shipped/capitals.json")),
    ("gender", include_str!("shipped/gender.json")),
    ("ioi", include_str!("shipped/ioi.json")),
];

/// Names of the tasks that come with the program.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

/// The task with this name; `None` where there is no such one.
pub fn task(name: &str) -> Option<Result<Task, TaskError>> {
    let (_, json) = SHIPPED.iter().find(|(own, _)| *own == name)?;
    let none = |_: &str| Err("no file".to_owned());
    Some(Task::from_json(json.as_bytes(), none))
}

/// The task with this name, read once; `None` where there is no such one, or it is damaged.
pub fn known(name: &str) -> Option<&'static Task> {
    static TASKS: OnceLock<Vec<(&str, Option<Task>)>> = OnceLock::new();
    let tasks = TASKS.get_or_init(|| {
        let read = |name| (name, task(name).and_then(Result::ok));
        names().map(read).collect()
    });
    let (_, task) = tasks.iter().find(|(own, _)| *own == name)?;
    task.as_ref()
}
