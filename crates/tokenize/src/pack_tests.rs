use super::*;
use proptest::prelude::*;

fn examples() -> impl Strategy<Value = Vec<TokenExample>> {
    let example = prop::collection::vec((0u32..1000, any::<bool>()), 1..40);
    prop::collection::vec(example, 0..30).prop_map(|all| {
        all.iter()
            .map(|tokens| TokenExample {
                id: None,
                input_ids: tokens.iter().map(|&(id, _)| id).collect(),
                labels: tokens.iter().map(|&(id, t)| if t { id as i32 } else { IGNORED }).collect(),
            })
            .collect()
    })
}

fn step_size() -> impl Strategy<Value = StepSize> {
    prop_oneof![(0usize..12).prop_map(StepSize::Examples), (0usize..200).prop_map(StepSize::Tokens)]
}

proptest! {
    #[test]
    fn every_token_and_label_is_kept_once_and_limits_hold(
        examples in examples(), step in step_size(), micro in 0usize..100,
        shuffle in any::<bool>(), seed in any::<u64>(), epoch in 0u64..5,
    ) {
        let lengths: Vec<usize> = examples.iter().map(TokenExample::len).collect();
        let order = epoch_order(examples.len(), seed, epoch, shuffle);
        let steps = plan_steps(&lengths, &SharedPrefixes::none(lengths.len()), &order, step, micro);

        let (last, full) = steps.split_last().map_or((None, &[][..]), |(last, full)| (Some(last), full));
        if let StepSize::Examples(n) = step {
            prop_assert!(full.iter().all(|plan| plan.examples().count() == n.max(1)));
            prop_assert!(last.is_none_or(|plan| plan.examples().count() <= n.max(1)));
        }
        let mut before = 0;
        for plan in &steps {
            let (mut own, mut taken): (Vec<usize>, Vec<usize>) =
                (plan.examples().collect(), order[before..before + plan.examples().count()].to_vec());
            before += own.len();
            own.sort_unstable();
            taken.sort_unstable();
            prop_assert_eq!(own, taken, "steps take examples in order");
            let rows = |run: &[usize]| run.iter().map(|&i| lengths[i]).sum::<usize>();
            for (i, one) in plan.micro_batches.iter().enumerate() {
                let together = plan.micro_batches[..i].iter().map(|other| rows(other) + rows(one));
                prop_assert!(together.min().is_none_or(|rows| rows > micro), "two micro-batches would fit one");
            }
            let tokens: usize = plan.examples().map(|i| lengths[i]).sum();
            if let StepSize::Tokens(n) = step {
                prop_assert!(tokens <= n || plan.examples().count() == 1);
            }
            for indices in &plan.micro_batches {
                let chosen: Vec<&TokenExample> = indices.iter().map(|&i| &examples[i]).collect();
                let batch = PackedBatch::pack(&chosen);
                prop_assert!(!indices.is_empty());
                prop_assert!(batch.rows() <= micro || indices.len() == 1);
                prop_assert_eq!(batch.segments.len(), indices.len());
                let mut trained = 0;
                for (segment, example) in batch.segments.iter().zip(&chosen) {
                    prop_assert_eq!(&batch.input_ids[segment.clone()], &example.input_ids[..]);
                    prop_assert_eq!(&batch.labels[segment.clone()], &example.labels[..]);
                    let restart: Vec<u32> = (0..example.len() as u32).collect();
                    prop_assert_eq!(&batch.positions[segment.clone()], &restart[..]);
                    trained += example.trained_tokens();
                }
                let (rows, targets) = batch.targets();
                prop_assert_eq!((rows.len(), targets.len()), (trained, trained));
                for (&row, &target) in rows.iter().zip(&targets) {
                    prop_assert_eq!(batch.labels[row + 1], target as i32);
                    let same = batch.segments.iter().any(|s| s.contains(&row) && s.contains(&(row + 1)));
                    prop_assert!(same, "row {} predicts across a border", row);
                }
            }
        }
        prop_assert_eq!(before, order.len());
    }

    #[test]
    fn an_order_is_a_permutation(n in 0usize..200, seed in any::<u64>(), epoch in any::<u64>()) {
        let mut order = epoch_order(n, seed, epoch, true);
        prop_assert_eq!(&order, &epoch_order(n, seed, epoch, true));
        order.sort_unstable();
        prop_assert_eq!(order, epoch_order(n, seed, epoch, false));
    }
}

#[test]
fn orders_differ_by_seed_and_by_epoch() {
    let order = epoch_order(100, 1, 0, true);
    assert_ne!(order, epoch_order(100, 2, 0, true));
    assert_ne!(order, epoch_order(100, 1, 1, true));
    // Not the same sequence under another name: seed 1 epoch 0 is not seed 0 epoch 1.
    assert_ne!(order, epoch_order(100, 0, 1, true));
    assert_eq!(epoch_order(3, 1, 0, false), [0, 1, 2]);
}

#[test]
fn an_order_stays_the_same_from_version_to_version() {
    // A run that an older version began must go on in the same order.
    assert_eq!(epoch_order(8, 42, 0, true), [7, 4, 6, 2, 3, 0, 5, 1]);
}

#[test]
fn a_shuffle_is_fair() {
    // Each of 3! orders of three should come about 1000 times in 6000.
    let mut counts = std::collections::BTreeMap::new();
    for epoch in 0..6000 {
        *counts.entry(epoch_order(3, 7, epoch, true)).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 6);
    assert!(counts.values().all(|n| (850..1150).contains(n)), "{counts:?}");
}

#[test]
fn unsloth_126_a_segments_first_label_is_nobodys_target() {
    let example = |id: u32| TokenExample {
        id: None,
        input_ids: vec![id, id + 1],
        labels: vec![id as i32, id as i32 + 1],
    };
    let batch = PackedBatch::pack(&[&example(20), &example(10)]);
    assert_eq!(batch.input_ids, [20, 21, 10, 11]);
    assert_eq!(batch.segments, [0..2, 2..4]);
    assert_eq!(batch.positions, [0, 1, 0, 1]);
    assert_eq!(batch.targets(), (vec![0, 2], vec![21, 11]));
}

#[test]
fn an_example_longer_than_the_micro_batch_stands_alone() {
    let steps =
        plan_steps(&[3, 50, 4, 5], &SharedPrefixes::none(4), &[0, 1, 2, 3], StepSize::Examples(4), 10);
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].micro_batches, [vec![1], vec![3, 2], vec![0]]);
}

fn sharing(prefix: &[u32], rest: &[&[u32]]) -> Vec<TokenExample> {
    let of = |rest: &&[u32]| {
        let input_ids = [prefix, rest].concat();
        let labels = input_ids.iter().enumerate();
        let labels = labels.map(|(t, &id)| if t <= prefix.len() { IGNORED } else { id as i32 }).collect();
        TokenExample { id: None, input_ids, labels }
    };
    rest.iter().map(of).collect()
}

#[test]
fn a_shared_prefix_is_laid_down_once_and_examples_go_on_from_it() {
    let examples = sharing(&[1, 2, 3], &[&[10, 11], &[20, 21, 22]]);
    let share = Share { group: 7, len: 3 };
    let other = TokenExample { id: None, input_ids: vec![5, 6], labels: vec![IGNORED, 6] };
    let members = [&examples[0], &other, &examples[1]];
    let batch = PackedBatch::pack_shared(&[share, Share::default(), share], &members);
    assert_eq!(batch.input_ids, [1, 2, 3, 10, 11, 5, 6, 20, 21, 22]);
    assert_eq!(batch.positions, [0, 1, 2, 3, 4, 0, 1, 3, 4, 5]);
    assert_eq!(batch.segments, [0..3, 3..5, 5..7, 7..10]);
    assert_eq!(batch.prefixes, [0..0, 0..3, 0..0, 0..3]);
    assert_eq!(batch.members, [None, Some(0), Some(1), Some(2)]);
    assert_eq!(batch.targets(), (vec![3, 5, 7, 8], vec![11, 6, 21, 22]));
    // One alone has nobody to share with.
    assert_eq!(PackedBatch::pack_shared(&[share], &members[..1]), PackedBatch::pack(&members[..1]));
}

#[test]
fn micro_batches_are_bounded_by_rows_steps_by_tokens() {
    let prefix: Vec<u32> = (0..8).collect();
    let rest: Vec<Vec<u32>> = (0..20).map(|n| vec![100 + n, 9]).collect();
    let examples = sharing(&prefix, &rest.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (lengths, order) = (vec![10; 20], epoch_order(20, 0, 0, false));
    let prefixes = SharedPrefixes::find(&examples, StepSize::Tokens(100), 100);
    assert_eq!(prefixes.of(0).len, 8);
    let steps = plan_steps(&lengths, &prefixes, &order, StepSize::Tokens(100), 14);
    assert!(steps.iter().all(|s| s.examples().count() == 10), "a step counts the data's own tokens");
    assert!(steps[0].micro_batches.iter().take(3).all(|m| m.len() == 3), "8 + 3 · 2 rows: {steps:?}");
}

#[test]
fn examples_that_share_a_prefix_stand_together_within_their_step() {
    let (one, other): (Vec<u32>, Vec<u32>) = ((0..8).collect(), (10..18).collect());
    let rest: Vec<Vec<u32>> = (0..6).map(|n| vec![30 + n, 40, 41]).collect();
    let rest: Vec<&[u32]> = rest.iter().map(Vec::as_slice).collect();
    // Of one and the other in turn.
    let pairs = sharing(&one, &rest).into_iter().zip(sharing(&other, &rest));
    let examples: Vec<TokenExample> = pairs.flat_map(|(a, b)| [a, b]).collect();
    let (lengths, order) = (vec![11; 12], (0..12).collect::<Vec<_>>());
    let step = StepSize::Examples(6);
    let prefixes = SharedPrefixes::find(&examples, step, 18);
    // A prefix of 8 and three times 3 tokens; in turn, each micro-batch would hold one example.
    let micro_batches: Vec<Vec<Vec<usize>>> =
        plan_steps(&lengths, &prefixes, &order, step, 18).into_iter().map(|s| s.micro_batches).collect();
    assert_eq!(micro_batches.len(), 2);
    for (step, mut micro_batches) in micro_batches.into_iter().enumerate() {
        micro_batches.sort();
        let first = 6 * step;
        assert_eq!(micro_batches, [[first, first + 2, first + 4], [first + 1, first + 3, first + 5]]);
    }
}

#[test]
fn an_example_goes_where_its_prefix_lies_and_least_room_is_left() {
    let shares = |prefixes: &[(usize, usize)]| {
        SharedPrefixes::of_each(prefixes.iter().map(|&(group, len)| Share { group, len }).collect())
    };
    // In order 7, 4, 3, 6 would make three micro-batches of 10.
    let lengths = [7, 4, 3, 6];
    let plan = |lengths: &[usize], prefixes: &SharedPrefixes| {
        let order: Vec<usize> = (0..lengths.len()).collect();
        plan_steps(lengths, prefixes, &order, StepSize::Examples(100), 10).remove(0).micro_batches
    };
    assert_eq!(plan(&lengths, &SharedPrefixes::none(4)), [[0, 2], [3, 1]]);
    // 8, 8 and 7 rows share 6: 6 + 2 + 2 fill one, the third is laid down whole in a second, where another group's still fits.
    let prefixes = shares(&[(1, 6), (2, 2), (1, 6), (1, 6)]);
    assert_eq!(plan(&[8, 3, 8, 7], &prefixes), [vec![0, 2], vec![3, 1]]);
}
