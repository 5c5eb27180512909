//! What is read off parts of the vocabulary equals what whole logits say.

use burn::tensor::{Distribution, Int, Tensor, TensorData, activation};
use swivel_core::{
    Decoder,
    metric::{Divergence, Reading, TokenReading, Top},
    train::{cross_entropy, losses_and_gradient, losses_and_gradient_of},
};

use crate::support::{B, assert_close, device, difference, model};

/// f32 rounding of sums over the vocabulary.
const TOLERANCE: f32 = 1e-5;
/// So many that the tiny model's vocabulary is read in several parts.
const N_ROWS: usize = 4000;
/// Other runs of a base.
const N_EACH: usize = 3;

fn normed(n_rows: usize, model: &Decoder<B>) -> Tensor<B, 2> {
    let d_model = model.head_weight().dims()[1];
    Tensor::random([n_rows, d_model], Distribution::Default, &device())
}

fn logits(model: &Decoder<B>, normed: &Tensor<B, 2>) -> Tensor<B, 2> {
    let logits = model.head(normed.clone().unsqueeze_dim(1)); // [rows, 1, d_vocab]
    logits.squeeze_dim(1)
}

/// Token ids, another two a row.
fn ids(n_rows: usize, d_vocab: usize) -> Tensor<B, 2, Int> {
    let ids: Vec<i64> = (0..2 * n_rows)
        .map(|idx| (idx * 7919 % d_vocab) as i64)
        .collect();
    Tensor::from_data(TensorData::new(ids, [n_rows, 2]), &device())
}

#[test]
fn answers_are_those_of_whole_logits() {
    let model = model();
    let normed = normed(N_ROWS, &model);
    let logits = logits(&model, &normed);
    let ids = ids(N_ROWS, logits.dims()[1]);
    let probabilities = activation::softmax(logits.clone(), 1);

    let found = model.read_tokens(normed.clone(), &ids);
    let expected = logits.clone().gather(1, ids.clone());
    assert_close(found.logits.clone(), expected, TOLERANCE, "logits");
    for idx in [0, 1] {
        let expected = probabilities
            .clone()
            .gather(1, ids.clone().narrow(1, idx, 1));
        assert_close(found.probability(idx), expected, TOLERANCE, "probability");
    }

    // By a full sort, which nothing but this test does.
    let (sorted, order) = logits.sort_descending_with_indices(1);
    for k in [1, 5] {
        let Top { ids, logits } = model.top(normed.clone(), k);
        let expected = order.clone().narrow(1, 0, k);
        let is_other = ids.not_equal(expected).int().sum().into_scalar();
        assert_eq!(is_other, 0, "the {k} likeliest");
        assert_close(
            logits,
            sorted.clone().narrow(1, 0, k),
            TOLERANCE,
            "likeliest",
        );
    }
    let reading = model.read(normed, 3);
    let likeliest = reading.probabilities(reading.top.logits.clone());
    let expected = probabilities.gather(1, order.narrow(1, 0, 3));
    assert_close(likeliest, expected, TOLERANCE, "their probabilities");
}

#[test]
fn divergences_are_those_of_whole_logits() {
    let model = model();
    let n_rows = N_ROWS / N_EACH;
    let base = normed(n_rows, &model);
    let [_, d_model] = base.dims();
    let found = normed(n_rows * N_EACH, &model).reshape([n_rows, N_EACH, d_model]);
    let ids = ids(n_rows, model.head_weight().dims()[0]);
    let compared = model.compare(base.clone(), found.clone(), &ids);
    let log_p = activation::log_softmax(logits(&model, &base), 1);
    for each in 0..N_EACH {
        let of = found.clone().narrow(1, each, 1).squeeze_dim(1);
        let log_q = activation::log_softmax(logits(&model, &of), 1);
        let kl = (log_p.clone().exp() * (log_p.clone() - log_q.clone())).sum_dim(1);
        let own = compared.kl().narrow(1, each, 1);
        assert_close(own, kl, TOLERANCE, "divergence");
        let own = compared.found.probability(1).reshape([n_rows, N_EACH]);
        let expected = log_q.exp().gather(1, ids.clone().narrow(1, 1, 1));
        assert_close(own.narrow(1, each, 1), expected, TOLERANCE, "probability");
    }
}

#[test]
fn losses_and_gradients_are_those_of_whole_logits() {
    type A = burn::backend::Autodiff<B>;
    let model = model();
    let normed = normed(N_ROWS, &model);
    let labels: Tensor<B, 1, Int> = ids(N_ROWS, model.head_weight().dims()[0])
        .narrow(1, 0, 1)
        .squeeze_dim(1);
    let rows = normed.clone().unsqueeze_dim(1);
    let (losses, gradient) = losses_and_gradient(&model, rows, labels.clone());
    let read = Tensor::<A, 2>::from_inner(normed).require_grad();
    let weight = Tensor::<A, 2>::from_inner(model.head_weight().transpose());
    let loss = cross_entropy(read.clone().matmul(weight), Tensor::from_inner(labels));
    let expected = read.grad(&loss.backward()).unwrap() * N_ROWS as f64;
    assert_close(losses.mean(), loss.inner(), TOLERANCE, "loss");
    assert_close(gradient.squeeze_dim(1), expected, TOLERANCE, "gradient");
}

#[test]
fn losses_over_choices_are_those_of_their_logits_alone() {
    type A = burn::backend::Autodiff<B>;
    let model = model();
    let normed = normed(N_ROWS, &model);
    let choices = [9, 3, 41];
    let labels: Vec<i32> = (0..N_ROWS).map(|row| choices[row % 3] as i32).collect();
    let places: Vec<i32> = (0..N_ROWS as i32).map(|row| row % 3).collect();
    let tensor = |values: Vec<i32>| {
        Tensor::<B, 1, Int>::from_data(TensorData::new(values, [N_ROWS]), &device())
    };
    let rows = normed.clone().unsqueeze_dim(1);
    let (losses, gradient) = losses_and_gradient_of(&model, rows, tensor(labels), &choices);
    let ids = Tensor::<B, 1, Int>::from_data(choices.map(|id| id as i32), &device());
    let weight = model.head_weight().select(0, ids).transpose();
    let read = Tensor::<A, 2>::from_inner(normed).require_grad();
    let logits = read.clone().matmul(Tensor::from_inner(weight));
    let loss = cross_entropy(logits, Tensor::from_inner(tensor(places)));
    let expected = read.grad(&loss.backward()).unwrap() * N_ROWS as f64;
    assert_close(losses.mean(), loss.inner(), TOLERANCE, "loss");
    assert_close(gradient.squeeze_dim(1), expected, TOLERANCE, "gradient");
}

/// Rows of logits that are known by hand, in two parts or as a whole.
#[test]
fn metrics_are_what_they_are_called() {
    let logits = |rows: [[f32; 3]; 2]| Tensor::<B, 2>::from_data(rows, &device());
    let close = |found: Tensor<B, 2>, expected: [f32; 2]| {
        let expected = TensorData::new(expected.to_vec(), [2, 1]);
        let found = found.into_data();
        assert!(difference(&found, &expected) < 1e-6, "{found} {expected}");
    };
    let base = logits([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]);
    let found = logits([[2.0, 1.0, 0.0], [1.0, 0.0, 0.0]]);
    let ids = Tensor::from_data([[2, 0], [0, 1]], &device());
    let e = |x: f32| x.exp();
    let sum = 1.0 + e(1.0) + e(2.0);
    for n in [1, 2] {
        let parts = |x: &Tensor<B, 2>| [x.clone().narrow(1, 0, n), x.clone().narrow(1, n, 3 - n)];
        let [first, second] = parts(&base);
        let own = TokenReading::of(first, 0, &ids).join(TokenReading::of(second, n, &ids));
        close(own.probability(0), [e(2.0) / sum, e(3.0) / (e(3.0) + 2.0)]);
        close(own.logit(0) - own.logit(1), [2.0, 3.0]);
        close(own.reading.top.ids.float(), [2.0, 0.0]);

        // Of the first row the sums are alike, so that the divergence is the mean difference of the logits under the base; the
        // second is not what it would be the other way round.
        let of_base = e(3.0) + 2.0;
        let kl = [
            (e(2.0) * 2.0 - 2.0) / sum,
            e(3.0) / of_base * 2.0 + ((e(1.0) + 2.0) / of_base).ln(),
        ];
        for (found, expected) in [(&found, kl), (&base, [0.0, 0.0])] {
            let [parts, bases] = [parts(found), parts(&base)];
            let divergence = (bases.into_iter().zip(parts))
                .map(|(base, found)| Divergence::of(base, found.unsqueeze_dim(1)))
                .reduce(Divergence::join)
                .unwrap();
            let log_sum = Reading::of(found.clone(), 0, 1).log_sum();
            close(divergence.kl(log_sum), expected);
        }
    }
    // Of equal logits the lowest id comes first, and no token comes twice.
    let equal = logits([[1.0; 3], [0.0, 5.0, 5.0]]);
    let top = Top::of(equal, 0, 3).ids.into_data().convert::<i64>();
    assert_eq!(top.to_vec::<i64>().unwrap(), [0, 1, 2, 1, 2, 0]);
}
