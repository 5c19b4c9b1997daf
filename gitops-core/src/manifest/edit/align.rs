//! Which item of a new list is which of the old one.

use serde_json::Value;

/// What becomes of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Old item `.0` becomes new item `.1`.
    Keep(usize, usize),
    /// Old item goes.
    Remove(usize),
    /// New item comes.
    Insert(usize),
}

/// Beyond this many pairs, items are paired by their place.
const MOST_PAIRS: usize = 4_000_000;

/// The steps from `old` to `new`, in order.
pub(super) fn align(old: &[Value], new: &[Value]) -> Vec<Step> {
    let first = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let last = old[first..]
        .iter()
        .rev()
        .zip(new[first..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (olds, news) = (&old[first..old.len() - last], &new[first..new.len() - last]);
    let mut steps: Vec<_> = (0..first).map(|at| Step::Keep(at, at)).collect();
    let pairs = if olds.len().saturating_mul(news.len()) <= MOST_PAIRS {
        common(olds, news)
    } else {
        Vec::new()
    };
    let (mut a, mut b) = (0, 0);
    for (next_a, next_b) in pairs.into_iter().chain([(olds.len(), news.len())]) {
        // Between two that stay, items take each other's place as far as they go and may be the same thing.
        let even = next_a - a == next_b - b;
        while a < next_a && b < next_b {
            if even || may_become(&olds[a], &news[b]) {
                steps.push(Step::Keep(first + a, first + b));
                a += 1;
                b += 1;
            } else {
                steps.push(Step::Remove(first + a));
                a += 1;
            }
        }
        steps.extend((a..next_a).map(|at| Step::Remove(first + at)));
        steps.extend((b..next_b).map(|at| Step::Insert(first + at)));
        (a, b) = (next_a, next_b);
        if a < olds.len() && b < news.len() {
            steps.push(Step::Keep(first + a, first + b));
            a += 1;
            b += 1;
        }
    }
    steps.extend((0..last).map(|at| Step::Keep(old.len() - last + at, new.len() - last + at)));
    steps
}

/// What names an item among its siblings in Kubernetes' lists.
fn name(value: &Value) -> Option<&str> {
    let map = value.as_object()?;
    ["name", "key", "mountPath", "host", "kind"]
        .iter()
        .find_map(|field| map.get(*field).and_then(Value::as_str))
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || name(a).is_some_and(|name_a| name(b) == Some(name_a))
}

fn may_become(a: &Value, b: &Value) -> bool {
    match (name(a), name(b)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// The longest common subsequence, as pairs.
fn common(olds: &[Value], news: &[Value]) -> Vec<(usize, usize)> {
    let width = news.len() + 1;
    let mut lengths = vec![0u32; (olds.len() + 1) * width];
    for a in (0..olds.len()).rev() {
        for b in (0..news.len()).rev() {
            lengths[a * width + b] = if same(&olds[a], &news[b]) {
                lengths[(a + 1) * width + b + 1] + 1
            } else {
                lengths[(a + 1) * width + b].max(lengths[a * width + b + 1])
            };
        }
    }
    let (mut a, mut b, mut pairs) = (0, 0, Vec::new());
    while a < olds.len() && b < news.len() {
        if same(&olds[a], &news[b]) {
            pairs.push((a, b));
            a += 1;
            b += 1;
        } else if lengths[(a + 1) * width + b] >= lengths[a * width + b + 1] {
            a += 1;
        } else {
            b += 1;
        }
    }
    pairs
}
